//! Embedding: one pass over the rows that are looked up, and one over those that are trained.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{Value, by_dtype, contiguous, level::Level, tensor, values};

/// Rows of one piece of work.
const ROWS: usize = 16;

/// `scale · weight[ids] [n, h]`; `None` unless the weight is f32, bf16 or f16 on Flex.
pub(crate) fn embedding(weight: &Tensor<2>, ids: &[u32], scale: Option<f64>) -> Option<Tensor<2>> {
    by_dtype!(weight.dtype(), embedding_of(weight, ids, scale))
}

fn embedding_of<V: Value>(weight: &Tensor<2>, ids: &[u32], scale: Option<f64>) -> Option<Tensor<2>> {
    let storage = contiguous::<V, 2>(weight)?;
    let width = weight.dims()[1];
    let (table, scale) = (values::<V>(&storage), rounded::<V>(scale));
    let mut out = V::zeros(ids.len() * width);
    out.par_chunks_mut(ROWS * width.max(1)).zip(ids.par_chunks(ROWS)).for_each(|(out, ids)| {
        Level::current().run(
            #[inline(always)]
            || {
                for (out, &id) in out.chunks_exact_mut(width.max(1)).zip(ids) {
                    let row = &table[id as usize * width..][..width];
                    for (out, value) in out.iter_mut().zip(row) {
                        *out = V::nearest(value.widen() * scale);
                    }
                }
            },
        );
    });
    Some(tensor(out, [ids.len(), width], &weight.device()))
}

/// The gradient of the weight `[vocab, h]`: for each id the sum of `scale · grad [n, h]` over its positions, in order;
/// `None` as [`embedding`].
pub(crate) fn embedding_back(
    grad: &Tensor<2>,
    ids: &[u32],
    vocab: usize,
    scale: Option<f64>,
) -> Option<Tensor<2>> {
    by_dtype!(grad.dtype(), embedding_back_of(grad, ids, vocab, scale))
}

fn embedding_back_of<V: Value>(
    grad: &Tensor<2>,
    ids: &[u32],
    vocab: usize,
    scale: Option<f64>,
) -> Option<Tensor<2>> {
    let storage = contiguous::<V, 2>(grad)?;
    let ([_, width], device) = (grad.dims(), grad.device());
    let (rows, scale) = (values::<V>(&storage), rounded::<V>(scale));
    let mut positions: Vec<usize> = (0..ids.len()).collect();
    positions.sort_by_key(|&position| ids[position]);
    let groups: Vec<&[usize]> = positions.chunk_by(|&a, &b| ids[a] == ids[b]).collect();
    let mut out = V::zeros(vocab * width);
    let mut places = Vec::with_capacity(groups.len());
    let (mut rest, mut passed) = (&mut out[..], 0);
    for group in groups {
        let id = ids[group[0]] as usize;
        let (_, from_here) = rest.split_at_mut((id - passed) * width);
        let (place, after) = from_here.split_at_mut(width);
        places.push((place, group));
        (rest, passed) = (after, id + 1);
    }
    places.into_par_iter().for_each(|(place, group)| {
        let mut sums = vec![0.0f32; width];
        Level::current().run(
            #[inline(always)]
            || {
                for &position in group {
                    for (sum, value) in sums.iter_mut().zip(&rows[position * width..][..width]) {
                        *sum += value.widen() * scale;
                    }
                }
                for (out, sum) in place.iter_mut().zip(&sums) {
                    *out = V::nearest(*sum);
                }
            },
        );
    });
    Some(tensor(out, [vocab, width], &device))
}

/// The factor, rounded to the weight's dtype.
fn rounded<V: Value>(scale: Option<f64>) -> f32 {
    scale.map_or(1.0, |scale| V::nearest(scale as f32).widen())
}
