//! Root-mean-square normalisation.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{
    backend,
    ops::precision::{float_dtype, statistics_dtype},
};

/// How a normalisation's weight is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormWeight {
    /// Factor `w` (Llama, Mistral).
    #[default]
    Plain,
    /// Factor `1 + w` (Gemma).
    OnePlus,
}

/// `y = x / √(mean(x²) + ε) · w`, or `· (1 + w)` (arXiv:1910.07467), statistics in f32, or f64 for f64 inputs.
///
/// Llama's form multiplies after rounding to the input's dtype, Gemma's before, as Hugging Face does. The backward
/// keeps `x`.
///
/// # Shapes
/// - `x`: `[.., h]`, `weight`: `[h]`, output: as `x`
///
/// # Panics
/// If `weight` is not as long as the last dimension of `x`.
pub fn rms_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    epsilon: f64,
    form: NormWeight,
) -> Tensor<D> {
    let shape = x.dims();
    let width = shape[D - 1];
    assert_eq!(weight.dims(), [width], "rms_norm: weight must be [h]");
    let x = x.reshape([shape[..D - 1].iter().product::<usize>(), width]);
    let y = if backend::has_extension(&x) {
        backend::block::rms_norm(x, weight, epsilon, form)
    } else {
        rms_norm_reference(x, weight, epsilon, form)
    };
    y.reshape(shape)
}

/// [`rms_norm`] composed of Burn's differentiable operations.
pub fn rms_norm_reference(x: Tensor<2>, weight: Tensor<1>, epsilon: f64, form: NormWeight) -> Tensor<2> {
    let (dtype, statistics) = (float_dtype(&x), statistics_dtype(&x));
    let x = x.cast(statistics);
    let normed = x.clone() * inverse_rms(x, epsilon);
    match form {
        NormWeight::Plain => normed.cast(dtype) * weight.cast(dtype).unsqueeze(),
        NormWeight::OnePlus => (normed * weight.cast(statistics).add_scalar(1.0).unsqueeze()).cast(dtype),
    }
}

/// `1 / √(mean(x²) + ε)` of each row, `[n, 1]`.
fn inverse_rms(x: Tensor<2>, epsilon: f64) -> Tensor<2> {
    x.square().mean_dim(1).add_scalar(epsilon).sqrt().recip()
}

/// Forward on plain tensors.
pub(crate) fn forward(x: Tensor<2>, weight: Tensor<1>, epsilon: f64, form: NormWeight) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(y) = cpu::elementwise::rms_norm(&x, &weight, epsilon, form) {
        return y;
    }
    rms_norm_reference(x, weight, epsilon, form)
}

/// Backward on plain tensors. With `r = 1/√(mean(x²) + ε)` and `g = dy∘w`:
/// `dx = r·g − r³·x·mean(g∘x)`, `dw = Σ dy∘x·r`.
pub(crate) fn backward(
    grad: Tensor<2>,
    x: Tensor<2>,
    weight: Tensor<1>,
    epsilon: f64,
    form: NormWeight,
) -> (Tensor<2>, Tensor<1>) {
    #[cfg(feature = "flex")]
    if let Some(grads) = cpu::elementwise::rms_norm_backward(&grad, &x, &weight, epsilon, form) {
        return grads;
    }
    let (dtype, weight_dtype, width) = (float_dtype(&x), float_dtype(&weight), x.dims()[1]);
    let statistics = statistics_dtype(&x);
    let (grad, x) = (grad.cast(statistics), x.cast(statistics));
    let weight = weight.cast(statistics);
    let factor = match form {
        NormWeight::Plain => weight,
        NormWeight::OnePlus => weight.add_scalar(1.0),
    };
    let inverse = inverse_rms(x.clone(), epsilon);
    let normed = x * inverse.clone();
    let scaled = grad.clone() * factor.unsqueeze();
    let mean = (scaled.clone() * normed.clone()).mean_dim(1);
    let grad_x = (scaled - normed.clone() * mean) * inverse;
    let grad_weight = (grad * normed).sum_dim(0).reshape([width]);
    (grad_x.cast(dtype), grad_weight.cast(weight_dtype))
}
