//! One Lion step.

use burn::tensor::Tensor;
use rayon::prelude::*;

#[cfg(feature = "flex")]
use crate::cpu;
use crate::ops::values::{PIECE, vectorised};

/// Lion's options, with bitsandbytes' defaults (`Lion`, 0.50).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// The part of the momentum in the direction of a step, 0.9.
    pub beta1: f64,
    /// Decay of the momentum, 0.99.
    pub beta2: f64,
    /// Decoupled weight decay, 0.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

/// One step of Lion (arXiv:2302.06675, algorithm 2), with the decay first as in bitsandbytes 0.50.
///
/// `p ← p·(1 − lr·λ) − lr·sign(β₁·m + (1 − β₁)·g)`, `m ← β₂·m + (1 − β₂)·g`, where the sign of 0 is 0. Plain tensors of
/// one shape and dtype; returns the parameter and the momentum. On Flex in f32 it is one pass that writes in place what
/// is passed by its only owner.
pub fn lion_step<const D: usize>(
    options: &Lion,
    learning_rate: f64,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    momentum: Option<Tensor<D>>,
) -> (Tensor<D>, Tensor<D>) {
    #[cfg(feature = "flex")]
    if cpu::update::fits([&parameter, &gradient].into_iter().chain(&momentum)) {
        return cpu::update::with_momentum(parameter, &gradient, momentum, |p, g, m| {
            lion_update(options, learning_rate, p, g, m);
        });
    }
    lion_step_reference(options, learning_rate, parameter, gradient, momentum)
}

/// [`lion_step`] composed of Burn's operations.
pub fn lion_step_reference<const D: usize>(
    options: &Lion,
    learning_rate: f64,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    momentum: Option<Tensor<D>>,
) -> (Tensor<D>, Tensor<D>) {
    let Lion { beta1, beta2, weight_decay } = *options;
    let m = momentum.unwrap_or_else(|| gradient.zeros_like());
    let direction = m.clone().mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
    let decayed = parameter.mul_scalar(1.0 - learning_rate * weight_decay);
    let m = m.mul_scalar(beta2) + gradient.mul_scalar(1.0 - beta2);
    (decayed - direction.sign().mul_scalar(learning_rate), m)
}

/// [`lion_step`] over slices in place, wherever they lie; the momentum starts at 0.
///
/// # Panics
/// If the slices differ in length.
pub fn lion_update(
    options: &Lion,
    learning_rate: f64,
    parameter: &mut [f32],
    gradient: &[f32],
    momentum: &mut [f32],
) {
    assert!(parameter.len() == gradient.len() && parameter.len() == momentum.len(), "slices of one length");
    let Lion { beta1, beta2, weight_decay } = *options;
    let (beta1, rest1) = (beta1 as f32, (1.0 - beta1) as f32);
    let (beta2, rest2) = (beta2 as f32, (1.0 - beta2) as f32);
    let (decay, rate) = ((1.0 - learning_rate * weight_decay) as f32, learning_rate as f32);
    let pieces = parameter.par_chunks_mut(PIECE).zip(momentum.par_chunks_mut(PIECE));
    pieces.zip(gradient.par_chunks(PIECE)).for_each(|((p, m), g)| {
        vectorised(
            #[inline(always)]
            || {
                for ((p, m), g) in p.iter_mut().zip(m.iter_mut()).zip(g) {
                    let direction = *m * beta1 + g * rest1;
                    let sign = if direction == 0.0 { 0.0 } else { 1.0f32.copysign(direction) };
                    *p = *p * decay - sign * rate;
                    *m = *m * beta2 + g * rest2;
                }
            },
        );
    });
}
