//! What is attached to a projection or the embedding: one file per method.

mod adalora;
mod dora;
mod embedding;
mod ia3;
mod lora;
mod vera;

use burn::{
    module::Module,
    tensor::{FloatDType, Tensor},
};
use burnisher_kernels::{Dropout, DropoutKeys, FrozenWeight, SharedInput};

pub(crate) use self::vera::SharedProjection;
pub use self::{
    adalora::AdaLoraAdapter,
    dora::DoraAdapter,
    embedding::{EmbeddingAdapter, LoraEmbedding, TrainableTokens},
    ia3::Ia3Adapter,
    lora::LoraAdapter,
    vera::VeraAdapter,
};
use crate::ParameterMut;

/// The adapter of one projection.
#[derive(Module, Debug)]
pub enum Adapter {
    /// LoRA: `s·B·A` is added to the weight.
    Lora(LoraAdapter),
    /// DoRA: the rows of `W + s·B·A` get trained norms.
    Dora(DoraAdapter),
    /// (IA)³: activations are multiplied by a trained vector.
    Ia3(Ia3Adapter),
    /// VeRA: trained vectors between fixed random matrices that all modules share.
    Vera(VeraAdapter),
    /// AdaLoRA: `s·B·diag(E)·A` is added to the weight, and the unimportant parts of `E` are masked.
    AdaLora(AdaLoraAdapter),
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
        let y = match self {
            Self::Lora(lora) => lora.forward(x, &base.weight, keys),
            Self::Dora(dora) => dora.forward(x, &base.weight, keys),
            Self::Vera(vera) => vera.forward(x, &base.weight, keys),
            Self::AdaLora(adalora) => adalora.forward(x, &base.weight, keys),
            // The vector multiplies the bias too.
            Self::Ia3(ia3) => return ia3.forward(x, base),
        };
        with_bias(y, base.bias)
    }

    /// The adapter folded into its projection's weight and bias, which are in f32.
    pub(crate) fn fold(&self, base: Folded) -> Folded {
        match self {
            Self::Lora(lora) => lora.fold(base),
            Self::Dora(dora) => dora.fold(base),
            Self::Ia3(ia3) => ia3.fold(base),
            Self::Vera(vera) => vera.fold(base),
            Self::AdaLora(adalora) => adalora.fold(base),
        }
    }

    /// Whether it can be folded into a projection without a bias.
    pub(crate) fn needs_bias(&self) -> bool {
        self.lora().is_some_and(|lora| lora.bias.is_some())
    }

    /// Takes note of the weight it stands beside, after that was changed.
    pub(crate) fn stand_beside(&mut self, weight: &FrozenWeight) {
        match self {
            Self::Dora(dora) => dora.stand_beside(weight),
            Self::Lora(_) | Self::Ia3(_) | Self::Vera(_) | Self::AdaLora(_) => {}
        }
    }

    /// Keeps what depends on frozen parameters alone, and would be computed in every pass.
    pub(crate) fn settle(&mut self, weight: &FrozenWeight) {
        if let Self::Dora(dora) = self {
            dora.settle(weight);
        }
    }

    /// The factors `A` and `B`, if the method has them.
    pub fn lora(&self) -> Option<&LoraAdapter> {
        match self {
            Self::Lora(lora) => Some(lora),
            Self::Dora(dora) => Some(&dora.lora),
            Self::Ia3(_) | Self::Vera(_) | Self::AdaLora(_) => None,
        }
    }

    /// Calls `visit` with every parameter of the adapter of the module at `path` and PEFT's name of it.
    pub(crate) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Lora(lora) => lora.parameters(path, visit),
            Self::Dora(dora) => dora.parameters(path, visit),
            Self::Ia3(ia3) => ia3.parameters(path, visit),
            Self::Vera(vera) => vera.parameters(path, visit),
            Self::AdaLora(adalora) => adalora.parameters(path, visit),
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

/// `dropout(x)` on the tape.
pub(crate) fn dropped<const D: usize>(x: Tensor<D>, dropout: &Dropout) -> Tensor<D> {
    let dims = x.dims();
    let (width, rows) = (dims[D - 1], dims[..D - 1].iter().product());
    let mask = dropout.mask(rows, width, FloatDType::from(x.dtype()), &x.device().without_autodiff());
    x * mask.reshape(dims)
}
