//! RMSNorm, rotary positions and gated activations, each in one pass over memory.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{HeadRows, flex_f32, level::Level, tensor, values, vector};
use crate::{Activation, NormWeight};

/// Values of one piece of work.
const PIECE: usize = 1 << 14;

/// Rows of `width` values in one piece.
pub(super) fn rows_per_piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// The factors of a normalisation: the weight, or one more than it.
fn factors(weight: &[f32], form: NormWeight) -> Vec<f32> {
    match form {
        NormWeight::Plain => weight.to_vec(),
        NormWeight::OnePlus => weight.iter().map(|w| 1.0 + w).collect(),
    }
}

#[inline(always)]
fn inverse_rms(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (vector::sum_of(row, row, |a, b| a * b) / row.len() as f32 + epsilon).sqrt()
}

/// `x [n, h]`, `weight [h]` to `[n, h]`.
pub(crate) fn rms_norm(
    x: &Tensor<2>,
    weight: &Tensor<1>,
    epsilon: f64,
    form: NormWeight,
) -> Option<Tensor<2>> {
    let (input, weight) = (flex_f32(x)?.to_contiguous(), flex_f32(weight)?.to_contiguous());
    let [rows, width] = x.dims();
    let (input, factors) = (values(&input), factors(values(&weight), form));
    let mut out = vec![0.0f32; rows * width];
    let piece = rows_per_piece(width) * width.max(1);
    out.par_chunks_mut(piece).zip(input.par_chunks(piece)).for_each(|(out, input)| {
        Level::current().run(
            #[inline(always)]
            || {
                for (out, row) in out.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
                    let inverse = inverse_rms(row, epsilon as f32);
                    for ((out, x), factor) in out.iter_mut().zip(row).zip(&factors) {
                        *out = x * inverse * factor;
                    }
                }
            },
        );
    });
    Some(tensor(out, [rows, width], &x.device()))
}

/// `dx [n, h]` and `dweight [h]`.
pub(crate) fn rms_norm_backward(
    grad: &Tensor<2>,
    x: &Tensor<2>,
    weight: &Tensor<1>,
    epsilon: f64,
    form: NormWeight,
) -> Option<(Tensor<2>, Tensor<1>)> {
    let (grads, input) = (flex_f32(grad)?.to_contiguous(), flex_f32(x)?.to_contiguous());
    let weights = flex_f32(weight)?.to_contiguous();
    let [rows, width] = x.dims();
    let (grads, input, factors) = (values(&grads), values(&input), factors(values(&weights), form));
    let mut dx = vec![0.0f32; rows * width];
    let piece = rows_per_piece(width) * width.max(1);
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(piece)
        .zip(grads.par_chunks(piece).zip(input.par_chunks(piece)))
        .map(|(dx, (grads, input))| {
            let (mut dweight, mut scaled) = (vec![0.0f32; width], vec![0.0f32; width]);
            Level::current().run(
                #[inline(always)]
                || {
                    let rows = grads.chunks_exact(width).zip(input.chunks_exact(width));
                    for (dx, (grad, row)) in dx.chunks_exact_mut(width).zip(rows) {
                        let inverse = inverse_rms(row, epsilon as f32);
                        for i in 0..width {
                            scaled[i] = grad[i] * factors[i];
                            dweight[i] += grad[i] * row[i] * inverse;
                        }
                        let mean = vector::sum_of(&scaled, row, |a, b| a * b) / width as f32;
                        let pull = mean * inverse * inverse * inverse;
                        for i in 0..width {
                            dx[i] = scaled[i] * inverse - row[i] * pull;
                        }
                    }
                },
            );
            dweight
        })
        .collect();
    let mut dweight = vec![0.0f32; width];
    for part in parts {
        dweight.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    Some((tensor(dx, [rows, width], &x.device()), tensor(dweight, [width], &weight.device())))
}

/// Rotates `x [batch, heads, t, d]` by `cos` and `sin` `[batch, 1, t, d]`, or back by the transposed rotation. The
/// result is a view of `[batch, t, heads, d]`.
pub(crate) fn rope(x: &Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>, transposed: bool) -> Option<Tensor<4>> {
    let [batch, heads, length, dim] = x.dims();
    let (rows, half) = (HeadRows::new(flex_f32(x)?), dim / 2);
    let (cos, sin) = (flex_f32(cos)?.to_contiguous(), flex_f32(sin)?.to_contiguous());
    let (cos, sin) = (values(&cos), values(&sin));
    let mut out = vec![0.0f32; batch * length * heads * dim];
    let token = heads * dim;
    let piece = rows_per_piece(token);
    out.par_chunks_mut(piece * token.max(1)).enumerate().for_each(|(number, out)| {
        Level::current().run(
            #[inline(always)]
            || {
                for (index, out) in out.chunks_exact_mut(token).enumerate() {
                    let place = number * piece + index;
                    let (cos, sin) = (&cos[place * dim..][..dim], &sin[place * dim..][..dim]);
                    for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                        let row = &rows.all()[rows.at(place / length, head, place % length)..][..dim];
                        let (x, y) = row.split_at(half);
                        let (out_x, out_y) = out.split_at_mut(half);
                        for i in 0..half {
                            let (s_x, s_y) =
                                if transposed { (-sin[half + i], -sin[i]) } else { (sin[i], sin[half + i]) };
                            out_x[i] = x[i] * cos[i] - y[i] * s_x;
                            out_y[i] = y[i] * cos[half + i] + x[i] * s_y;
                        }
                    }
                }
            },
        );
    });
    Some(tensor(out, [batch, length, heads, dim], &x.device()).swap_dims(1, 2))
}

