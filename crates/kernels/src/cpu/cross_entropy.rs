//! Softmax and loss of rows of logits, each row read once and written once.

use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::{elementwise::rows_per_piece, flex_f32, level::Level, tensor, values, vector};

/// The largest logit, `Σ exp(logit − largest)`, and the loss `log Σ exp(logit) − logit[target]`.
#[inline(always)]
fn loss(row: &[f32], target: usize) -> (f32, f32, f32) {
    let max = vector::largest(row);
    let sum = vector::sum_of(row, row, |logit, _| vector::exp(logit - max));
    (max, sum, sum.ln() + max - row[target])
}

/// The losses `[n]` of `logits [n, vocab]`, one target per row.
pub(crate) fn losses(logits: &Tensor<2>, targets: &[usize]) -> Option<Tensor<1>> {
    let storage = flex_f32(logits)?.to_contiguous();
    let [rows, vocab] = logits.dims();
    let mut found = vec![0.0f32; rows];
    let piece = rows_per_piece(vocab);
    let inputs = values::<f32>(&storage).par_chunks(piece * vocab.max(1)).zip(targets.par_chunks(piece));
    found.par_chunks_mut(piece).zip(inputs).for_each(|(found, (logits, targets))| {
        Level::current().run(
            #[inline(always)]
            || {
                for ((found, row), &target) in found.iter_mut().zip(logits.chunks_exact(vocab)).zip(targets) {
                    *found = loss(row, target).2;
                }
            },
        );
    });
    Some(tensor(found, [rows], &logits.device()))
}

/// As [`losses`], and with them `softmax(logits) − onehot(target)`, which takes the place of the logits: it takes them
/// by value, so the caller asks first.
///
/// # Panics
/// Where the logits are not a plain f32 tensor of Flex ([`flex_f32`]).
pub(crate) fn losses_and_gradient(logits: Tensor<2>, targets: &[usize]) -> (Tensor<1>, Tensor<2>) {
    let ([rows, vocab], device) = (logits.dims(), logits.device());
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
                    let (max, sum, loss) = loss(row, target);
                    let inverse = 1.0 / sum;
                    for logit in row.iter_mut() {
                        *logit = vector::exp(*logit - max) * inverse;
                    }
                    row[target] -= 1.0;
                    *found = loss;
                }
            },
        );
    });
    (tensor(found, [rows], &device), Tensor::from_data(data, (&device, DType::F32)))
}
