//! What the trainer asks of a model.

use burn::module::Module;
use burnisher_data::TokenBatch;
use burnisher_kernels::{DropoutKeys, SummedLoss};
use burnisher_lora::Adaptable;
use burnisher_models::CausalLm;

/// A model with parameters by name and a summed loss over a token batch.
pub trait LossModel: Adaptable + Module {
    /// The loss summed over the batch's labels, each predicted from the token before it, and how
    /// many there were. `dropout` is `None` outside training.
    fn summed_loss(&self, batch: &TokenBatch, dropout: Option<&DropoutKeys>) -> SummedLoss;
}

impl LossModel for CausalLm {
    fn summed_loss(&self, batch: &TokenBatch, dropout: Option<&DropoutKeys>) -> SummedLoss {
        self.loss(batch, dropout)
    }
}
