//! Projection by a frozen weight.

use burn::tensor::{FloatDType, Tensor};

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{FrozenWeight, SharedInput, backend};

/// `y = x·Wᵀ` with a frozen weight `W [out, in]`, dense or 4-bit.
///
/// The backward is `dx = dy·W` and keeps the stored weight only: a 4-bit weight is never dense
/// as a whole, forward or backward (QLoRA, arXiv:2305.14314, §3).
///
/// # Shapes
/// - `x`: `[.., in]`; a dense weight of another dtype is read as of that of `x`
/// - output: `[.., out]`
///
/// # Panics
/// If the last dimension of `x` is not the weight's `in`.
pub fn linear<const D: usize>(x: impl Into<SharedInput<D>>, weight: &FrozenWeight) -> Tensor<D> {
    rows(x.into(), weight.dims(), |input| {
        if backend::has_extension(&input.x) {
            backend::frozen_linear(input, weight.clone())
        } else {
            linear_reference(input.x, weight)
        }
    })
}

/// `y = x·Wᵀ` with a trained weight `W [out, in]` on the tape.
///
/// The backward is `dx = dy·W` and `dW = dyᵀ·x`, and keeps `x` and `W`.
///
/// # Shapes
/// - `x`: `[.., in]`, in the weight's dtype; output: `[.., out]`
///
/// # Panics
/// If the last dimension of `x` is not the weight's `in`.
pub fn trained_linear<const D: usize>(x: impl Into<SharedInput<D>>, weight: Tensor<2>) -> Tensor<D> {
    rows(x.into(), weight.dims(), |input| {
        if backend::has_extension(&input.x) {
            backend::trained_linear(input, weight)
        } else {
            trained_linear_reference(input.x, weight)
        }
    })
}

/// [`trained_linear`] composed of Burn's differentiable operations.
pub fn trained_linear_reference(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    x.matmul(weight.transpose())
}

/// `dyᵀ·x [out, in]` for plain tensors.
pub(crate) fn weight_gradient(grad: &Tensor<2>, x: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(gradient) = cpu::linear::transposed_times(grad, &x, x.dtype()) {
        return gradient;
    }
    grad.clone().transpose().matmul(x)
}

/// [`linear`] composed of Burn's differentiable operations: the dense weight stays on the tape.
pub fn linear_reference(x: Tensor<2>, weight: &FrozenWeight) -> Tensor<2> {
    let dense = weight.dense(FloatDType::from(x.dtype()));
    let y = x.clone().matmul(dense.transpose());
    match weight {
        // Rounding has no gradient: values of the quantized product, gradient of the restored weight.
        FrozenWeight::EightBit(weight) => {
            let values = weight.project(x.without_autodiff());
            let plain = y.clone().without_autodiff();
            y + values - plain
        }
        _ => y,
    }
}

/// Applies `f` to the input seen as `[rows, in]`, and gives the result the input's leading dimensions again.
pub(crate) fn rows<const D: usize>(
    SharedInput { x, panels }: SharedInput<D>,
    [out, inn]: [usize; 2],
    f: impl FnOnce(SharedInput<2>) -> Tensor<2>,
) -> Tensor<D> {
    let mut dims = x.dims();
    assert_eq!(dims[D - 1], inn, "linear: the last dimension of x must be the weight's `in`");
    let count = dims[..D - 1].iter().product::<usize>();
    dims[D - 1] = out;
    f(SharedInput { x: x.reshape([count, inn]), panels }).reshape(dims)
}
