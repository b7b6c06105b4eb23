use crate::error::QuantError;

/// When a step shrinks the parameter by `1 - learning_rate * weight_decay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecayOrder {
    /// After the update, as bitsandbytes' CUDA kernel does.
    AfterUpdate,
    /// Before it, as PyTorch's AdamW and bitsandbytes on the CPU do: Loshchilov and Hutter, "Decoupled Weight Decay
    /// Regularization" (2019).
    BeforeUpdate,
}

/// The options of AdamW with its state in 8 bits.
///
/// | field | default | bitsandbytes (`AdamW8bit`) |
/// |---|---|---|
/// | `beta_1`, `beta_2` | 0.9, 0.999 | `betas` |
/// | `epsilon` | 1e-8 | `eps` |
/// | `weight_decay` | 1e-2 | `weight_decay` |
/// | `decay_order` | after the update | as its CUDA kernel |
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Adamw8bit {
    /// What remains of the mean of the gradients in each step.
    pub beta_1: f64,
    /// What remains of the mean of their squares.
    pub beta_2: f64,
    /// Added to the root of the mean of squares.
    pub epsilon: f64,
    /// Decoupled from the gradient; times the learning rate, the part of the parameter that a step takes away.
    pub weight_decay: f64,
    /// Whether the decay comes before or after the update.
    pub decay_order: DecayOrder,
}

impl Default for Adamw8bit {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 1e-2,
            decay_order: DecayOrder::AfterUpdate,
        }
    }
}

impl Adamw8bit {
    /// Elements that share an absmax: 256, as in bitsandbytes since 0.44.
    pub const BLOCK_SIZE: usize = 256;

    /// bitsandbytes keeps the state of parameters with fewer elements than this in 32 bits (`min_8bit_size`).
    pub const MIN_SIZE: usize = 4096;

    /// bitsandbytes' defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what remains of both means in each step.
    pub fn with_betas(mut self, beta_1: f64, beta_2: f64) -> Self {
        (self.beta_1, self.beta_2) = (beta_1, beta_2);
        self
    }

    /// Sets what is added to the root of the mean of squares.
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// Sets the weight decay.
    pub fn with_weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// Sets whether the decay comes before or after the update.
    pub fn with_decay_order(mut self, decay_order: DecayOrder) -> Self {
        self.decay_order = decay_order;
        self
    }

    /// Checks every number.
    ///
    /// # Errors
    ///
    /// [`QuantError::OptionValue`] unless both betas are in [0, 1) and `epsilon` and `weight_decay` are finite and not
    /// negative.
    pub fn validate(&self) -> Result<(), QuantError> {
        for (name, found) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            if !(0.0..1.0).contains(&found) {
                let wanted = "a number from 0 up to, not including, 1";
                return Err(QuantError::OptionValue { name, found, wanted });
            }
        }
        for (name, found) in [("epsilon", self.epsilon), ("weight_decay", self.weight_decay)] {
            if !found.is_finite() || found < 0.0 {
                let wanted = "a finite number, not negative";
                return Err(QuantError::OptionValue { name, found, wanted });
            }
        }
        Ok(())
    }
}
