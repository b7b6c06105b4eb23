//! LoRA projection.

use burn::tensor::{FloatDType, Tensor};

use crate::{Dropout, FrozenWeight, backend, ops::linear::rows};

/// The trainable low-rank factors of one projection.
#[derive(Clone, Debug)]
pub struct LoraFactors {
    /// `A [r, in]`.
    pub a: Tensor<2>,
    /// `B [out, r]`.
    pub b: Tensor<2>,
    /// `s`: `lora_alpha / r`, or `lora_alpha / √r` when rank-stabilised.
    pub scaling: f64,
}

/// `y = x·Wᵀ + s·(dropout(x)·Aᵀ)·Bᵀ` with a frozen base weight `W [out, in]`, dense or 4-bit
/// (LoRA, arXiv:2106.09685, §4.1; dropout on the adapter's input only, as in PEFT 0.21).
///
/// The adapter runs in its own dtype (f32 for a bf16 base) and the sum in the base's. The backward
/// keeps `x` and `x·Aᵀ`, forms no `W + s·B·A` and no gradient of `W`.
///
/// # Shapes
/// - `x`: `[.., in]`; output: `[.., out]`
///
/// # Panics
/// If shapes do not fit, or the dropout's token keys are not as many as `x` has rows.
pub fn lora_linear<const D: usize>(
    x: Tensor<D>,
    base: &FrozenWeight,
    adapter: &LoraFactors,
    dropout: Option<&Dropout>,
) -> Tensor<D> {
    let [out, inn] = base.dims();
    assert_eq!(adapter.a.dims()[1], inn, "lora_linear: A must be [r, in]");
    assert_eq!(adapter.b.dims(), [out, adapter.a.dims()[0]], "lora_linear: B must be [out, r]");
    rows(x, [out, inn], |x| {
        if backend::has_extension(&x) {
            backend::lora_linear(x, base.clone(), adapter.clone(), dropout.cloned())
        } else {
            lora_linear_reference(x, base, adapter, dropout)
        }
    })
}

/// [`lora_linear`] composed of Burn's differentiable operations.
pub fn lora_linear_reference(
    x: Tensor<2>,
    base: &FrozenWeight,
    adapter: &LoraFactors,
    dropout: Option<&Dropout>,
) -> Tensor<2> {
    let y = super::linear::linear_reference(x.clone(), base);
    let (input, output) = (float_dtype(&adapter.a), float_dtype(&y));
    let dropped = apply_dropout(x.cast(input), dropout);
    let h = dropped.matmul(adapter.a.clone().transpose());
    y + h.matmul(adapter.b.clone().transpose()).mul_scalar(adapter.scaling).cast(output)
}

/// Forward on plain tensors: the output and `h = dropout(x)·Aᵀ`, which the backward wants.
pub(crate) fn forward(
    x: Tensor<2>,
    base: &FrozenWeight,
    adapter: &LoraFactors,
    dropout: Option<&Dropout>,
) -> (Tensor<2>, Tensor<2>) {
    let y = base.project(x.clone());
    let output = float_dtype(&y);
    let h = apply_dropout(x.cast(float_dtype(&adapter.a)), dropout).matmul(adapter.a.clone().transpose());
    // The scale goes onto B, which is smaller than the product.
    let b = adapter.b.clone().mul_scalar(adapter.scaling);
    (y + h.clone().matmul(b.transpose()).cast(output), h)
}

/// Backward on plain tensors, with `dh = s·dy·B`:
/// `dx = dy·W + mask·(dh·A)`, `dA = dhᵀ·dropout(x)`, `dB = s·dyᵀ·h`.
pub(crate) fn backward(
    grad: Tensor<2>,
    x: Tensor<2>,
    h: Tensor<2>,
    base: &FrozenWeight,
    adapter: &LoraFactors,
    dropout: Option<&Dropout>,
    wants_dx: bool,
) -> (Option<Tensor<2>>, Tensor<2>, Tensor<2>) {
    let (base_dtype, dtype) = (float_dtype(&x), float_dtype(&adapter.a));
    let mask = dropout.map(|d| d.mask(x.dims()[0], x.dims()[1], dtype, &x.device()));
    let scaled = grad.clone().cast(dtype).mul_scalar(adapter.scaling);
    let grad_b = scaled.clone().transpose().matmul(h);
    let grad_h = scaled.matmul(adapter.b.clone());
    let dropped = match &mask {
        Some(mask) => x.cast(dtype) * mask.clone(),
        None => x.cast(dtype),
    };
    let grad_a = grad_h.clone().transpose().matmul(dropped);
    let grad_x = wants_dx.then(|| {
        let through = grad_h.matmul(adapter.a.clone());
        let through = match mask {
            Some(mask) => through * mask,
            None => through,
        };
        base.project_back(grad) + through.cast(base_dtype)
    });
    (grad_x, grad_a, grad_b)
}

fn apply_dropout(x: Tensor<2>, dropout: Option<&Dropout>) -> Tensor<2> {
    let Some(dropout) = dropout else { return x };
    let mask = dropout.mask(x.dims()[0], x.dims()[1], float_dtype(&x), &x.device().without_autodiff());
    x * mask
}

/// The float dtype of a float tensor.
pub(crate) fn float_dtype<const D: usize>(x: &Tensor<D>) -> FloatDType {
    FloatDType::from(x.dtype())
}
