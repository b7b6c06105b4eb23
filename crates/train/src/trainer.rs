//! The training loop.

mod validation;

use std::{collections::BTreeMap, path::Path, time::Instant};

use burnisher_data::{Batches, TokenBatch};
use burnisher_eval::Metric;
use burnisher_kernels::DropoutKeys;
use burnisher_lora::{AdaLoraConfig, count_parameters};

use self::validation::Scorer;
use crate::{
    BestEvaluation, EarlyStopping, EarlyStoppingState, Event, GradScaler, Gradients, LoraFa, LossModel,
    Observer, Optimizer, RankAllocator, RunIdentity, StopReason, TrainConfig, TrainError, TrainerState,
    add_orthogonality, atomic, checkpoint, resume,
};

/// Writes more files into a checkpoint, for example the adapter in PEFT's format.
type Exporter<M> = Box<dyn Fn(&M, &Path) -> Result<(), TrainError>>;

/// Runs a fine-tuning: steps, validation, checkpoints, early stopping, resuming.
pub struct Trainer<M> {
    config: TrainConfig,
    observers: Vec<Box<dyn Observer>>,
    exporter: Option<Exporter<M>>,
    scorer: Option<Scorer<M>>,
    settings: BTreeMap<String, String>,
    ranks: Option<RankAllocator>,
    precondition_lora_fa: bool,
}

impl<M> std::fmt::Debug for Trainer<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a training run ended with.
#[derive(Debug)]
pub struct Outcome<M> {
    /// The model: with the best validated parameters if there was validation, else the last ones.
    pub model: M,
    /// Why the run ended.
    pub reason: StopReason,
    /// Optimizer steps done, earlier runs' included.
    pub steps: u64,
    /// Validation loss before the first step of this run.
    pub first_validation: Option<f64>,
    /// The best validated step, whose parameters `model` has.
    pub best: Option<BestEvaluation>,
    /// Mean training loss of the last step.
    pub last_loss: Option<f64>,
    /// Labels trained in this run.
    pub tokens: u64,
    /// Wall time of this run in seconds.
    pub seconds: f64,
}

/// The rows of one optimizer step and the position after it.
struct Window {
    rows: Vec<usize>,
    epoch: u64,
    cursor: usize,
}

impl<M: LossModel> Trainer<M> {
    /// A trainer without observers.
    pub fn new(config: TrainConfig) -> Self {
        Self {
            config,
            observers: Vec::new(),
            exporter: None,
            scorer: None,
            settings: BTreeMap::new(),
            ranks: None,
            precondition_lora_fa: false,
        }
    }

