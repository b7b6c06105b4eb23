//! Activations multiplied by a vector, in one pass over memory.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    Value, by_dtype, contiguous, elementwise::rows_per_piece, floats, level::Level, tensor, tensor_in, values,
};

/// `x [n, h]`, `factor [h]` to `[n, h]`.
pub(crate) fn scaled_features(x: &Tensor<2>, factor: &Tensor<1>) -> Option<Tensor<2>> {
    by_dtype!(x.dtype(), scaled_features_of(x, factor))
}

fn scaled_features_of<V: Value>(x: &Tensor<2>, factor: &Tensor<1>) -> Option<Tensor<2>> {
    let (input, factors) = (contiguous::<V, 2>(x)?, floats(factor)?);
    let [rows, width] = x.dims();
    let input = values::<V>(&input);
    let mut out = V::zeros(rows * width);
    let piece = rows_per_piece(width) * width.max(1);
    out.par_chunks_mut(piece).zip(input.par_chunks(piece)).for_each(|(out, input)| {
        Level::current().run(
            #[inline(always)]
            || {
                for (out, row) in out.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
                    for ((out, x), factor) in out.iter_mut().zip(row).zip(&factors) {
                        *out = V::nearest(x.widen() * factor);
                    }
                }
            },
        );
    });
    Some(tensor(out, [rows, width], &x.device()))
}

/// `dx [n, h]` and `dfactor [h]`.
pub(crate) fn scaled_features_backward(
    grad: &Tensor<2>,
    x: &Tensor<2>,
    factor: &Tensor<1>,
) -> Option<(Tensor<2>, Tensor<1>)> {
    by_dtype!(x.dtype(), scaled_features_backward_of(grad, x, factor))
}

fn scaled_features_backward_of<V: Value>(
    grad: &Tensor<2>,
    x: &Tensor<2>,
    factor: &Tensor<1>,
) -> Option<(Tensor<2>, Tensor<1>)> {
    let (grads, input, factors) = (contiguous::<V, 2>(grad)?, contiguous::<V, 2>(x)?, floats(factor)?);
    let [rows, width] = x.dims();
    let (grads, input) = (values::<V>(&grads), values::<V>(&input));
    let mut dx = V::zeros(rows * width);
    let piece = rows_per_piece(width) * width.max(1);
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(piece)
        .zip(grads.par_chunks(piece).zip(input.par_chunks(piece)))
        .map(|(dx, (grads, input))| {
            let mut dfactor = vec![0.0f32; width];
            Level::current().run(
                #[inline(always)]
                || {
                    let rows = grads.chunks_exact(width).zip(input.chunks_exact(width));
                    // Slices of one known length: without checks of bounds the loops are vectorised.
                    let (dfactor, factors) = (&mut dfactor[..width], &factors[..width]);
                    for (dx, (grad, row)) in dx.chunks_exact_mut(width).zip(rows) {
                        let (dx, grad, row) = (&mut dx[..width], &grad[..width], &row[..width]);
                        for i in 0..width {
                            let grad = grad[i].widen();
                            dx[i] = V::nearest(grad * factors[i]);
                            dfactor[i] += grad * row[i].widen();
                        }
                    }
                },
            );
            dfactor
        })
        .collect();
    let mut dfactor = vec![0.0f32; width];
    for part in parts {
        dfactor.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    let dfactor = tensor_in(dfactor, [width], factor.dtype(), &factor.device());
    Some((tensor(dx, [rows, width], &x.device()), dfactor))
}
