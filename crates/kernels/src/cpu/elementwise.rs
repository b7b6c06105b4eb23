//! RMSNorm, rotary positions and gated activations, each in one pass over memory.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{HeadRows, Value, by_dtype, contiguous, floats, level::Level, tensor, tensor_in, values, vector};
use crate::{Activation, NormWeight};

/// Values of one piece of work.
const PIECE: usize = 1 << 14;

/// Rows of `width` values in one piece.
pub(super) fn rows_per_piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// The factors of a normalisation: the weight, or one more than it.
fn factors(weight: Vec<f32>, form: NormWeight) -> Vec<f32> {
    match form {
        NormWeight::Plain => weight,
        NormWeight::OnePlus => weight.iter().map(|w| 1.0 + w).collect(),
    }
}

#[inline(always)]
fn inverse_rms<V: Value>(row: &[V], epsilon: f32) -> f32 {
    let squares = vector::sum_of(row, row, |a: V, b: V| a.widen() * b.widen());
    1.0 / (squares / row.len() as f32 + epsilon).sqrt()
}

/// `x [n, h]`, `weight [h]` to `[n, h]`.
pub(crate) fn rms_norm(
    x: &Tensor<2>,
    weight: &Tensor<1>,
    epsilon: f64,
    form: NormWeight,
) -> Option<Tensor<2>> {
    by_dtype!(x.dtype(), rms_norm_of(x, weight, epsilon as f32, form))
}

