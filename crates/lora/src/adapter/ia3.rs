//! (IA)³ (Liu et al. 2022, arXiv:2205.05638): activations multiplied by a trained vector.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor},
};
use burnisher_kernels::{SharedInput, linear, scaled_features};

use super::{Base, Folded, with_bias};
use crate::{ParameterMut, projection::trainable};

/// A vector `l` that multiplies a projection's output, `l ⊙ (x·Wᵀ + bias)`, or a feed-forward projection's input,
/// `(l ⊙ x)·Wᵀ + bias` (PEFT 0.21, src/peft/tuners/ia3/layer.py).
#[derive(Module, Debug)]
pub struct Ia3Adapter {
    /// `[out, 1]`, or `[1, in]` for the input: PEFT's shapes.
    l: Param<Tensor<2>>,
    #[module(skip)]
    is_feedforward: bool,
}

impl Ia3Adapter {
    /// Ones: nothing changes yet.
    pub(crate) fn new([out, inn]: [usize; 2], is_feedforward: bool, device: &Device) -> Self {
        let shape = if is_feedforward { [1, inn] } else { [out, 1] };
        Self { l: trainable(Tensor::ones(shape, (device, DType::F32))), is_feedforward }
    }

    /// Whether the vector multiplies the input.
    pub fn is_feedforward(&self) -> bool {
        self.is_feedforward
    }

    /// The vector, `[out]` or `[in]`.
    pub fn vector(&self) -> Tensor<1> {
        let l = self.l.val();
        let [rows, columns] = l.dims();
        l.reshape([rows * columns])
    }

    pub(crate) fn forward<const D: usize>(&self, x: SharedInput<D>, base: Base) -> Tensor<D> {
        let Base { weight, bias } = base;
        match self.is_feedforward {
            true => with_bias(linear(scaled_features(x.tensor().clone(), self.vector()), &weight), bias),
            false => scaled_features(with_bias(linear(x, &weight), bias), self.vector()),
        }
    }

    /// Rows times `l` and the bias too, or columns times `l`.
    pub(crate) fn fold(&self, base: Folded) -> Folded {
        let l = self.l.val().without_autodiff();
        let bias = match self.is_feedforward {
            true => base.bias,
            false => base.bias.map(|bias| bias * self.vector().without_autodiff()),
        };
        Folded { weight: base.weight * l, bias }
    }

    pub(crate) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        visit(&format!("{path}.ia3_l"), ParameterMut::Matrix(&mut self.l));
    }
}
