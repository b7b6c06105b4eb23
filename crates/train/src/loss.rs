//! What the trainer asks of a model.

use burn::module::Module;
use burnisher_data::TokenBatch;
use burnisher_kernels::{DropoutKeys, SummedLoss, all_finite};
use burnisher_lora::{Adaptable, visit_parameters};
use burnisher_models::CausalLm;

use crate::TrainError;

/// A model with parameters by name and a summed loss over a token batch.
pub trait LossModel: Adaptable + Module {
    /// The loss summed over the batch's labels, each predicted from the token before it, and how
    /// many there were. `dropout` is `None` outside training.
    fn summed_loss(&self, batch: &TokenBatch, dropout: Option<&DropoutKeys>) -> SummedLoss;

    /// Whether the model can take such a batch at all.
    ///
    /// # Errors
    /// [`TrainError`] saying why not.
    fn check_batch(&self, _batch: &TokenBatch) -> Result<(), TrainError> {
        Ok(())
    }

    /// Names the first tensor that is not finite, for the message when the loss of `batch` is not: a parameter, or
    /// whatever else the model can tell.
    fn first_non_finite(&self, _batch: &TokenBatch) -> Option<String> {
        first_non_finite_parameter(self)
    }
}

fn first_non_finite_parameter<M: Adaptable>(model: &M) -> Option<String> {
    let mut found = None;
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        if found.is_none() {
            found = (!all_finite(&parameter.flat())).then(|| name.to_owned());
        }
    });
    found
}

impl LossModel for CausalLm {
    fn summed_loss(&self, batch: &TokenBatch, dropout: Option<&DropoutKeys>) -> SummedLoss {
        self.loss(batch, dropout)
    }

    fn check_batch(&self, batch: &TokenBatch) -> Result<(), TrainError> {
        Ok(self.check_rows(batch.rows, &batch.segment_ids)?)
    }

    fn first_non_finite(&self, batch: &TokenBatch) -> Option<String> {
        first_non_finite_parameter(self).or_else(|| self.first_non_finite_activation(batch))
    }
}
