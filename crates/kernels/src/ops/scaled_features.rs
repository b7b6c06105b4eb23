//! Activations multiplied by a vector.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{
    backend,
    ops::precision::{float_dtype, statistics_dtype},
};

/// `y = x ⊙ factor`, with one factor per feature, multiplied in f32 (f64 for f64) and rounded once to the dtype of `x`.
///
/// The backward is `dx = dy ⊙ factor` and `dfactor = Σ dy ⊙ x` over all rows; it keeps `x` and the factor. For what
/// trains a factor beside a frozen product: the magnitudes of DoRA (arXiv:2402.09353), the vectors of (IA)³
/// (arXiv:2205.05638) and VeRA (arXiv:2310.11454).
///
/// # Shapes
/// - `x`: `[.., h]`, `factor`: `[h]`, output: as `x`
///
/// # Panics
/// If `factor` is not as long as the last dimension of `x`.
pub fn scaled_features<const D: usize>(x: Tensor<D>, factor: Tensor<1>) -> Tensor<D> {
    let shape = x.dims();
    let width = shape[D - 1];
    assert_eq!(factor.dims(), [width], "scaled_features: factor must be [h]");
    let x = x.reshape([shape[..D - 1].iter().product::<usize>(), width]);
    let y = if backend::has_extension(&x) {
        backend::scale::scaled_features(x, factor)
    } else {
        scaled_features_reference(x, factor)
    };
    y.reshape(shape)
}

/// [`scaled_features`] composed of Burn's differentiable operations.
pub fn scaled_features_reference(x: Tensor<2>, factor: Tensor<1>) -> Tensor<2> {
    let (dtype, within) = (float_dtype(&x), statistics_dtype(&x));
    (x.cast(within) * factor.cast(within).unsqueeze()).cast(dtype)
}

/// Forward on plain tensors.
pub(crate) fn forward(x: Tensor<2>, factor: Tensor<1>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(y) = cpu::scale::scaled_features(&x, &factor) {
        return y;
    }
    scaled_features_reference(x, factor)
}

/// Backward on plain tensors: `dx` and `dfactor`.
pub(crate) fn backward(grad: Tensor<2>, x: Tensor<2>, factor: Tensor<1>) -> (Tensor<2>, Tensor<1>) {
    #[cfg(feature = "flex")]
    if let Some(grads) = cpu::scale::scaled_features_backward(&grad, &x, &factor) {
        return grads;
    }
    let (within, of_factor, width) = (statistics_dtype(&x), float_dtype(&factor), x.dims()[1]);
    let grad_factor = (grad.clone().cast(within) * x.cast(within)).sum_dim(0).reshape([width]);
    (scaled_features_reference(grad, factor), grad_factor.cast(of_factor))
}
