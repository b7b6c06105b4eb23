//! Rotary position embedding.

use burn::tensor::Tensor;

/// `x·cos + rotate_half(x)·sin` with `rotate_half([x₁, x₂]) = [−x₂, x₁]` (RoFormer,
/// arXiv:2104.09864, in the layout of Hugging Face's checkpoints).
///
/// # Shapes
/// - `x`: `[batch, heads, t, d]`; `cos`, `sin`: `[batch, 1, t, d]` in `x`'s dtype; output: as `x`
pub fn rope(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (first, second) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
    x * cos + Tensor::cat(vec![second.neg(), first], 3) * sin
}