    /// Adds an observer of the run's events.
    #[must_use]
    pub fn observe(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Adds several observers.
    #[must_use]
    pub fn observe_all(mut self, observers: Vec<Box<dyn Observer>>) -> Self {
        self.observers.extend(observers);
        self
    }

    /// Adds files to every checkpoint: `exporter` gets the model and the checkpoint's directory.
    #[must_use]
    pub fn export_with(mut self, exporter: impl Fn(&M, &Path) -> Result<(), TrainError> + 'static) -> Self {
        self.exporter = Some(Box::new(exporter));
        self
    }

    /// Measures the model's answers with every validation: `scorer` gets the model and the step, 0 before the first, and
    /// returns scores of 0..100. They go into [`Event::Evaluated`], and `metric_for_best_model` is looked for in them.
    #[must_use]
    pub fn score_with(
        mut self,
        scorer: impl FnMut(&M, u64) -> Result<BTreeMap<Metric, f64>, TrainError> + 'static,
    ) -> Self {
        self.scorer = Some(Box::new(scorer));
        self
    }

    /// Adds a setting that the result depends on, for example how the model was loaded: a run whose checkpoint has
    /// another value does not go on.
    #[must_use]
    pub fn identify(mut self, field: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(field.into(), value.into());
        self
    }

    /// Chooses the ranks of an AdaLoRA adapter while it is trained, and keeps its vectors near orthonormal: see
    /// [`RankAllocator`] and [`add_orthogonality`]. Losses that are reported are without that term.
    #[must_use]
    pub fn allocate_ranks(mut self, config: &AdaLoraConfig) -> Self {
        self.settings.insert("the ranks of AdaLoRA".to_owned(), config.to_json());
        self.ranks = Some(RankAllocator::new(config));
        self
    }

    /// Changes the gradients of an adapter that trains `B` alone as PEFT's LoRA-FA optimizer does: see [`LoraFa`].
    #[must_use]
    pub fn precondition_lora_fa(mut self) -> Self {
        self.settings.insert("LoRA-FA's gradients".to_owned(), "preconditioned".to_owned());
        self.precondition_lora_fa = true;
        self
    }

    /// Trains the model's trainable parameters on `train`.
    ///
    /// Losses are summed over a step's micro-batches and divided by its labels once. A checkpoint
    /// holds everything to go on bit for bit; it is written to a temporary directory and renamed.
    ///
    /// # Errors
    /// [`TrainError::Config`] with every value that cannot be used;
    /// [`TrainError::NonFinite`] with the step and the tensor when a loss or gradient is not finite
    /// (the last checkpoint stays); [`TrainError::ResumeMismatch`] for a checkpoint of another run;
    /// errors of files.
    pub fn train(
        mut self,
        mut model: M,
        train: &Batches,
        validation: Option<&Batches>,
    ) -> Result<Outcome<M>, TrainError> {
        let started = Instant::now();
        self.config.validate()?;
        self.check_scorer(validation)?;
        let (trainable, total) = count_parameters(&model);
        let Some(device) = model.devices().first().filter(|_| trainable > 0).cloned() else {
            return Err(TrainError::NothingTrainable { total });
        };
        let device = device.without_autodiff();
        if train.is_empty() {
            return Err(TrainError::NoTargets);
        }
        let rows_per_step = self.config.batch_size * self.config.gradient_accumulation_steps;
        let steps_per_epoch = train.len().div_ceil(rows_per_step) as u64;
        let total_steps = self.config.total_steps(steps_per_epoch);
        let mut settings = self.config.settings_of_result();
        settings.append(&mut self.settings);
        let data = format!("{:016x}", train.fingerprint());
        let seed = self.config.seed;
        let identity = RunIdentity { seed, rows: train.len(), rows_per_step, total_steps, data, settings };
        let schedule = self.config.schedule(total_steps);
        let mut optimizer = self.config.optimizer()?;
        let mut state = TrainerState {
            identity: identity.clone(),
            loss_scale: self.config.fp16.then(GradScaler::new),
            ..TrainerState::default()
        };
        atomic::remove_partials(&self.config.output_dir)?;
        if let Some(start) = resume::start(&self.config, &identity)? {
            state = start.state;
            let (steps, ranks) = (state.optimizer_steps(), self.ranks.as_mut());
            checkpoint::load(&start.path, steps, &mut model, &mut optimizer, ranks, &device)?;
            self.emit(&Event::Resumed { step: state.step, path: start.path });
            if let Some(warning) = start.warning {
                self.emit(&Event::Warning(warning));
            }
        }
        self.emit(&Event::Started { trainable, total, rows: train.len(), total_steps });
        let measured_on = validation.map(|set| self.yardstick(set));
        if state.step > 0 && state.validation != measured_on {
            // Losses of two sets do not compare, nor do two metrics.
            (state.best, state.early_stopping) = (None, EarlyStoppingState::default());
            let text = "the validation set or metric_for_best_model is another one than before: the best step counts from here on";
            self.emit(&Event::Warning(text.to_owned()));
        }
        state.validation = measured_on;
        let lora_fa = self.precondition_lora_fa.then(|| LoraFa::new(&model));
        let mut early = EarlyStopping::resume(self.config.early_stopping, state.early_stopping);
        let mut first_validation = None;
        if let Some(set) = validation
            && state.step == 0
        {
            first_validation = Some(self.validate(&model, set, &mut state, false)?.loss);
        }
        let (tokens_before, mut last_loss) = (state.tokens, None);
        let mut order = train.order(state.epoch);
        let mut order_epoch = state.epoch;
        let mut reason = match early.has_stopped() {
            true => StopReason::EarlyStopping,
            false => StopReason::Completed,
        };
        let mut saved = state.step;
        let mut logged = (Instant::now(), state.tokens);
        while state.step < total_steps && reason == StopReason::Completed {
            if order_epoch != state.epoch {
                order = train.order(state.epoch);
                order_epoch = state.epoch;
            }
            let window = next_window(&order, &state, rows_per_step);
            let micro: Vec<TokenBatch> =
                window.rows.chunks(self.config.batch_size).map(|rows| train.batch(rows)).collect();
            // As in transformers, a step that is skipped does not move the schedule.
            let scheduled = schedule.lr(state.optimizer_steps(), self.config.learning_rate);
            let learning_rate = optimizer.learning_rate(scheduled);
            let (seed, step) = (self.config.seed, state.step);
            let keys = |batch: &TokenBatch| Some(DropoutKeys::new(seed, step, batch.token_keys.as_slice()));
            let scale = state.loss_scale.map_or(1.0, |scaler| scaler.scale());
            let (mut gradients, loss) = Gradients::of_scaled_step(&model, &micro, keys, scale)
                .map_err(|error| self.at_step(error, state.step + 1))?;
            let overflow = match &mut state.loss_scale {
                Some(scaler) => unscale(&mut gradients, scaler),
                None => None,
            };
            state.step += 1;
            let norm = match overflow {
                Some(tensor) => self.skip(tensor, scale, &state)?,
                None => {
                    if let Some(ranks) = &self.ranks {
                        add_orthogonality(&model, &mut gradients, ranks.config().orth_reg_weight())
                            .map_err(|error| self.at_step(error, state.step))?;
                    }
                    let norm = gradients.clip(self.config.max_grad_norm());
                    let norm = norm.map_err(|error| self.at_step(error, state.step))?;
                    if let Some(lora_fa) = &lora_fa {
                        lora_fa.apply(&mut gradients);
                    }
                    model = optimizer
                        .step(model, &gradients, scheduled)
                        .map_err(|error| self.at_step(error, state.step))?;
                    if let Some(ranks) = &mut self.ranks {
                        ranks.update_and_allocate(&mut model, &gradients, state.optimizer_steps());
                    }
                    Some(norm)
                }
            };
            drop(gradients);
            (state.epoch, state.cursor) = (window.epoch, window.cursor);
            state.tokens += loss.tokens as u64;
            last_loss = Some(loss.mean);
            let is_last = state.step == total_steps;
            if let Some(norm) = norm
                && (state.step.is_multiple_of(self.config.log_every) || is_last || state.step == 1)
            {
                let seconds = logged.0.elapsed().as_secs_f64();
                let rate = (state.tokens - logged.1) as f64 / seconds.max(1e-9);
                logged = (Instant::now(), state.tokens);
                self.emit(&Event::Step {
                    step: state.step,
                    total_steps,
                    loss: loss.mean,
                    learning_rate,
                    grad_norm: norm,
                    tokens: state.tokens,
                    tokens_per_second: rate,
                    seconds: started.elapsed().as_secs_f64(),
                });
            }
            let mut save_now = state.step.is_multiple_of(self.config.save_every(steps_per_epoch)) || is_last;
            if let Some(set) = validation
                && (is_last || state.step.is_multiple_of(self.config.eval_every(steps_per_epoch)))
            {
                let measured = self.validate(&model, set, &mut state, true)?;
                let stop = early.update(measured.objective());
                state.early_stopping = early.state();
                save_now |= stop || state.best.is_some_and(|best| best.step == state.step);
                if stop {
                    reason = StopReason::EarlyStopping;
                }
                logged = (Instant::now(), state.tokens);
            }
            if save_now && saved != state.step {
                self.save(&model, &optimizer, &state)?;
                saved = state.step;
                logged = (Instant::now(), state.tokens);
            }
        }
        if let Some(best) = state.best.filter(|best| best.step != state.step) {
            let path = atomic::checkpoint_path(&self.config.output_dir, best.step);
            checkpoint::load_parameters(&path, &mut model, &device)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        self.emit(&Event::Finished { step: state.step, reason, seconds });
        Ok(Outcome {
            model,
            reason,
            steps: state.step,
            first_validation,
            best: state.best,
            last_loss,
            tokens: state.tokens - tokens_before,
            seconds,
        })
    }

    fn emit(&mut self, event: &Event) {
        for observer in &mut self.observers {
            observer.on_event(event);
        }
    }

    fn save(&mut self, model: &M, optimizer: &Optimizer, state: &TrainerState) -> Result<(), TrainError> {
        let path = atomic::checkpoint_path(&self.config.output_dir, state.step);
        let extra = |dir: &Path| match &self.exporter {
            Some(exporter) => exporter(model, dir),
            None => Ok(()),
        };
        checkpoint::save(&path, model, optimizer, self.ranks.as_ref(), state, &extra)?;
        atomic::prune(
            &self.config.output_dir,
            self.config.keep_checkpoints,
            state.best.map(|best| best.step),
        )?;
        self.emit(&Event::Saved { step: state.step, path });
        Ok(())
    }

    /// Tells of a step that was skipped since a gradient overflowed with the loss times `scale`.
    ///
    /// # Errors
    /// [`TrainError::LossScale`] where the next scale would be below the least.
    fn skip(&mut self, tensor: String, scale: f64, state: &TrainerState) -> Result<Option<f64>, TrainError> {
        let scaler = state.loss_scale.unwrap_or_default();
        if scaler.scale() < GradScaler::FLOOR {
            return Err(TrainError::LossScale {
                step: state.step,
                tensor,
                scale,
                floor: GradScaler::FLOOR,
                skipped: scaler.skipped(),
                last_checkpoint: atomic::latest_checkpoint(&self.config.output_dir).ok().flatten(),
            });
        }
        self.emit(&Event::Skipped {
            step: state.step,
            tensor,
            loss_scale: scaler.scale(),
            skipped: scaler.skipped(),
        });
        Ok(None)
    }

    /// Adds the step and the last checkpoint to an error about a number that is not finite.
    fn at_step(&self, error: TrainError, step: u64) -> TrainError {
        let last = atomic::latest_checkpoint(&self.config.output_dir).ok().flatten();
        error.at_step(step, last)
    }
}

/// Takes the scale out of the gradients, and tells the scaler; returns the first parameter whose gradient is not finite.
fn unscale(gradients: &mut Gradients, scaler: &mut GradScaler) -> Option<String> {
    let overflow = gradients.unscale(scaler.scale());
    scaler.update(overflow.is_some());
    overflow
}

/// The next step's rows: a step does not reach over the end of an epoch.
fn next_window(order: &[usize], state: &TrainerState, rows_per_step: usize) -> Window {
    let end = (state.cursor + rows_per_step).min(order.len());
    let rows = order[state.cursor..end].to_vec();
    if end == order.len() {
        Window { rows, epoch: state.epoch + 1, cursor: 0 }
    } else {
        Window { rows, epoch: state.epoch, cursor: end }
    }
}
