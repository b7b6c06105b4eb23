//! What is attached to a projection: one file per method.

mod dora;
mod lora;

use burn::{
    module::Module,
    tensor::{FloatDType, Tensor},
};
use burnisher_kernels::{DropoutKeys, FrozenWeight, SharedInput};

pub use self::{dora::DoraAdapter, lora::LoraAdapter};
use crate::ParameterMut;

/// The adapter of one projection.
#[derive(Module, Debug)]
pub enum Adapter {
    /// LoRA: `s·B·A` is added to the weight.
    Lora(LoraAdapter),
    /// DoRA: the rows of `W + s·B·A` get trained norms.
    Dora(DoraAdapter),
}

/// A projection's own weight and bias, which its adapter leaves as they are.
pub(crate) struct Base {
    /// `[out, in]`.
    pub(crate) weight: FrozenWeight,
    /// `[out]`.
    pub(crate) bias: Option<Tensor<1>>,
}

/// A projection's weight `[out, in]` and bias `[out]` in f32, outside autodiff, with an adapter folded in.
pub(crate) struct Folded {
    pub(crate) weight: Tensor<2>,
    pub(crate) bias: Option<Tensor<1>>,
}

impl Adapter {
    /// `[.., in] -> [.., out]`: the adapted projection; `keys` switches dropout on.
    pub(crate) fn forward<const D: usize>(
        &self,
        x: SharedInput<D>,
        base: Base,
        keys: Option<&DropoutKeys>,
    ) -> Tensor<D> {
        let Base { weight, bias } = base;
        match self {
            Self::Lora(lora) => with_bias(lora.forward(x, &weight, keys), bias),
            Self::Dora(dora) => with_bias(dora.forward(x, &weight, keys), bias),
        }
    }

    /// The adapter folded into its projection's weight and bias, which are in f32.
    pub(crate) fn fold(&self, base: Folded) -> Folded {
        match self {
            Self::Lora(lora) => lora.fold(base),
            Self::Dora(dora) => dora.fold(base),
        }
    }

    /// Whether it can be folded into a projection without a bias.
    pub(crate) fn needs_bias(&self) -> bool {
        self.lora().is_some_and(|lora| lora.bias.is_some())
    }

    /// Takes note of the weight it stands beside, after that was changed.
    pub(crate) fn stand_beside(&mut self, weight: &FrozenWeight) {
        match self {
            Self::Lora(_) => {}
            Self::Dora(dora) => dora.stand_beside(weight),
        }
    }

    /// The factors `A` and `B`, if the method has them.
    pub fn lora(&self) -> Option<&LoraAdapter> {
        match self {
            Self::Lora(lora) => Some(lora),
            Self::Dora(dora) => Some(&dora.lora),
        }
    }

    /// Calls `visit` with every parameter of the adapter of the module at `path` and PEFT's name of it.
    pub(crate) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Lora(lora) => lora.parameters(path, visit),
            Self::Dora(dora) => dora.parameters(path, visit),
        }
    }
}

/// `y + bias`, in the dtype of `y`.
pub(crate) fn with_bias<const D: usize>(y: Tensor<D>, bias: Option<Tensor<1>>) -> Tensor<D> {
    match bias {
        Some(bias) => {
            let dtype = FloatDType::from(y.dtype());
            y + bias.cast(dtype).unsqueeze()
        }
        None => y,
    }
}
