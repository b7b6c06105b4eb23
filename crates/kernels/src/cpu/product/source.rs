//! Matrices as they are stored, and their values as f32 or bf16.

use burnisher_quant::QuantType;
use half::{bf16, f16, slice::HalfFloatSliceExt};

use crate::cpu::level::Level;

/// The values of a matrix.
#[derive(Clone, Copy)]
pub(crate) enum Stored<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    /// Multiplied as f32.
    F16(&'a [f16]),
    FourBit(FourBit<'a>),
    Int8(Int8<'a>),
}

/// 4-bit codes and one f32 scale per block of the flattened matrix ([`burnisher_quant::QuantState`]).
#[derive(Clone, Copy)]
pub(crate) struct FourBit<'a> {
    pub(crate) quant_type: QuantType,
    pub(crate) packed: &'a [u8],
    pub(crate) absmax: &'a [f32],
    pub(crate) block_size: usize,
}

/// LLM.int8 codes and one f32 scale per row ([`burnisher_quant::Int8Weight`]).
#[derive(Clone, Copy)]
pub(crate) struct Int8<'a> {
    pub(crate) codes: &'a [i8],
    pub(crate) absmax: &'a [f32],
}

/// A matrix `[rows, columns]`, row-major; rows are `stride` values apart.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) stored: Stored<'a>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix without gaps.
    pub(crate) fn new(stored: Stored<'a>, [rows, columns]: [usize; 2]) -> Self {
        Self { stored, rows, columns, stride: columns }
    }

    /// Whether the values are bf16, so that they lose nothing as such.
    pub(super) fn is_bf16(&self) -> bool {
        matches!(self.stored, Stored::Bf16(_))
    }

    /// Whether the values may be multiplied as bf16: they are, or they are codes.
    pub(super) fn fits_bf16(&self) -> bool {
        matches!(self.stored, Stored::Bf16(_) | Stored::FourBit(_) | Stored::Int8(_))
    }

    /// Values `start..start + count` of a row, if they are stored as f32.
    pub(super) fn as_f32(&self, row: usize, start: usize, count: usize) -> Option<&'a [f32]> {
        match self.stored {
            Stored::F32(values) => Some(&values[row * self.stride + start..][..count]),
            _ => None,
        }
    }

    /// Values of a row from `start` on, as f32.
    pub(super) fn read_f32(&self, level: Level, row: usize, start: usize, out: &mut [f32]) {
        let first = row * self.stride + start;
        match self.stored {
            Stored::F32(values) => out.copy_from_slice(&values[first..][..out.len()]),
            Stored::Bf16(values) => widen(level, &values[first..][..out.len()], out),
            Stored::F16(values) => values[first..][..out.len()].convert_to_f32_slice(out),
            Stored::FourBit(FourBit { quant_type, packed, absmax, block_size }) => {
                quant_type.dequantize_range(packed, absmax, block_size, first, out);
            }
            Stored::Int8(Int8 { codes, absmax }) => {
                restore(level, &codes[first..][..out.len()], absmax[row], out);
            }
        }
    }

    /// Values of a row from `start` on, rounded to bf16; `scratch` is as long as `out`.
    pub(super) fn read_bf16(
        &self,
        level: Level,
        row: usize,
        start: usize,
        scratch: &mut [f32],
        out: &mut [bf16],
    ) {
        let first = row * self.stride + start;
        match self.stored {
            Stored::Bf16(values) => out.copy_from_slice(&values[first..][..out.len()]),
            Stored::FourBit(FourBit { quant_type, packed, absmax, block_size }) => {
                let out = bytemuck::cast_slice_mut(out);
                quant_type.dequantize_range_bf16(packed, absmax, block_size, first, out);
            }
            Stored::F32(_) | Stored::F16(_) | Stored::Int8(_) => {
                self.read_f32(level, row, start, scratch);
                round(level, scratch, 1.0, out);
            }
        }
    }
}

/// `code · absmax / 127`, rounded as [`burnisher_quant::Int8Weight::dequantize`] does.
fn restore(level: Level, codes: &[i8], absmax: f32, out: &mut [f32]) {
    level.run(
        #[inline(always)]
        || {
            for (out, code) in out.iter_mut().zip(codes) {
                *out = f32::from(*code) * absmax * (1.0 / 127.0);
            }
        },
    );
}

/// bf16 to f32, exactly.
pub(crate) fn widen(level: Level, values: &[bf16], out: &mut [f32]) {
    level.run(
        #[inline(always)]
        || {
            for (out, value) in out.iter_mut().zip(values) {
                *out = f32::from_bits(u32::from(value.to_bits()) << 16);
            }
        },
    );
}

/// `alpha · values` to the nearest bf16, ties to even; NaN stays NaN.
pub(crate) fn round(level: Level, values: &[f32], alpha: f32, out: &mut [bf16]) {
    level.run(
        #[inline(always)]
        || {
            for (out, value) in out.iter_mut().zip(values) {
                *out = nearest_bf16(value * alpha);
            }
        },
    );
}

/// The nearest bf16, without a branch.
#[inline(always)]
pub(crate) fn nearest_bf16(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
    // A NaN's payload could round to infinity: set its quiet bit instead.
    let nan = (bits >> 16) | 0x40;
    bf16::from_bits(if value.is_nan() { nan } else { rounded } as u16)
}
