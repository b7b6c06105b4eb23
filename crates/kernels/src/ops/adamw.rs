//! One AdamW step.

use burn::tensor::Tensor;
use rayon::prelude::*;

#[cfg(feature = "flex")]
use crate::cpu;
use crate::ops::values::{PIECE, vectorised};

/// AdamW's options, with PyTorch's defaults (`torch.optim.AdamW`, 2.15).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment, 0.9.
    pub beta1: f64,
    /// Decay of the second moment, 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment, 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay, 0.01.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// One parameter's moments.
#[derive(Clone, Debug)]
pub struct AdamWState<const D: usize> {
    /// Moving average of the gradient.
    pub m: Tensor<D>,
    /// Moving average of the squared gradient.
    pub v: Tensor<D>,
}

/// One step of AdamW (arXiv:1711.05101) in PyTorch's order: decay, moments, update.
///
/// `p ← p·(1 − lr·λ)`, `m ← m + (1 − β₁)(g − m)`, `v ← β₂·v + (1 − β₂)·g²`,
/// `p ← p − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)`; `step` counts from 1. Plain tensors of one
/// shape and dtype. On Flex in f32 it is one pass that writes in place what is passed by its only owner.
pub fn adamw_step<const D: usize>(
    options: &AdamW,
    learning_rate: f64,
    step: u64,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    state: Option<AdamWState<D>>,
) -> (Tensor<D>, AdamWState<D>) {
    #[cfg(feature = "flex")]
    {
        let of_state = state.iter().flat_map(|state| [&state.m, &state.v]);
        if cpu::update::fits([&parameter, &gradient].into_iter().chain(of_state)) {
            return cpu::update::adamw(options, learning_rate, step, parameter, &gradient, state);
        }
    }
    adamw_step_reference(options, learning_rate, step, parameter, gradient, state)
}

/// [`adamw_step`] composed of Burn's operations.
pub fn adamw_step_reference<const D: usize>(
    options: &AdamW,
    learning_rate: f64,
    step: u64,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    state: Option<AdamWState<D>>,
) -> (Tensor<D>, AdamWState<D>) {
    let AdamW { beta1, beta2, epsilon, weight_decay } = *options;
    let squared = gradient.clone().square().mul_scalar(1.0 - beta2);
    let (m, v) = match state {
        None => (gradient.mul_scalar(1.0 - beta1), squared),
        Some(AdamWState { m, v }) => {
            (m.clone() + (gradient - m).mul_scalar(1.0 - beta1), v.mul_scalar(beta2) + squared)
        }
    };
    let correction1 = 1.0 - beta1.powi(step as i32);
    let correction2 = (1.0 - beta2.powi(step as i32)).sqrt();
    let denominator = v.clone().sqrt().div_scalar(correction2).add_scalar(epsilon);
    let decayed = parameter.mul_scalar(1.0 - learning_rate * weight_decay);
    let updated = decayed - (m.clone() / denominator).mul_scalar(learning_rate / correction1);
    (updated, AdamWState { m, v })
}

/// [`adamw_step`] over slices in place, wherever they lie; the moments start at 0. The same values, bit for bit, as
/// [`adamw_step`] on Flex.
///
/// # Panics
/// If the slices differ in length.
pub fn adamw_update(
    options: &AdamW,
    learning_rate: f64,
    step: u64,
    parameter: &mut [f32],
    gradient: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let count = parameter.len();
    assert!(gradient.len() == count && m.len() == count && v.len() == count, "slices of one length");
    let AdamW { beta1, beta2, epsilon, weight_decay } = *options;
    let (rest1, beta2, rest2) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
    let correction1 = 1.0 - beta1.powi(step as i32);
    let correction2 = (1.0 - options.beta2.powi(step as i32)).sqrt() as f32;
    let (decay, epsilon) = ((1.0 - learning_rate * weight_decay) as f32, epsilon as f32);
    let factor = (learning_rate / correction1) as f32;
    let moments = m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE));
    let pieces = parameter.par_chunks_mut(PIECE).zip(moments);
    pieces.zip(gradient.par_chunks(PIECE)).for_each(|((p, (m, v)), g)| {
        vectorised(
            #[inline(always)]
            || {
                for (((p, m), v), g) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(g) {
                    *m += (g - *m) * rest1;
                    *v = *v * beta2 + g * g * rest2;
                    *p = *p * decay - *m / (v.sqrt() / correction2 + epsilon) * factor;
                }
            },
        );
    });
}
