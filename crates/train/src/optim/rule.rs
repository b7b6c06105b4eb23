//! Which arithmetic a step is.

use burnisher_kernels::{Adafactor, AdamW, Lion, Sgd};

/// How a parameter follows from its gradient, with the options.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// AdamW with both moments in f32.
    AdamW(AdamW),
    /// AdamW with both moments in 8 bits, in blocks of 256 ([`burnisher_quant::Adamw8bit`]).
    ///
    /// As in bitsandbytes, a tensor of fewer than 4096 values and the weight of an embedding keep 32 bits. The decay
    /// comes before the update, as in PyTorch and in bitsandbytes on the CPU, so that all tensors of a run have one
    /// order; bitsandbytes' CUDA kernels have it after.
    AdamW8bit(AdamW),
    /// Lion with its momentum in f32.
    Lion(Lion),
    /// Lion with its momentum in 8 bits ([`burnisher_quant::Lion8bit`]); the same tensors keep 32 bits.
    Lion8bit(Lion),
    /// Adafactor: the second moment of a matrix as a sum over rows and one over columns.
    Adafactor(Adafactor),
    /// Gradient descent with momentum.
    Sgd(Sgd),
}

impl Rule {
    /// Its name in `train.optim` where the state is not paged, which checkpoints carry.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdamW(_) => "adamw_torch",
            Self::AdamW8bit(_) => "adamw_8bit",
            Self::Lion(_) => "lion_32bit",
            Self::Lion8bit(_) => "lion_8bit",
            Self::Adafactor(_) => "adafactor",
            Self::Sgd(_) => "sgd",
        }
    }

    /// Whether its state may lie in a file.
    pub(crate) fn is_pageable(&self) -> bool {
        !matches!(self, Self::Adafactor(_) | Self::Sgd(_))
    }

    /// Whether large tensors have their state in 8 bits.
    pub(super) fn is_8bit(&self) -> bool {
        matches!(self, Self::AdamW8bit(_) | Self::Lion8bit(_))
    }

    pub(super) fn without_decay(mut self) -> Self {
        match &mut self {
            Self::AdamW(options) | Self::AdamW8bit(options) => options.weight_decay = 0.0,
            Self::Lion(options) | Self::Lion8bit(options) => options.weight_decay = 0.0,
            Self::Adafactor(options) => options.weight_decay = 0.0,
            Self::Sgd(options) => options.weight_decay = 0.0,
        }
        self
    }
}

impl From<AdamW> for Rule {
    fn from(options: AdamW) -> Self {
        Self::AdamW(options)
    }
}

impl From<Lion> for Rule {
    fn from(options: Lion) -> Self {
        Self::Lion(options)
    }
}

impl From<Adafactor> for Rule {
    fn from(options: Adafactor) -> Self {
        Self::Adafactor(options)
    }
}

impl From<Sgd> for Rule {
    fn from(options: Sgd) -> Self {
        Self::Sgd(options)
    }
}
