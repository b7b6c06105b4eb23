use std::collections::BTreeMap;

use burnisher_data::Batches;
use burnisher_eval::Metric;
use serde_json::json;

use super::Trainer;
use crate::{BestEvaluation, ConfigProblem, Event, LossModel, TrainError, TrainerState, evaluate};

/// Scores of the model's answers at a step.
pub(super) type Scorer<M> = Box<dyn FnMut(&M, u64) -> Result<BTreeMap<Metric, f64>, TrainError>>;

impl<M: LossModel> Trainer<M> {
    /// # Errors
    /// [`TrainError::Config`] if `metric_for_best_model` can never be measured.
    pub(super) fn check_scorer(&self, validation: Option<&Batches>) -> Result<(), TrainError> {
        match self.config.metric_for_best_model {
            Some(metric) if self.scorer.is_none() || validation.is_none() => {
                Err(unmeasured(metric, "a validation set, and a scorer by Trainer::score_with"))
            }
            _ => Ok(()),
        }
    }

    /// What chooses the best step: another set or another metric begins anew.
    pub(super) fn yardstick(&self, set: &Batches) -> String {
        let set = format!("{:016x}", set.fingerprint());
        match self.config.metric_for_best_model {
            Some(metric) => {
                let (examples, tokens) = (self.config.eval_examples, self.config.eval_max_new_tokens);
                format!("{set} by {metric} of {examples} answers of {tokens} tokens")
            }
            None => set,
        }
    }

    /// Validates; with `counts`, the result may become the best one.
    pub(super) fn validate(
        &mut self,
        model: &M,
        set: &Batches,
        state: &mut TrainerState,
        counts: bool,
    ) -> Result<BestEvaluation, TrainError> {
        let step = state.step;
        let loss = evaluate(model, set, self.config.batch_size).map_err(|error| self.at_step(error, step))?;
        let metrics = match &mut self.scorer {
            Some(scorer) => scorer(model, step)?,
            None => BTreeMap::new(),
        };
        let score = match self.config.metric_for_best_model {
            Some(metric) => match metrics.get(&metric) {
                Some(score) if score.is_finite() => Some(*score),
                _ => return Err(unmeasured(metric, "a scorer that returns it, as a finite number")),
            },
            None => None,
        };
        let measured = BestEvaluation { step, loss: loss.mean, score };
        let best = counts && state.best.is_none_or(|best| measured.objective() < best.objective());
        if best {
            state.best = Some(measured);
        }
        let tokens = loss.tokens as u64;
        self.emit(&Event::Evaluated { step, validation_loss: loss.mean, tokens, metrics, best });
        Ok(measured)
    }
}

fn unmeasured(metric: Metric, wanted: &str) -> TrainError {
    let found = json!(metric.name());
    TrainError::Config(vec![ConfigProblem::value("train.metric_for_best_model", found, wanted)])
}
