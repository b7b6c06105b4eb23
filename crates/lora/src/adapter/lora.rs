//! LoRA (Hu et al. 2021, arXiv:2106.09685), and LoRA-FA, which trains B alone.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor},
};
use burnisher_kernels::{
    Dropout, DropoutKeys, FrozenWeight, LoraFactors, SharedInput, linear, lora_linear, trained_linear,
};

use super::{Folded, with_bias};
use crate::{
    ParameterMut,
    projection::{frozen, trainable},
};

/// The trainable factors of one projection: `A [r, in]` and `B [out, r]`, perhaps with a bias `[out]` of `B`, in f32.
#[derive(Module, Debug)]
pub struct LoraAdapter {
    pub(crate) a: Param<Tensor<2>>,
    pub(crate) b: Param<Tensor<2>>,
    /// PEFT's `lora_bias`.
    pub(crate) bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    options: Options,
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) scaling: f64,
    pub(super) dropout: f64,
    /// Distinguishes this module's dropout from other modules'.
    pub(super) stream: u64,
}

impl LoraAdapter {
    /// An adapter of the module at `path`, trained if `is_trainable`.
    pub(crate) fn new(
        path: &str,
        a: Tensor<2>,
        b: Tensor<2>,
        scaling: f64,
        dropout: f64,
        is_trainable: bool,
    ) -> Self {
        let param = if is_trainable { trainable } else { frozen };
        let options = Options { scaling, dropout, stream: stream(path) };
        Self { a: param(a), b: param(b), bias: None, options }
    }

    /// The same with a trained bias of `B`, which starts at 0.
    pub(crate) fn with_zero_bias(self) -> Self {
        let b = self.b.val().without_autodiff();
        let zeros = Tensor::zeros([b.dims()[0]], (&b.device(), b.dtype()));
        Self { bias: Some(trainable(zeros)), ..self }
    }

    /// The same with `A` as it is: only `B` is trained (LoRA-FA, Zhang et al. 2023, arXiv:2308.03303).
    pub(crate) fn with_frozen_a(self) -> Self {
        Self { a: frozen(self.a.val()), ..self }
    }

    /// `A`, `B` and the scale.
    pub fn factors(&self) -> LoraFactors {
        LoraFactors { a: self.a.val(), b: self.b.val(), scaling: self.options.scaling }
    }

    /// The bias `[out]` of `B`, if there is one; it is scaled like `B`.
    pub fn bias(&self) -> Option<Tensor<1>> {
        self.bias.as_ref().map(Param::val)
    }

    /// The rank `r`.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape().dims::<2>()[0]
    }

    /// `s·B·A [out, in]`, outside autodiff.
    pub fn delta(&self) -> Tensor<2> {
        let (a, b) = (self.a.val().without_autodiff(), self.b.val().without_autodiff());
        b.matmul(a).mul_scalar(self.options.scaling)
    }

    /// `x·Wᵀ + s·((dropout(x)·Aᵀ)·Bᵀ + bias)`.
    pub(crate) fn forward<const D: usize>(
        &self,
        x: SharedInput<D>,
        weight: &FrozenWeight,
        keys: Option<&DropoutKeys>,
    ) -> Tensor<D> {
        let dropout = self.dropout(keys);
        let trains_b_alone = self.b.is_require_grad() && !self.a.is_require_grad();
        let y = match dropout {
            // Two products keep `x·Aᵀ`, the fused one keeps `x`.
            None if trains_b_alone => {
                let LoraFactors { a, b, scaling } = self.factors();
                let dtype = FloatDType::from(a.dtype());
                let h = linear(x.tensor().clone().cast(dtype), &FrozenWeight::Dense(a)).mul_scalar(scaling);
                let y = linear(&x, weight);
                let output = FloatDType::from(y.dtype());
                y + trained_linear(h, b).cast(output)
            }
            dropout => lora_linear(x, weight, &self.factors(), dropout.as_ref()),
        };
        with_bias(y, self.bias().map(|bias| bias.mul_scalar(self.options.scaling)))
    }

    /// `s·((x·Aᵀ)·Bᵀ + bias)` in the factors' dtype: what [`LoraAdapter::forward`] adds to the base's output.
    pub(crate) fn added<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let product = |x: Tensor<D>, factor: &Param<Tensor<2>>| -> Tensor<D> {
            match factor.is_require_grad() {
                true => trained_linear(x, factor.val()),
                false => linear(x, &FrozenWeight::Dense(factor.val())),
            }
        };
        let dtype = FloatDType::from(self.a.val().dtype());
        let h = product(x.cast(dtype), &self.a).mul_scalar(self.options.scaling);
        with_bias(product(h, &self.b), self.bias().map(|bias| bias.mul_scalar(self.options.scaling)))
    }

    pub(crate) fn set_scaling(&mut self, scaling: f64, dropout: f64) {
        self.options.scaling = scaling;
        self.options.dropout = dropout;
    }

    /// The same with a dropout of its own, that of an adapter by another name at the same module.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.options.stream ^= stream(name);
        self
    }

    /// `W + s·B·A`, and `bias + s·bias of B`.
    pub(crate) fn fold(&self, base: Folded) -> Folded {
        let of_b = self.bias().map(|bias| bias.without_autodiff().mul_scalar(self.options.scaling));
        let bias = match (base.bias, of_b) {
            (Some(bias), Some(of_b)) => Some(bias + of_b.cast(FloatDType::F32)),
            (bias, _) => bias,
        };
        Folded { weight: base.weight + self.delta().cast(FloatDType::F32), bias }
    }

    pub(crate) fn dropout(&self, keys: Option<&DropoutKeys>) -> Option<Dropout> {
        let keys = keys.filter(|_| self.options.dropout > 0.0)?;
        Some(keys.layer(self.options.stream, self.options.dropout))
    }

    pub(crate) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        visit(&format!("{path}.lora_A.weight"), ParameterMut::Matrix(&mut self.a));
        visit(&format!("{path}.lora_B.weight"), ParameterMut::Matrix(&mut self.b));
        if let Some(bias) = &mut self.bias {
            visit(&format!("{path}.lora_B.bias"), ParameterMut::Vector(bias));
        }
    }
}

/// FNV-1a of the module's path: the same in every run and on every platform.
pub(crate) fn stream(path: &str) -> u64 {
    path.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
