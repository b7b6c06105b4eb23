//! One step of gradient descent with momentum.

use burn::tensor::Tensor;
use rayon::prelude::*;

#[cfg(feature = "flex")]
use crate::cpu;
use crate::ops::values::{PIECE, vectorised};

/// Options of gradient descent (`torch.optim.SGD`, 2.15, without dampening and Nesterov's rule).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    /// What remains of the earlier direction in each step; PyTorch's default is 0.
    pub momentum: f64,
    /// Added to the gradient times the parameter, as L2 regularisation; not decoupled. PyTorch's default is 0.
    pub weight_decay: f64,
}

/// One step of gradient descent.
///
/// `b ← μ·b + (g + λ·p)`, in the first step `b ← g + λ·p`; `p ← p − lr·b`. Plain tensors of one shape and dtype; returns
/// the parameter and the buffer `b`. On Flex in f32 it is one pass that writes in place what is passed by its only
/// owner.
pub fn sgd_step<const D: usize>(
    options: &Sgd,
    learning_rate: f64,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    buffer: Option<Tensor<D>>,
) -> (Tensor<D>, Tensor<D>) {
    #[cfg(feature = "flex")]
    if cpu::update::fits([&parameter, &gradient].into_iter().chain(&buffer)) {
        return cpu::update::with_momentum(parameter, &gradient, buffer, |p, g, b| {
            sgd_update(options, learning_rate, p, g, b);
        });
    }
    sgd_step_reference(options, learning_rate, parameter, gradient, buffer)
}

/// [`sgd_step`] composed of Burn's operations.
pub fn sgd_step_reference<const D: usize>(
    options: &Sgd,
    learning_rate: f64,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    buffer: Option<Tensor<D>>,
) -> (Tensor<D>, Tensor<D>) {
    let gradient = gradient + parameter.clone().mul_scalar(options.weight_decay);
    let buffer = match buffer {
        Some(buffer) => buffer.mul_scalar(options.momentum) + gradient,
        None => gradient,
    };
    (parameter - buffer.clone().mul_scalar(learning_rate), buffer)
}

/// [`sgd_step`] over slices in place; the buffer starts at 0.
#[cfg_attr(not(feature = "flex"), allow(dead_code))]
fn sgd_update(
    options: &Sgd,
    learning_rate: f64,
    parameter: &mut [f32],
    gradient: &[f32],
    buffer: &mut [f32],
) {
    let (momentum, decay, rate) =
        (options.momentum as f32, options.weight_decay as f32, learning_rate as f32);
    let pieces = parameter.par_chunks_mut(PIECE).zip(buffer.par_chunks_mut(PIECE));
    pieces.zip(gradient.par_chunks(PIECE)).for_each(|((p, b), g)| {
        vectorised(
            #[inline(always)]
            || {
                for ((p, b), g) in p.iter_mut().zip(b.iter_mut()).zip(g) {
                    *b = *b * momentum + (g + *p * decay);
                    *p -= *b * rate;
                }
            },
        );
    });
}
