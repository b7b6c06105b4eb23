//! Dropout without a mask: factors are computed again where they are wanted.

use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::{
    DTYPES, Value, by_dtype, contiguous, elementwise::rows_per_piece, flex, flex_f32, level::Level, tensor,
    values,
};
use crate::Dropout;

/// `mask ⊙ x [n, features]` in `dtype`; `None` unless both are f32, bf16 or f16 on Flex.
pub(crate) fn dropped(x: &Tensor<2>, dtype: DType, dropout: &Dropout) -> Option<Tensor<2>> {
    match dtype {
        DType::F32 => by_dtype!(x.dtype(), dropped_to_f32(x, dropout)),
        DType::BF16 => by_dtype!(x.dtype(), dropped_to_bf16(x, dropout)),
        DType::F16 => by_dtype!(x.dtype(), dropped_to_f16(x, dropout)),
        _ => None,
    }
}

fn dropped_to_f32<V: Value>(x: &Tensor<2>, dropout: &Dropout) -> Option<Tensor<2>> {
    dropped_to::<V, f32>(x, dropout)
}

fn dropped_to_bf16<V: Value>(x: &Tensor<2>, dropout: &Dropout) -> Option<Tensor<2>> {
    dropped_to::<V, half::bf16>(x, dropout)
}

fn dropped_to_f16<V: Value>(x: &Tensor<2>, dropout: &Dropout) -> Option<Tensor<2>> {
    dropped_to::<V, half::f16>(x, dropout)
}

fn dropped_to<V: Value, W: Value>(x: &Tensor<2>, dropout: &Dropout) -> Option<Tensor<2>> {
    let input = contiguous::<V, 2>(x)?;
    let [rows, width] = x.dims();
    let mut out = W::zeros(rows * width);
    over_rows(
        &mut out,
        values::<V>(&input),
        width,
        dropout,
        #[inline(always)]
        |_, x, factor| W::nearest(x.widen() * factor),
    );
    Some(tensor(out, [rows, width], &x.device()))
}

/// Whether [`add_dropped`] takes them: `base` in f32, bf16 or f16, `through` in f32, both on Flex.
pub(crate) fn adds(base: &Tensor<2>, through: &Tensor<2>) -> bool {
    flex(base, &DTYPES).is_some() && flex_f32(through).is_some()
}

/// `base + mask ⊙ through`, which takes the place of `base`.
///
/// # Panics
/// Where [`adds`] says no.
pub(crate) fn add_dropped(base: Tensor<2>, through: &Tensor<2>, dropout: &Dropout) -> Tensor<2> {
    let through = contiguous::<f32, 2>(through).expect("an f32 tensor of Flex");
    match base.dtype() {
        DType::BF16 => added::<half::bf16>(base, values(&through), dropout),
        DType::F16 => added::<half::f16>(base, values(&through), dropout),
        _ => added::<f32>(base, values(&through), dropout),
    }
}

fn added<V: Value>(base: Tensor<2>, through: &[f32], dropout: &Dropout) -> Tensor<2> {
    let ([_, width], device) = (base.dims(), base.device());
    let mut data = base.into_data();
    let out = data.as_mut_slice::<V>().expect("values of the tensor's dtype");
    over_rows(
        out,
        through,
        width,
        dropout,
        #[inline(always)]
        |before, through, factor| V::nearest(before.widen() + through * factor),
    );
    Tensor::from_data(data, (&device, V::DTYPE))
}

/// Writes `f(out, x, factor)` over each value of `out [n, width]`, with that of `x` and its factor.
fn over_rows<V: Value, W: Value>(
    out: &mut [W],
    x: &[V],
    width: usize,
    dropout: &Dropout,
    f: impl Fn(W, V, f32) -> W + Sync,
) {
    let (width, rows) = (width.max(1), rows_per_piece(width));
    let pieces = out.par_chunks_mut(rows * width).zip(x.par_chunks(rows * width));
    pieces.enumerate().for_each(|(index, (out, x))| {
        Level::current().run(
            #[inline(always)]
            || {
                for (row, (out, x)) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
                    let factors = dropout.row(index * rows + row);
                    for (feature, (out, x)) in out.iter_mut().zip(x).enumerate() {
                        *out = f(*out, *x, factors.factor(feature));
                    }
                }
            },
        );
    });
}
