use half::bf16;

use super::Kernels;
use super::blocks::{self, Codes, GROUP, GROUP_BYTES};
use crate::codebook::{NF4, NF4_PAIRS, NF4_THRESHOLDS};

/// Plain Rust, for every machine; the loops have no branches, so the compiler vectorises them.
pub(super) static KERNELS: Kernels = Kernels { name: "portable", restore_f32, restore_bf16, quantize };

/// A table lookup and two multiplications per byte.
fn restore_f32(codes: Codes<'_>, start: usize, out: &mut [f32]) {
    let group = |scale: &f32, bytes: &[u8; GROUP_BYTES], out: &mut [f32; GROUP]| {
        for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = NF4_PAIRS[usize::from(*byte)].map(|level| level * scale);
        }
    };
    blocks::restore(codes, start, out, |value| value, |scale| scale, group);
}

/// The 16 products of a block are rounded once, then looked up.
fn restore_bf16(codes: Codes<'_>, start: usize, out: &mut [u16]) {
    let table = |scale: f32| NF4.map(|level| bf16_bits(level * scale));
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

fn quantize(weights: &[f32], block_size: usize, packed: &mut [u8], absmax: &mut [f32]) {
    blocks::quantize(weights, block_size, packed, absmax, largest, code);
}

/// Magnitudes compare like their bits, and NaN and infinity above all numbers.
pub(super) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, x| larger(largest, x.abs()))
}

/// The larger of two magnitudes.
pub(super) fn larger(a: f32, b: f32) -> f32 {
    f32::from_bits(a.to_bits().max(b.to_bits()))
}

/// A code is the number of thresholds below the scaled value.
pub(super) fn code(values: &[f32; GROUP], scale: f32) -> [u8; GROUP_BYTES] {
    let codes = values.map(|value| {
        let relative = value * scale;
        NF4_THRESHOLDS.iter().fold(0, |below, threshold| below + u32::from(relative > *threshold))
    });
    let mut bytes = [0; GROUP_BYTES];
    for (byte, [high, low]) in bytes.iter_mut().zip(codes.as_chunks::<2>().0) {
        *byte = ((high << 4) | low) as u8;
    }
    bytes
}
