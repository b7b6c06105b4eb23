//! The gated feed-forward layer.

use burn::{module::Module, tensor::Tensor};
use burnisher_kernels::{Activation, DropoutKeys, SharedInput, gated_activation};
use burnisher_lora::Projection;

/// `down(act(gate(x)) · up(x))`.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(crate) gate_proj: Projection,
    pub(crate) up_proj: Projection,
    pub(crate) down_proj: Projection,
    #[module(skip)]
    pub(crate) activation: Activation,
}

impl Mlp {
    /// `[b, t, h] -> [b, t, h]`.
    pub(crate) fn forward(&self, x: Tensor<3>, keys: Option<&DropoutKeys>) -> Tensor<3> {
        let x = SharedInput::from(x);
        let (gate, up) = (self.gate_proj.forward(&x, keys), self.up_proj.forward(&x, keys));
        drop(x);
        self.down_proj.forward(gated_activation(gate, up, self.activation), keys)
    }
}
