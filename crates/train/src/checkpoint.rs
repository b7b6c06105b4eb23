//! Checkpoints: trained parameters, optimizer state and position, written all or nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    fs,
    path::Path,
};

use burn::tensor::{DType, Device, Tensor, TensorData};
use burnisher_lora::{Adaptable, visit_parameters};
use burnisher_models::{Checkpoint, CheckpointDtype};
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{EarlyStoppingState, GradScaler, Optimizer, RankAllocator, TrainError, atomic, state_file};

const PARAMETERS: &str = "parameters.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
/// AdaLoRA's measurements.
const RANKS: &str = "adalora.safetensors";
const STATE: &str = "trainer_state.json";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Rows of the current epoch already used.
    pub cursor: usize,
    /// Labels trained so far.
    pub tokens: u64,
    /// The best validation so far.
    pub best: Option<BestEvaluation>,
    /// What chose the best step: [`Batches::fingerprint`](burnisher_data::Batches::fingerprint) of the validation set, as
    /// hexadecimal digits, and ` by ` with `metric_for_best_model` and how it is measured, if there is one.
    pub validation: Option<String>,
    /// Early stopping's memory.
    pub early_stopping: EarlyStoppingState,
    /// The scale of the loss in f16; `None` in other dtypes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<GradScaler>,
    /// What must be the same for the run to go on.
    pub identity: RunIdentity,
}

/// The step with the lowest validation loss, or with the best `metric_for_best_model`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestEvaluation {
    /// The step.
    pub step: u64,
    /// Its validation loss in nats per label.
    #[serde(with = "crate::exact_float")]
    pub loss: f64,
    /// Its `metric_for_best_model`, 0..100, if there is one.
    #[serde(default, with = "crate::exact_float::option", skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl BestEvaluation {
    /// What the best step has least of: the loss, or minus the score.
    pub(crate) fn objective(&self) -> f64 {
        self.score.map_or(self.loss, |score| -score)
    }
}

impl TrainerState {
    /// Steps that changed the parameters: all but those that loss scaling skipped.
    pub fn optimizer_steps(&self) -> u64 {
        self.step - self.loss_scale.map_or(0, |scale| scale.skipped().min(self.step))
    }

    /// # Errors
    /// [`TrainError::Checkpoint`] with every number that no run of this identity comes to.
    pub(crate) fn check(&self, path: &Path) -> Result<(), TrainError> {
        let (step, rows, total) = (self.step, self.identity.rows, self.identity.total_steps);
        let scale = self.loss_scale.unwrap_or_default();
        let finite = |loss: Option<f64>| loss.is_none_or(f64::is_finite);
        let EarlyStoppingState { best: stopping, waited } = self.early_stopping;
        let problems: Vec<String> = [
            (step <= total, "step", step.to_string(), format!("at most {total}")),
            // A step ends at most one epoch, and does not reach over its end.
            (self.epoch <= step, "epoch", self.epoch.to_string(), format!("at most {step}")),
            (self.cursor < rows, "cursor", self.cursor.to_string(), format!("less than {rows}")),
            (self.tokens < 1 << 63, "tokens", self.tokens.to_string(), "less than 2^63".to_owned()),
            (waited <= step, "early_stopping.waited", waited.to_string(), format!("at most {step}")),
            (finite(stopping), "early_stopping.best", format!("{stopping:?}"), "a finite loss".to_owned()),
            (
                self.best.is_none_or(|best| {
                    best.step <= step && best.loss.is_finite() && best.objective().is_finite()
                }),
                "best",
                format!("{:?}", self.best),
                format!("a finite loss at a step up to {step}"),
            ),
            (
                scale.is_possible(step),
                "loss_scale",
                format!("{scale:?}"),
                format!("a scale after {step} steps"),
            ),
        ]
        .into_iter()
        .filter(|(fits, ..)| !fits)
        .map(|(_, field, found, wanted)| format!("{field} is {found}, wanted {wanted}"))
        .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(TrainError::Checkpoint {
            path: path.join(STATE),
            found: problems.join("; "),
            wanted: "a position that the run comes to".to_owned(),
        })
    }
}

