use half::bf16;

use super::Kernels;
use super::blocks::{self, Codes, GROUP, GROUP_BYTES};
use crate::codebook::Codebook;

/// Plain Rust, for every machine; the loops have no branches, so the compiler vectorises them.
pub(super) static KERNELS: Kernels = Kernels { name: "portable", restore_f32, restore_bf16, quantize };

/// A table lookup and two multiplications per byte.
fn restore_f32(codes: Codes<'_>, start: usize, out: &mut [f32]) {
    let pairs = &codes.book.pairs;
    let group = |scale: &f32, bytes: &[u8; GROUP_BYTES], out: &mut [f32; GROUP]| {
        for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = pairs[usize::from(*byte)].map(|level| level * scale);
        }
    };
    blocks::restore(codes, start, out, |value| value, |scale| scale, group);
}

/// The 16 products of a block are rounded once, then looked up.
fn restore_bf16(codes: Codes<'_>, start: usize, out: &mut [u16]) {
    let table = |scale: f32| codes.book.levels.map(|level| bf16_bits(level * scale));
    let group = |table: &[u16; 16], bytes: &[u8; GROUP_BYTES], out: &mut [u16; GROUP]| {
        for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [table[usize::from(byte >> 4)], table[usize::from(byte & 15)]];
        }
    };
    blocks::restore(codes, start, out, bf16_bits, table, group);
}

/// Rounded to nearest, ties to even.
pub(super) fn bf16_bits(value: f32) -> u16 {
    bf16::from_f32(value).to_bits()
}

fn quantize(book: &Codebook, weights: &[f32], block_size: usize, packed: &mut [u8], absmax: &mut [f32]) {
    let group = |values: &[f32; GROUP], scale: f32| code(book, values, scale);
    blocks::quantize(book, weights, block_size, packed, absmax, largest, group);
}

/// Magnitudes compare like their bits, and NaN and infinity above all numbers.
pub(super) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, x| larger(largest, x.abs()))
}

/// The larger of two magnitudes.
pub(super) fn larger(a: f32, b: f32) -> f32 {
    f32::from_bits(a.to_bits().max(b.to_bits()))
}

/// The rank of a value is the number of thresholds below it, relative to the absmax.
pub(super) fn code(book: &Codebook, values: &[f32; GROUP], scale: f32) -> [u8; GROUP_BYTES] {
    let ranks = values.map(|value| {
        let relative = value * scale;
        book.thresholds.iter().fold(0, |below, threshold| below + u32::from(relative > *threshold))
    });
    let code = |rank: u32| book.codes[rank as usize & 15];
    let mut bytes = [0; GROUP_BYTES];
    for (byte, [first, second]) in bytes.iter_mut().zip(ranks.as_chunks::<2>().0) {
        *byte = (code(*first) << 4) | code(*second);
    }
    bytes
}
