//! AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): factors with singular values, of which the unimportant are masked.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor},
};
use burnisher_kernels::{DropoutKeys, FrozenWeight, LoraFactors, SharedInput, linear, lora_linear};

use super::{
    Folded,
    lora::{Options, stream},
};
use crate::{ParameterMut, projection::trainable};

/// `y = x·Wᵀ + s·((dropout(x)·(E ⊙ A)ᵀ)·Bᵀ)`: the right singular vectors `A [r, in]`, the singular values `E [r, 1]`
/// and the left singular vectors `B [out, r]` are trained; the paper calls them Q, Λ and P. A rank of 0 is a module
/// that lost all of its triplets.
#[derive(Module, Debug)]
pub struct AdaLoraAdapter {
    a: Param<Tensor<2>>,
    e: Param<Tensor<2>>,
    b: Param<Tensor<2>>,
    #[module(skip)]
    options: Options,
}

impl AdaLoraAdapter {
    /// An adapter of the module at `path`: `a [r, in]`, `e [r, 1]`, `b [out, r]`.
    pub(crate) fn new(path: &str, [a, e, b]: [Tensor<2>; 3], scaling: f64, dropout: f64) -> Self {
        let options = Options { scaling, dropout, stream: stream(path) };
        Self { a: trainable(a), e: trainable(e), b: trainable(b), options }
    }

    /// The rank: how many triplets there are, masked ones included.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape().dims::<2>()[0]
    }

    /// The singular values `E [r, 1]`; those of masked triplets are 0.
    pub fn singular_values(&self) -> Tensor<2> {
        self.e.val()
    }

    /// `E ⊙ A`, `B` and the scale.
    pub fn factors(&self) -> LoraFactors {
        // Scaling A takes less than scaling a row of its output for every token.
        LoraFactors { a: self.a.val() * self.e.val(), b: self.b.val(), scaling: self.options.scaling }
    }

    pub(crate) fn forward<const D: usize>(
        &self,
        x: SharedInput<D>,
        weight: &FrozenWeight,
        keys: Option<&DropoutKeys>,
    ) -> Tensor<D> {
        if self.rank() == 0 {
            return linear(&x, weight);
        }
        let Options { dropout, stream, .. } = self.options;
        let dropout = keys.filter(|_| dropout > 0.0).map(|keys| keys.layer(stream, dropout));
        lora_linear(x, weight, &self.factors(), dropout.as_ref())
    }

    /// `W + s·B·(E ⊙ A)`.
    pub(crate) fn fold(&self, base: Folded) -> Folded {
        if self.rank() == 0 {
            return base;
        }
        let LoraFactors { a, b, scaling } = self.factors();
        let delta = b.without_autodiff().matmul(a.without_autodiff()).mul_scalar(scaling);
        Folded { weight: base.weight + delta.cast(FloatDType::F32), bias: base.bias }
    }

    pub(crate) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        visit(&format!("{path}.lora_A"), ParameterMut::Matrix(&mut self.a));
        visit(&format!("{path}.lora_E"), ParameterMut::Matrix(&mut self.e));
        visit(&format!("{path}.lora_B"), ParameterMut::Matrix(&mut self.b));
    }
}
