//! Projection by a frozen weight.

use burn::tensor::{FloatDType, Tensor};

use crate::{FrozenWeight, backend};

/// `y = x·Wᵀ` with a frozen weight `W [out, in]`, dense or 4-bit.
///
/// The backward is `dx = dy·W` and keeps the stored weight only: a 4-bit weight is never dense
/// as a whole, forward or backward (QLoRA, arXiv:2305.14314, §3).
///
/// # Shapes
/// - `x`: `[.., in]`, in the dense weight's dtype
/// - output: `[.., out]`
///
/// # Panics
/// If the last dimension of `x` is not the weight's `in`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: &FrozenWeight) -> Tensor<D> {
    rows(x, weight.dims(), |x| {
        if backend::has_extension(&x) {
            backend::frozen_linear(x, weight.clone())
        } else {
            linear_reference(x, weight)
        }
    })
}

/// [`linear`] composed of Burn's differentiable operations: the dense weight stays on the tape.
pub fn linear_reference(x: Tensor<2>, weight: &FrozenWeight) -> Tensor<2> {
    let dense = weight.dense(FloatDType::from(x.dtype()));
    x.matmul(dense.transpose())
}

/// Applies `f` to `x` seen as `[rows, in]`, and gives the result `x`'s leading dimensions again.
pub(crate) fn rows<const D: usize>(
    x: Tensor<D>,
    [out, inn]: [usize; 2],
    f: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Tensor<D> {
    let mut dims = x.dims();
    assert_eq!(dims[D - 1], inn, "linear: the last dimension of x must be the weight's `in`");
    let count = dims[..D - 1].iter().product::<usize>();
    dims[D - 1] = out;
    f(x.reshape([count, inn])).reshape(dims)
}
