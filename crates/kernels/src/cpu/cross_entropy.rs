//! Softmax and loss of rows of logits, each row read once and written once.

use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::{elementwise::rows_per_piece, level::Level, tensor, vector};
use crate::LossOptions;

/// [`LossOptions`] in f32; no cap is an infinite one.
#[derive(Clone, Copy)]
struct Options {
    label_smoothing: f32,
    z_loss: f32,
    softcap: f32,
}

/// Caps a row of logits in place, and gives the largest, `Σ exp(logit − largest)`, `logsumexp` and the loss.
#[inline(always)]
fn loss(row: &mut [f32], target: usize, options: Options) -> (f32, f32, f32, f32) {
    let Options { label_smoothing, z_loss, softcap } = options;
    if softcap.is_finite() {
        for logit in row.iter_mut() {
            *logit = softcap * vector::tanh(*logit / softcap);
        }
    }
    let row = &*row;
    let max = vector::largest(row);
    let sum = vector::sum_of(row, row, |logit, _| vector::exp(logit - max));
    let lse = sum.ln() + max;
    let mut loss = lse - (1.0 - label_smoothing) * row[target];
    if label_smoothing > 0.0 {
        // Relative to the largest: the sum of a large vocabulary keeps its digits.
        let mean = max + vector::sum_of(row, row, |logit, _| logit - max) / row.len() as f32;
        loss -= label_smoothing * mean;
    }
    (max, sum, lse, loss + z_loss * lse * lse)
}

/// The losses `[n]` of `logits [n, vocab]`, one target per row.
///
/// # Panics
/// Where the logits are not a plain f32 tensor of Flex ([`super::flex_f32`]).
pub(crate) fn losses(logits: Tensor<2>, targets: &[usize], options: LossOptions) -> Tensor<1> {
    over_rows(logits, targets, options, false).0
}

/// As [`losses`], and with them their gradient by the logits, which takes the logits' place.
pub(crate) fn losses_and_gradient(
    logits: Tensor<2>,
    targets: &[usize],
    options: LossOptions,
) -> (Tensor<1>, Tensor<2>) {
    over_rows(logits, targets, options, true)
}

fn over_rows(
    logits: Tensor<2>,
    targets: &[usize],
    options: LossOptions,
    wants_gradient: bool,
) -> (Tensor<1>, Tensor<2>) {
    let ([rows, vocab], device) = (logits.dims(), logits.device());
    let options = Options {
        label_smoothing: options.label_smoothing as f32,
        z_loss: options.z_loss as f32,
        softcap: options.softcap.map_or(f32::INFINITY, |cap| cap as f32),
    };
    let mut data = logits.into_data();
    let mut found = vec![0.0f32; rows];
    let piece = rows_per_piece(vocab);
    let logits = data.as_mut_slice::<f32>().expect("f32 logits");
    let inputs = logits.par_chunks_mut(piece * vocab.max(1)).zip(targets.par_chunks(piece));
    found.par_chunks_mut(piece).zip(inputs).for_each(|(found, (logits, targets))| {
        Level::current().run(
            #[inline(always)]
            || {
                let rows = logits.chunks_exact_mut(vocab).zip(targets);
                for (found, (row, &target)) in found.iter_mut().zip(rows) {
                    let (max, sum, lse, loss) = loss(row, target, options);
                    *found = loss;
                    if wants_gradient {
                        gradient(row, target, max, sum, lse, options);
                    }
                }
            },
        );
    });
    (tensor(found, [rows], &device), Tensor::from_data(data, (&device, DType::F32)))
}

/// Writes `softmax·(1 + 2·λ·lse) − ε/V − (1 − ε)·onehot(target)`, times the cap's slope, over capped logits.
#[inline(always)]
fn gradient(row: &mut [f32], target: usize, max: f32, sum: f32, lse: f32, options: Options) {
    let Options { label_smoothing, z_loss, softcap } = options;
    let factor = (1.0 + 2.0 * z_loss * lse) / sum;
    let spread = label_smoothing / row.len() as f32;
    let of_target = row[target];
    if softcap.is_finite() {
        for logit in row.iter_mut() {
            *logit = (vector::exp(*logit - max) * factor - spread) * slope(*logit, softcap);
        }
        row[target] -= (1.0 - label_smoothing) * slope(of_target, softcap);
    } else {
        for logit in row.iter_mut() {
            *logit = vector::exp(*logit - max) * factor - spread;
        }
        row[target] -= 1.0 - label_smoothing;
    }
}

/// The derivative of `c·tanh(x / c)` where its value is `capped`.
#[inline(always)]
fn slope(capped: f32, softcap: f32) -> f32 {
    let tanh = capped / softcap;
    1.0 - tanh * tanh
}
