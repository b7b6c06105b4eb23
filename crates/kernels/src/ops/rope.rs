//! Rotary position embedding.

use burn::tensor::Tensor;

use crate::backend;
#[cfg(feature = "flex")]
use crate::cpu;

/// `x·cos + rotate_half(x)·sin` with `rotate_half([x₁, x₂]) = [−x₂, x₁]` (RoFormer,
/// arXiv:2104.09864, in the layout of Hugging Face's checkpoints).
///
/// The backward keeps the tables only.
///
/// # Shapes
/// - `x`: `[batch, heads, t, d]`; `cos`, `sin`: `[batch, 1, t, d]` in `x`'s dtype; output: as `x`
///
/// # Panics
/// If the shapes of the tables do not fit.
pub fn rope(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let [batch, _, length, dim] = x.dims();
    for table in [&cos, &sin] {
        assert_eq!(table.dims(), [batch, 1, length, dim], "rope: cos and sin must be [batch, 1, t, d]");
    }
    if backend::has_extension(&x) {
        backend::block::rope(x, cos.without_autodiff(), sin.without_autodiff())
    } else {
        rope_reference(x, cos, sin)
    }
}

/// [`rope`] composed of Burn's differentiable operations.
pub fn rope_reference(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let [first, second] = halves(x.clone());
    x * cos + Tensor::cat(vec![second.neg(), first], 3) * sin
}

/// Forward on plain tensors.
pub(crate) fn forward(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(y) = cpu::elementwise::rope(&x, &cos, &sin, false) {
        return y;
    }
    rope_reference(x, cos, sin)
}

/// Backward on plain tensors: the transposed rotation, `dx = dy·cos − rotate_half(dy·sin)`.
pub(crate) fn backward(grad: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(y) = cpu::elementwise::rope(&grad, &cos, &sin, true) {
        return y;
    }
    let [first, second] = halves(grad.clone() * sin);
    grad * cos + Tensor::cat(vec![second, first.neg()], 3)
}

fn halves(x: Tensor<4>) -> [Tensor<4>; 2] {
    let half = x.dims()[3] / 2;
    [x.clone().narrow(3, 0, half), x.narrow(3, half, half)]
}
