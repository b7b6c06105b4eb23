//! The gated feed-forward layer.

use burn::{module::Module, tensor::Tensor};
use burnisher_kernels::{Activation, DropoutKeys, SharedInput, gated_activation};
use burnisher_lora::Projection;

/// `down(act(gate(x)) · up(x))`.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(crate) gate_up: GateUpProjection,
    pub(crate) down_proj: Projection,
    #[module(skip)]
    pub(crate) activation: Activation,
}

/// What makes gate and up.
#[derive(Module, Debug)]
pub(crate) enum GateUpProjection {
    /// A projection each.
    Separate(SeparateGateUp),
    /// `gate_up_proj`: the gate's rows, then the others.
    Fused(Projection),
}

#[derive(Module, Debug)]
pub(crate) struct SeparateGateUp {
    pub(crate) gate_proj: Projection,
    pub(crate) up_proj: Projection,
}

impl GateUpProjection {
    fn forward(&self, x: Tensor<3>, keys: Option<&DropoutKeys>) -> [Tensor<3>; 2] {
        match self {
            Self::Separate(SeparateGateUp { gate_proj, up_proj }) => {
                let x = SharedInput::from(x);
                [gate_proj.forward(&x, keys), up_proj.forward(&x, keys)]
            }
            Self::Fused(gate_up_proj) => {
                let both = gate_up_proj.forward(x, keys);
                let inner = both.dims()[2] / 2;
                [both.clone().narrow(2, 0, inner), both.narrow(2, inner, inner)]
            }
        }
    }
}

impl Mlp {
    /// `[b, t, h] -> [b, t, h]`.
    pub(crate) fn forward(&self, x: Tensor<3>, keys: Option<&DropoutKeys>) -> Tensor<3> {
        let [gate, up] = self.gate_up.forward(x, keys);
        self.down_proj.forward(gated_activation(gate, up, self.activation), keys)
    }

    /// Calls `visit` with every projection and its path inside the block.
    pub(crate) fn projections(&mut self, visit: &mut dyn FnMut(&str, &mut Projection)) {
        match &mut self.gate_up {
            GateUpProjection::Separate(SeparateGateUp { gate_proj, up_proj }) => {
                visit("mlp.gate_proj", gate_proj);
                visit("mlp.up_proj", up_proj);
            }
            GateUpProjection::Fused(gate_up_proj) => visit("mlp.gate_up_proj", gate_up_proj),
        }
        visit("mlp.down_proj", &mut self.down_proj);
    }
}