/// What a run's result depends on: all of it must be the same for a run to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunIdentity {
    /// The run's seed.
    pub seed: u64,
    /// Rows of the training set.
    pub rows: usize,
    /// Rows per optimizer step.
    pub rows_per_step: usize,
    /// Steps of the whole schedule.
    pub total_steps: u64,
    /// [`Batches::fingerprint`](burnisher_data::Batches::fingerprint) of the training set, as hexadecimal digits.
    pub data: String,
    /// Every other setting that the result depends on, by its field in the run file, as text.
    pub settings: BTreeMap<String, String>,
}

impl RunIdentity {
    /// # Errors
    /// [`TrainError::ResumeMismatch`] with the first field in which the checkpoint's run (`self`)
    /// differs from the current one.
    pub(crate) fn check(&self, current: &Self) -> Result<(), TrainError> {
        let rows = |identity: &Self| identity.rows as u64;
        let per_step = |identity: &Self| identity.rows_per_step as u64;
        for (field, was, is) in [
            ("train.seed", self.seed, current.seed),
            ("the number of training rows", rows(self), rows(current)),
            ("train.batch_size · train.gradient_accumulation_steps", per_step(self), per_step(current)),
            ("the number of steps (train.epochs, train.max_steps)", self.total_steps, current.total_steps),
        ] {
            if was != is {
                return Err(mismatch(field, is, was));
            }
        }
        if self.data != current.data {
            return Err(mismatch("the content of the training rows", &current.data, &self.data));
        }
        let unset = "not set".to_owned();
        let fields: BTreeSet<&String> = self.settings.keys().chain(current.settings.keys()).collect();
        for field in fields {
            let value = |identity: &Self| identity.settings.get(field).unwrap_or(&unset).clone();
            let (was, is) = (value(self), value(current));
            if was != is {
                return Err(mismatch(field, is, was));
            }
        }
        Ok(())
    }
}

fn mismatch(field: &str, is: impl Display, was: impl Display) -> TrainError {
    TrainError::ResumeMismatch { field: field.to_owned(), found: is.to_string(), wanted: was.to_string() }
}

/// Writes everything that a run needs to go on bit for bit into a new directory `path`; `extra`
/// adds files to it. The directory appears complete or not at all.
///
/// # Errors
/// [`TrainError::Io`] with the path; what was there before stays.
pub(crate) fn save<M: Adaptable>(
    path: &Path,
    model: &M,
    optimizer: &Optimizer,
    ranks: Option<&RankAllocator>,
    state: &TrainerState,
    extra: &dyn Fn(&Path) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let mut parameters = Vec::new();
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        if parameter.is_trainable() {
            parameters.push((name.to_owned(), parameter.shape(), parameter.flat()));
        }
    });
    atomic::write_dir(path, |dir| {
        write_tensors(&dir.join(PARAMETERS), &parameters)?;
        state_file::write(&dir.join(OPTIMIZER), optimizer)?;
        if let (Some(ranks), Some((_, _, first))) = (ranks, parameters.first()) {
            let tensors = ranks.to_tensors(&first.device());
            let shaped = tensors.into_iter().map(|(name, tensor)| (name, tensor.dims().to_vec(), tensor));
            write_tensors(&dir.join(RANKS), &shaped.collect::<Vec<_>>())?;
        }
        let json =
            serde_json::to_vec_pretty(state).map_err(|source| TrainError::json(&dir.join(STATE), source))?;
        atomic::write(&dir.join(STATE), &json)?;
        extra(dir)
    })
}

/// Reads a checkpoint's position without its tensors; [`TrainerState::check`] holds it against its run.
pub(crate) fn read_state(path: &Path) -> Result<TrainerState, TrainError> {
    let file = path.join(STATE);
    let text = fs::read(&file).map_err(|source| TrainError::io("read", &file, source))?;
    serde_json::from_slice(&text).map_err(|source| TrainError::json(&file, source))
}

