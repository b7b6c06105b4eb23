//! The slice kernels of the 4-bit codes, one version per instruction set, and of 8-bit blocks (`dynamic`).
//!
//! Every version gives the same bits, those of [`QuantType::quantize_reference`](crate::QuantType::quantize_reference)
//! and [`QuantType::dequantize_reference`](crate::QuantType::dequantize_reference). [`best`] picks one when it is first
//! asked.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod dynamic;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub(crate) use blocks::Codes;
pub(crate) use dynamic::{block_kernels, with_vectors};

use crate::codebook::Codebook;

/// One version of the kernels. A static of this type is handed out only on a machine that can run it.
pub(crate) struct Kernels {
    /// The instruction set, for the messages of tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests say which version failed"))]
    pub(crate) name: &'static str,
    /// The elements `start..start + out.len()` of a weight, as f32.
    pub(crate) restore_f32: fn(codes: Codes<'_>, start: usize, out: &mut [f32]),
    /// The same as bits of bfloat16, rounded to nearest, ties to even.
    pub(crate) restore_bf16: fn(codes: Codes<'_>, start: usize, out: &mut [u16]),
    /// Codes and absmax of whole blocks and a last, shorter one.
    pub(crate) quantize:
        fn(book: &Codebook, weights: &[f32], block_size: usize, packed: &mut [u8], absmax: &mut [f32]),
}

/// The fastest version for this machine.
pub(crate) fn best() -> &'static Kernels {
    static BEST: OnceLock<&Kernels> = OnceLock::new();
    BEST.get_or_init(|| vectorised().into_iter().flatten().next().unwrap_or(&portable::KERNELS))
}

/// Every version that this machine can run, the fastest first.
#[cfg(test)]
pub(crate) fn available() -> Vec<&'static Kernels> {
    vectorised().into_iter().flatten().chain([&portable::KERNELS]).collect()
}

#[cfg(target_arch = "x86_64")]
fn vectorised() -> [Option<&'static Kernels>; 2] {
    [avx512::kernels(), avx2::kernels()]
}

#[cfg(not(target_arch = "x86_64"))]
fn vectorised() -> [Option<&'static Kernels>; 0] {
    []
}
