use std::arch::x86_64::*;

use super::avx2::{load_bytes, quiet, store_bytes};
use super::blocks::{self, Codes, GROUP, GROUP_BYTES};
use super::{Kernels, portable};
use crate::codebook::Codebook;

static KERNELS: Kernels = Kernels { name: "AVX-512", restore_f32, restore_bf16, quantize };

/// The version for AVX-512 F and BW, if this machine has them: the only way to the functions below.
pub(super) fn kernels() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(&KERNELS)
}

fn restore_f32(codes: Codes<'_>, start: usize, out: &mut [f32]) {
    // SAFETY: `kernels` found AVX-512 F and BW.
    unsafe { restore_f32_avx512(codes, start, out) }
}

fn restore_bf16(codes: Codes<'_>, start: usize, out: &mut [u16]) {
    // SAFETY: `kernels` found AVX-512 F and BW.
    unsafe { restore_bf16_avx512(codes, start, out) }
}

fn quantize(book: &Codebook, weights: &[f32], block_size: usize, packed: &mut [u8], absmax: &mut [f32]) {
    // SAFETY: `kernels` found AVX-512 F and BW.
    unsafe { quantize_avx512(book, weights, block_size, packed, absmax) }
}

/// The 16 products of a block fill a register; a code is a lane of it.
#[target_feature(enable = "avx512f,avx512bw")]
fn restore_f32_avx512(codes: Codes<'_>, start: usize, out: &mut [f32]) {
    let levels = load(&codes.book.levels);
    let table = |scale: f32| _mm512_mul_ps(levels, _mm512_set1_ps(scale));
    let group = |table: &__m512, bytes: &[u8; GROUP_BYTES], out: &mut [f32; GROUP]| {
        let codes = unpack(bytes);
        let (first, second) = (_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
        let (halves, _) = out.as_chunks_mut::<16>();
        store(&mut halves[0], _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(first), *table));
        store(&mut halves[1], _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(second), *table));
    };
    blocks::restore(codes, start, out, |value| value, table, group);
}

/// The 16 products of a block are rounded once and fill half a register; a code is a lane of it.
#[target_feature(enable = "avx512f,avx512bw")]
fn restore_bf16_avx512(codes: Codes<'_>, start: usize, out: &mut [u16]) {
    let levels = load(&codes.book.levels);
    let table = |scale: f32| {
        let bits = round_to_bf16(_mm512_mul_ps(levels, _mm512_set1_ps(quiet(scale))));
        _mm512_castsi256_si512(_mm512_cvtepi32_epi16(bits))
    };
    let group = |table: &__m512i, bytes: &[u8; GROUP_BYTES], out: &mut [u16; GROUP]| {
        let lanes = _mm512_cvtepu8_epi16(unpack(bytes));
        store_words(out, _mm512_permutexvar_epi16(lanes, *table));
    };
    blocks::restore(codes, start, out, portable::bf16_bits, table, group);
}

/// The 32 codes of a group, one per byte.
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack(bytes: &[u8; GROUP_BYTES]) -> __m256i {
    let words = _mm256_cvtepu8_epi16(load_bytes(bytes));
    let codes = _mm256_or_si256(_mm256_srli_epi16::<4>(words), _mm256_slli_epi16::<8>(words));
    _mm256_and_si256(codes, _mm256_set1_epi8(15))
}

/// The upper halves of the bits, rounded to nearest, ties to even; the lower halves of the result are 0..2^16.
#[target_feature(enable = "avx512f,avx512bw")]
fn round_to_bf16(values: __m512) -> __m512i {
    let bits = _mm512_castps_si512(values);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounding = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, rounding))
}

/// A binary search: four comparisons find the number of thresholds below a value, its rank.
#[target_feature(enable = "avx512f,avx512bw")]
fn quantize_avx512(
    book: &Codebook,
    weights: &[f32],
    block_size: usize,
    packed: &mut [u8],
    absmax: &mut [f32],
) {
    // Lane n holds the threshold below rank n; no step asks for lane 0.
    let thresholds: [f32; 16] = std::array::from_fn(|rank| book.thresholds[rank.saturating_sub(1)]);
    let thresholds = load(&thresholds);
    let code_of_rank = _mm512_cvtepu8_epi32(load_bytes(&book.codes));

    let eight_bytes = |values: &[f32; 16], scale: __m512| {
        let value = _mm512_mul_ps(load(values), scale);
        let mut rank = _mm512_setzero_si512();
        for step in [8, 4, 2, 1] {
            let higher = _mm512_or_si512(rank, _mm512_set1_epi32(step));
            let threshold = _mm512_permutexvar_ps(higher, thresholds);
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, threshold);
            rank = _mm512_mask_mov_epi32(rank, above, higher);
        }
        let code = _mm512_permutexvar_epi32(rank, code_of_rank);
        // The first code of a pair is the lower half of 64 bits.
        let pairs = _mm512_or_si512(_mm512_slli_epi64::<4>(code), _mm512_srli_epi64::<32>(code));
        _mm512_cvtepi64_epi8(pairs)
    };
    let group = |values: &[f32; GROUP], scale: f32| {
        let scale = _mm512_set1_ps(scale);
        let (halves, _) = values.as_chunks::<16>();
        store_bytes(_mm_unpacklo_epi64(eight_bytes(&halves[0], scale), eight_bytes(&halves[1], scale)))
    };
    let largest = |values: &[f32]| {
        let (sixteens, last) = values.as_chunks::<16>();
        let magnitude = _mm512_set1_epi32(i32::MAX);
        let lanes = sixteens.iter().fold(_mm512_setzero_si512(), |largest, values| {
            _mm512_max_epi32(largest, _mm512_and_si512(_mm512_castps_si512(load(values)), magnitude))
        });
        let bits = _mm512_reduce_max_epi32(lanes) as u32;
        portable::larger(f32::from_bits(bits), portable::largest(last))
    };
    blocks::quantize(book, weights, block_size, packed, absmax, largest, group);
}

#[target_feature(enable = "avx512f")]
fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: the reference covers the 64 bytes that are read.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
fn store(out: &mut [f32; 16], values: __m512) {
    // SAFETY: the reference covers the 64 bytes that are written.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) }
}

#[target_feature(enable = "avx512f")]
fn store_words(out: &mut [u16; 32], words: __m512i) {
    // SAFETY: the reference covers the 64 bytes that are written.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), words) }
}