/// Puts a checkpoint's parameters into `model` and its moments into `optimizer`, which has done `step` steps.
///
/// # Errors
/// [`TrainError::Checkpoint`] naming every parameter that is missing, unknown or of another shape.
pub(crate) fn load<M: Adaptable>(
    path: &Path,
    step: u64,
    model: &mut M,
    optimizer: &mut Optimizer,
    ranks: Option<&mut RankAllocator>,
    device: &Device,
) -> Result<(), TrainError> {
    load_parameters(path, model, device)?;
    if let Some(ranks) = ranks {
        let file = path.join(RANKS);
        let tensors = read_tensors(&file)?.into_iter().map(|(name, tensor)| (name, tensor.data));
        let restored = ranks.restore(model, tensors.collect(), device);
        restored.map_err(|problems| TrainError::checkpoint(&file, &problems))?;
    }
    let mut shapes = BTreeMap::new();
    visit_parameters(model, &mut |name, parameter| {
        if parameter.is_trainable() {
            shapes.insert(name.to_owned(), parameter.shape());
        }
    });
    state_file::read(&path.join(OPTIMIZER), step, &shapes, optimizer, device)
}

/// Puts a checkpoint's parameters into `model`.
pub(crate) fn load_parameters<M: Adaptable>(
    path: &Path,
    model: &mut M,
    device: &Device,
) -> Result<(), TrainError> {
    let file = path.join(PARAMETERS);
    let mut tensors = read_tensors(&file)?;
    let mut problems = Vec::new();
    visit_parameters(model, &mut |name, mut parameter| {
        if !parameter.is_trainable() {
            return;
        }
        match tensors.remove(name) {
            None => problems.push(format!("{name}: missing")),
            Some(tensor) if tensor.shape != parameter.shape() => {
                problems.push(format!("{name}: found {:?}, wanted {:?}", tensor.shape, parameter.shape()));
            }
            Some(tensor) => {
                let dtype = tensor.data.dtype();
                parameter.set_flat(Tensor::from_data(tensor.data, (device, dtype)));
            }
        }
    });
    problems.extend(tensors.keys().map(|name| format!("{name}: not a trained parameter of this model")));
    if problems.is_empty() { Ok(()) } else { Err(TrainError::checkpoint(&file, &problems)) }
}

struct StoredTensor {
    shape: Vec<usize>,
    /// Flattened.
    data: TensorData,
}

fn write_tensors(path: &Path, tensors: &[(String, Vec<usize>, Tensor<1>)]) -> Result<(), TrainError> {
    let data: Vec<TensorData> = tensors.iter().map(|(_, _, tensor)| tensor.to_data()).collect();
    let mut views = Vec::new();
    for ((name, shape, _), data) in tensors.iter().zip(&data) {
        let dtype = match data.dtype() {
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        };
        let view = TensorView::new(dtype, shape.clone(), data.as_bytes());
        views.push((name.as_str(), view.map_err(|error| TrainError::tensors(path, &error))?));
    }
    let bytes = safetensors::serialize(views, None).map_err(|error| TrainError::tensors(path, &error))?;
    atomic::write(path, &bytes)
}

fn read_tensors(path: &Path) -> Result<BTreeMap<String, StoredTensor>, TrainError> {
    let mut tensors = BTreeMap::new();
    for (name, tensor) in Checkpoint::open_file(path)?.tensors() {
        let dtype = match tensor.dtype {
            CheckpointDtype::F32 => DType::F32,
            CheckpointDtype::BF16 => DType::BF16,
            CheckpointDtype::F16 => DType::F16,
            other => {
                let problem = format!("{name}: found dtype {other}, wanted F32, BF16 or F16");
                return Err(TrainError::checkpoint(path, &[problem]));
            }
        };
        let count = tensor.bytes.len() / tensor.dtype.size();
        let data = TensorData::from_bytes_vec(tensor.bytes.to_vec(), [count], dtype);
        tensors.insert(name.to_owned(), StoredTensor { shape: tensor.shape, data });
    }
    Ok(tensors)
}
