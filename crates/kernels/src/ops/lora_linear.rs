//! LoRA projection.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use crate::cpu;
#[cfg(feature = "flex")]
use crate::shared_input::InputPanels;
use crate::{
    Dropout, FrozenWeight, SharedInput, backend,
    ops::{linear::rows, precision::float_dtype},
};

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
    x: impl Into<SharedInput<D>>,
    base: &FrozenWeight,
    adapter: &LoraFactors,
    dropout: Option<&Dropout>,
) -> Tensor<D> {
    let [out, inn] = base.dims();
    assert_eq!(adapter.a.dims()[1], inn, "lora_linear: A must be [r, in]");
    assert_eq!(adapter.b.dims(), [out, adapter.a.dims()[0]], "lora_linear: B must be [out, r]");
    rows(x.into(), [out, inn], |input| {
        if backend::has_extension(&input.x) {
            backend::lora_linear(input, base.clone(), adapter.clone(), dropout.cloned())
        } else {
            lora_linear_reference(input.x, base, adapter, dropout)
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

/// Forward on plain tensors: the output and `h = s·dropout(x)·Aᵀ`, which the backward wants.
pub(crate) fn forward(
    SharedInput { x, panels }: SharedInput<2>,
    base: &FrozenWeight,
    adapter: &LoraFactors,
    dropout: Option<&Dropout>,
) -> (Tensor<2>, Tensor<2>) {
    let dtype = float_dtype(&adapter.a);
    let dropped = dropout.map(|dropout| dropout.apply(x.clone(), dtype));
    #[cfg(feature = "flex")]
    if let Some(found) = cpu::linear::lora(&x, &panels, dropped.as_ref(), base, adapter) {
        return found;
    }
    let y = base.project(x.clone(), &panels);
    let output = float_dtype(&y);
    let h = dropped.unwrap_or(x).cast(dtype).matmul(adapter.a.clone().transpose());
    let h = h.mul_scalar(adapter.scaling);
    (y + h.clone().matmul(adapter.b.clone().transpose()).cast(output), h)
}

/// Backward on plain tensors, with `dh = s·dy·B`:
/// `dx = dy·W + mask·(dh·A)`, `dA = dhᵀ·dropout(x)`, `dB = dyᵀ·h`.
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
    let dropped = match dropout {
        Some(dropout) => dropout.apply(x, dtype),
        None => x,
    };
    #[cfg(feature = "flex")]
    let panels = InputPanels::default();
    #[cfg(feature = "flex")]
    let found = cpu::linear::lora_factors_back(&grad, &panels, &dropped, &h, adapter);
    #[cfg(not(feature = "flex"))]
    let found: Option<[Tensor<2>; 3]> = None;
    let [grad_h, grad_a, grad_b] = found.unwrap_or_else(|| {
        let grad = grad.clone().cast(dtype);
        let grad_h = grad.clone().matmul(adapter.b.clone()).mul_scalar(adapter.scaling);
        let grad_a = grad_h.clone().transpose().matmul(dropped.cast(dtype));
        [grad_h, grad_a, grad.transpose().matmul(h)]
    });
    if !wants_dx {
        return (None, grad_a, grad_b);
    }
    #[cfg(feature = "flex")]
    if dropout.is_none()
        && let Some(grad_x) = cpu::linear::lora_back(&grad, &panels, &grad_h, base, &adapter.a)
    {
        return (Some(grad_x), grad_a, grad_b);
    }
    let through = grad_h.matmul(adapter.a.clone());
    let grad_x = base.project_back(grad);
    let grad_x = match dropout {
        Some(dropout) => dropout.add_applied(grad_x, through),
        None => grad_x + through.cast(base_dtype),
    };
    (Some(grad_x), grad_a, grad_b)
}

fn apply_dropout(x: Tensor<2>, dropout: Option<&Dropout>) -> Tensor<2> {
    let Some(dropout) = dropout else { return x };
    let mask = dropout.mask(x.dims()[0], x.dims()[1], float_dtype(&x), &x.device().without_autodiff());
    x * mask
}