/// The activation and its derivative at `x`.
#[inline(always)]
fn activation(x: f32, act: Activation) -> (f32, f32) {
    match act {
        Activation::Silu => {
            let sigmoid = 1.0 / (1.0 + vector::exp(-x));
            (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
        }
        Activation::GeluTanh => {
            // √(2/π) and the cubic's factor (arXiv:1606.08415, §2).
            const ROOT: f32 = 0.797_884_6;
            const CUBE: f32 = 0.044_715;
            let tanh = 1.0 - 2.0 / (vector::exp(2.0 * ROOT * (x + CUBE * x * x * x)) + 1.0);
            let slope = ROOT * (1.0 + 3.0 * CUBE * x * x) * (1.0 - tanh * tanh);
            (0.5 * x * (1.0 + tanh), 0.5 * (1.0 + tanh) + 0.5 * x * slope)
        }
    }
}

/// `act(gate)·up`, all of one length.
pub(crate) fn gated_activation(gate: &Tensor<1>, up: &Tensor<1>, act: Activation) -> Option<Tensor<1>> {
    let (gates, ups) = (flex_f32(gate)?.to_contiguous(), flex_f32(up)?.to_contiguous());
    let (gates, ups) = (values(&gates), values(&ups));
    let mut out = vec![0.0f32; gates.len()];
    let inputs = gates.par_chunks(PIECE).zip(ups.par_chunks(PIECE));
    out.par_chunks_mut(PIECE).zip(inputs).for_each(|(out, (gates, ups))| {
        Level::current().run(
            #[inline(always)]
            || {
                for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
                    *out = activation(*gate, act).0 * up;
                }
            },
        );
    });
    Some(tensor(out, gate.dims(), &gate.device()))
}

/// `dgate` and `dup`.
pub(crate) fn gated_activation_backward(
    grad: &Tensor<1>,
    gate: &Tensor<1>,
    up: &Tensor<1>,
    act: Activation,
) -> Option<(Tensor<1>, Tensor<1>)> {
    let [grads, gates, ups] = [grad, gate, up].map(|x| flex_f32(x).map(|x| x.to_contiguous()));
    let (grads, gates, ups) = (grads?, gates?, ups?);
    let (grads, gates, ups) = (values(&grads), values(&gates), values(&ups));
    let [mut dgate, mut dup] = [(); 2].map(|()| vec![0.0f32; gates.len()]);
    let outputs = dgate.par_chunks_mut(PIECE).zip(dup.par_chunks_mut(PIECE));
    let inputs = grads.par_chunks(PIECE).zip(gates.par_chunks(PIECE)).zip(ups.par_chunks(PIECE));
    outputs.zip(inputs).for_each(|((dgate, dup), ((grads, gates), ups))| {
        Level::current().run(
            #[inline(always)]
            || {
                for i in 0..grads.len() {
                    let (value, slope) = activation(gates[i], act);
                    dup[i] = grads[i] * value;
                    dgate[i] = grads[i] * ups[i] * slope;
                }
            },
        );
    });
    Some((tensor(dgate, gate.dims(), &gate.device()), tensor(dup, up.dims(), &up.device())))
}
