//! Dropout without a mask: factors are computed again where they are wanted.

use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::{
    Value, by_dtype, contiguous, elementwise::rows_per_piece, flex, flex_f32, level::Level, tensor, values,
};
use crate::Dropout;

/// `mask ⊙ x [n, features]` in `dtype`; `None` unless both are f32 or bf16 on Flex.
pub(crate) fn dropped(x: &Tensor<2>, dtype: DType, dropout: &Dropout) -> Option<Tensor<2>> {
    match dtype {
        DType::F32 => by_dtype!(x.dtype(), dropped_to_f32(x, dropout)),
        DType::BF16 => by_dtype!(x.dtype(), dropped_to_bf16(x, dropout)),
        _ => None,
    }
}

fn dropped_to_f32<V: Value>(x: &Tensor<2>, dropout: &Dropout) -> Option<Tensor<2>> {
    dropped_to::<V, f32>(x, dropout)
}

fn dropped_to_bf16<V: Value>(x: &Tensor<2>, dropout: &Dropout) -> Option<Tensor<2>> {
    dropped_to::<V, half::bf16>(x, dropout)
}

fn dropped_to<V: Value, W: Value>(x: &Tensor<2>, dropout: &Dropout) -> Option<Tensor<2>> {
    let input = contiguous::<V, 2>(x)?;
    let [rows, width] = x.dims();
    let mut out = W::zeros(rows * width);
    let piece = rows_per_piece(width);
    let pieces =
        out.par_chunks_mut(piece * width.max(1)).zip(values::<V>(&input).par_chunks(piece * width.max(1)));
    pieces.enumerate().for_each(|(index, (out, x))| {
        Level::current().run(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(width.max(1)).zip(x.chunks_exact(width.max(1)));
                for (row, (out, x)) in rows.enumerate() {
                    let row = dropout.row(index * piece + row);
                    for (feature, (out, x)) in out.iter_mut().zip(x).enumerate() {
                        *out = W::nearest(x.widen() * row.factor(feature));
                    }
                }
            },
        );
    });
    Some(tensor(out, [rows, width], &x.device()))
}

/// Whether [`add_dropped`] takes them: `base` in f32 or bf16, `through` in f32, both on Flex.
pub(crate) fn adds(base: &Tensor<2>, through: &Tensor<2>) -> bool {
    flex(base, &[DType::F32, DType::BF16]).is_some() && flex_f32(through).is_some()
}

/// `base + mask ⊙ through`, which takes the place of `base`.
///
/// # Panics
/// Where [`adds`] says no.
pub(crate) fn add_dropped(base: Tensor<2>, through: &Tensor<2>, dropout: &Dropout) -> Tensor<2> {
    let through = contiguous::<f32, 2>(through).expect("an f32 tensor of Flex");
    match base.dtype() {
        DType::BF16 => added::<half::bf16>(base, values(&through), dropout),
        _ => added::<f32>(base, values(&through), dropout),
    }
}

fn added<V: Value>(base: Tensor<2>, through: &[f32], dropout: &Dropout) -> Tensor<2> {
    let ([_, width], device) = (base.dims(), base.device());
    let mut data = base.into_data();
    let out = data.as_mut_slice::<V>().expect("values of the tensor's dtype");
    let piece = rows_per_piece(width);
    let pieces = out.par_chunks_mut(piece * width.max(1)).zip(through.par_chunks(piece * width.max(1)));
    pieces.enumerate().for_each(|(index, (out, through))| {
        Level::current().run(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(width.max(1)).zip(through.chunks_exact(width.max(1)));
                for (row, (out, through)) in rows.enumerate() {
                    let row = dropout.row(index * piece + row);
                    for (feature, (out, through)) in out.iter_mut().zip(through).enumerate() {
                        *out = V::nearest(out.widen() + through * row.factor(feature));
                    }
                }
            },
        );
    });
    Tensor::from_data(data, (&device, V::DTYPE))
}