fn rms_norm_of<V: Value>(
    x: &Tensor<2>,
    weight: &Tensor<1>,
    epsilon: f32,
    form: NormWeight,
) -> Option<Tensor<2>> {
    let (input, factors) = (contiguous::<V, 2>(x)?, factors(floats(weight)?, form));
    let [rows, width] = x.dims();
    let input = values::<V>(&input);
    let mut out = V::zeros(rows * width);
    let piece = rows_per_piece(width) * width.max(1);
    out.par_chunks_mut(piece).zip(input.par_chunks(piece)).for_each(|(out, input)| {
        Level::current().run(
            #[inline(always)]
            || {
                for (out, row) in out.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
                    let inverse = inverse_rms(row, epsilon);
                    for ((out, x), factor) in out.iter_mut().zip(row).zip(&factors) {
                        let normed = x.widen() * inverse;
                        *out = match form {
                            NormWeight::Plain => V::nearest(V::nearest(normed).widen() * factor),
                            NormWeight::OnePlus => V::nearest(normed * factor),
                        };
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
    by_dtype!(x.dtype(), rms_norm_backward_of(grad, x, weight, epsilon as f32, form))
}

fn rms_norm_backward_of<V: Value>(
    grad: &Tensor<2>,
    x: &Tensor<2>,
    weight: &Tensor<1>,
    epsilon: f32,
    form: NormWeight,
) -> Option<(Tensor<2>, Tensor<1>)> {
    let (grads, input) = (contiguous::<V, 2>(grad)?, contiguous::<V, 2>(x)?);
    let [rows, width] = x.dims();
    let (grads, input, factors) = (values::<V>(&grads), values::<V>(&input), factors(floats(weight)?, form));
    let mut dx = V::zeros(rows * width);
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
                    // Slices of one known length: without checks of bounds the loops are vectorised.
                    let (dweight, scaled) = (&mut dweight[..width], &mut scaled[..width]);
                    let factors = &factors[..width];
                    for (dx, (grad, row)) in dx.chunks_exact_mut(width).zip(rows) {
                        let (dx, grad, row) = (&mut dx[..width], &grad[..width], &row[..width]);
                        let inverse = inverse_rms(row, epsilon);
                        for i in 0..width {
                            let grad = grad[i].widen();
                            scaled[i] = grad * factors[i];
                            dweight[i] += grad * row[i].widen() * inverse;
                        }
                        let mean = vector::sum_of(scaled, row, |a, b: V| a * b.widen()) / width as f32;
                        let pull = mean * inverse * inverse * inverse;
                        for i in 0..width {
                            dx[i] = V::nearest(scaled[i] * inverse - row[i].widen() * pull);
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
    let dweight = tensor_in(dweight, [width], weight.dtype(), &weight.device());
    Some((tensor(dx, [rows, width], &x.device()), dweight))
}

/// Rotates `x [batch, heads, t, d]` by `cos` and `sin` `[batch, 1, t, d]`, or back by the transposed rotation. The
/// result is a view of `[batch, t, heads, d]`.
pub(crate) fn rope(x: &Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>, transposed: bool) -> Option<Tensor<4>> {
    by_dtype!(x.dtype(), rope_of(x, cos, sin, transposed))
}

fn rope_of<V: Value>(x: &Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>, transposed: bool) -> Option<Tensor<4>> {
    let [batch, heads, length, dim] = x.dims();
    let (rows, half) = (HeadRows::<V>::new(x)?, dim / 2);
    let (cos, sin) = (contiguous::<V, 4>(cos)?, contiguous::<V, 4>(sin)?);
    let (cos, sin) = (values::<V>(&cos), values::<V>(&sin));
    let mut out = V::zeros(batch * length * heads * dim);
    let token = heads * dim;
    let piece = rows_per_piece(token);
    out.par_chunks_mut(piece * token.max(1)).enumerate().for_each(|(number, out)| {
        Level::current().run(
            #[inline(always)]
            || {
                for (index, out) in out.chunks_exact_mut(token).enumerate() {
                    let place = number * piece + index;
                    let (cos_x, cos_y) = cos[place * dim..][..dim].split_at(half);
                    let (sin_x, sin_y) = sin[place * dim..][..dim].split_at(half);
                    // Transposed, the two sines change their places and signs.
                    let (sin_x, sin_y, sign) =
                        if transposed { (sin_y, sin_x, -1.0) } else { (sin_x, sin_y, 1.0) };
                    // Slices of one known length: without checks of bounds the loop is vectorised.
                    let (cos_x, cos_y, sin_x, sin_y) =
                        (&cos_x[..half], &cos_y[..half], &sin_x[..half], &sin_y[..half]);
                    for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                        let (x, y) = rows.row(place / length, head, place % length, dim).split_at(half);
                        let (out_x, out_y) = out.split_at_mut(half);
                        let (x, y, out_x, out_y) =
                            (&x[..half], &y[..half], &mut out_x[..half], &mut out_y[..half]);
                        for i in 0..half {
                            let (x, y) = (x[i].widen(), y[i].widen());
                            out_x[i] = V::nearest(x * cos_x[i].widen() - y * (sign * sin_x[i].widen()));
                            out_y[i] = V::nearest(y * cos_y[i].widen() + x * (sign * sin_y[i].widen()));
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
            let tanh = vector::tanh(ROOT * (x + CUBE * x * x * x));
            let slope = ROOT * (1.0 + 3.0 * CUBE * x * x) * (1.0 - tanh * tanh);
            (0.5 * x * (1.0 + tanh), 0.5 * (1.0 + tanh) + 0.5 * x * slope)
        }
    }
}

/// `act(gate)·up`, all of one length.
pub(crate) fn gated_activation(gate: &Tensor<1>, up: &Tensor<1>, act: Activation) -> Option<Tensor<1>> {
    by_dtype!(gate.dtype(), gated_activation_of(gate, up, act))
}

fn gated_activation_of<V: Value>(gate: &Tensor<1>, up: &Tensor<1>, act: Activation) -> Option<Tensor<1>> {
    let (gates, ups) = (contiguous::<V, 1>(gate)?, contiguous::<V, 1>(up)?);
    let (gates, ups) = (values::<V>(&gates), values::<V>(&ups));
    let mut out = V::zeros(gates.len());
    let inputs = gates.par_chunks(PIECE).zip(ups.par_chunks(PIECE));
    out.par_chunks_mut(PIECE).zip(inputs).for_each(|(out, (gates, ups))| {
        Level::current().run(
            #[inline(always)]
            || {
                for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
                    let value = V::nearest(activation(gate.widen(), act).0);
                    *out = V::nearest(value.widen() * up.widen());
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
    by_dtype!(gate.dtype(), gated_activation_backward_of(grad, gate, up, act))
}

fn gated_activation_backward_of<V: Value>(
    grad: &Tensor<1>,
    gate: &Tensor<1>,
    up: &Tensor<1>,
    act: Activation,
) -> Option<(Tensor<1>, Tensor<1>)> {
    let [grads, gates, ups] = [grad, gate, up].map(contiguous::<V, 1>);
    let (grads, gates, ups) = (grads?, gates?, ups?);
    let (grads, gates, ups) = (values::<V>(&grads), values::<V>(&gates), values::<V>(&ups));
    let [mut dgate, mut dup] = [(); 2].map(|()| V::zeros(gates.len()));
    let outputs = dgate.par_chunks_mut(PIECE).zip(dup.par_chunks_mut(PIECE));
    let inputs = grads.par_chunks(PIECE).zip(gates.par_chunks(PIECE)).zip(ups.par_chunks(PIECE));
    outputs.zip(inputs).for_each(|((dgate, dup), ((grads, gates), ups))| {
        Level::current().run(
            #[inline(always)]
            || {
                // Slices of one known length: without checks of bounds the loop is vectorised.
                let count = grads.len();
                let (gates, ups) = (&gates[..count], &ups[..count]);
                let (dgate, dup) = (&mut dgate[..count], &mut dup[..count]);
                for i in 0..count {
                    let (value, slope) = activation(gates[i].widen(), act);
                    let grad = grads[i].widen();
                    dup[i] = V::nearest(grad * value);
                    dgate[i] = V::nearest(grad * ups[i].widen() * slope);
                }
            },
        );
    });
    Some((tensor(dgate, gate.dims(), &gate.device()), tensor(dup, up.dims(), &up.device())))
}
