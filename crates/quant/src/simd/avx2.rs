use std::arch::x86_64::*;

use super::blocks::{self, Codes, GROUP, GROUP_BYTES};
use super::{Kernels, portable};
use crate::codebook::Codebook;

static KERNELS: Kernels = Kernels { name: "AVX2", restore_f32, restore_bf16, quantize };

/// The version for AVX2, if this machine has it: the only way to the functions below.
pub(super) fn kernels() -> Option<&'static Kernels> {
    is_x86_feature_detected!("avx2").then_some(&KERNELS)
}

fn restore_f32(codes: Codes<'_>, start: usize, out: &mut [f32]) {
    // SAFETY: `kernels` found AVX2.
    unsafe { restore_f32_avx2(codes, start, out) }
}

fn restore_bf16(codes: Codes<'_>, start: usize, out: &mut [u16]) {
    // SAFETY: `kernels` found AVX2.
    unsafe { restore_bf16_avx2(codes, start, out) }
}

fn quantize(book: &Codebook, weights: &[f32], block_size: usize, packed: &mut [u8], absmax: &mut [f32]) {
    // SAFETY: `kernels` found AVX2.
    unsafe { quantize_avx2(book, weights, block_size, packed, absmax) }
}

/// The 16 products of a block lie in two registers; the upper bit of a code chooses the register, the others the lane.
#[target_feature(enable = "avx2")]
fn restore_f32_avx2(codes: Codes<'_>, start: usize, out: &mut [f32]) {
    let (levels, _) = codes.book.levels.as_chunks::<8>();
    let levels = [load(&levels[0]), load(&levels[1])];
    // Of the four bytes of a word: what shifts each nibble to bit 0, and its upper bit to bit 31.
    let to_index = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    let to_sign = _mm256_setr_epi32(24, 28, 16, 20, 8, 12, 0, 4);
    let table = |scale: f32| {
        let scale = _mm256_set1_ps(scale);
        [_mm256_mul_ps(levels[0], scale), _mm256_mul_ps(levels[1], scale)]
    };
    let group = |table: &[__m256; 2], bytes: &[u8; GROUP_BYTES], out: &mut [f32; GROUP]| {
        for (out, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<4>().0) {
            let word = _mm256_set1_epi32(i32::from_le_bytes(*word));
            let index = _mm256_srlv_epi32(word, to_index);
            let upper = _mm256_castsi256_ps(_mm256_sllv_epi32(word, to_sign));
            let low = _mm256_permutevar8x32_ps(table[0], index);
            let high = _mm256_permutevar8x32_ps(table[1], index);
            store(out, _mm256_blendv_ps(low, high, upper));
        }
    };
    blocks::restore(codes, start, out, |value| value, table, group);
}

/// The 16 products of a block are rounded once; a code then looks up their low and their high bytes.
#[target_feature(enable = "avx2")]
fn restore_bf16_avx2(codes: Codes<'_>, start: usize, out: &mut [u16]) {
    let (levels, _) = codes.book.levels.as_chunks::<8>();
    let levels = [load(&levels[0]), load(&levels[1])];
    // Packing works within halves of a register: levels 0..4 and 8..12, 4..8 and 12..16 come out of it in order.
    let levels = [
        _mm256_permute2f128_ps::<0x20>(levels[0], levels[1]),
        _mm256_permute2f128_ps::<0x31>(levels[0], levels[1]),
    ];
    // Bytes twice each, so that unpacking within halves gives 0..16 and 16..32.
    let twice: [i8; 32] = std::array::from_fn(|i| [0, 8, 4, 12][i / 8] + (i % 8 / 2) as i8);
    let twice = load_indices(&twice);
    let table = |scale: f32| {
        let scale = _mm256_set1_ps(quiet(scale));
        let first = round_to_bf16(_mm256_mul_ps(levels[0], scale));
        let second = round_to_bf16(_mm256_mul_ps(levels[1], scale));
        let words = _mm256_packus_epi32(first, second);
        let low = _mm256_and_si256(words, _mm256_set1_epi16(0xff));
        let bytes = _mm256_packus_epi16(low, _mm256_srli_epi16::<8>(words));
        [_mm256_permute4x64_epi64::<0b10_00_10_00>(bytes), _mm256_permute4x64_epi64::<0b11_01_11_01>(bytes)]
    };
    let group = |table: &[__m256i; 2], bytes: &[u8; GROUP_BYTES], out: &mut [u16; GROUP]| {
        let bytes = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_bytes(bytes)), twice);
        let first = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi16(0x000f));
        let second = _mm256_and_si256(bytes, _mm256_set1_epi16(0x0f00));
        let codes = _mm256_or_si256(first, second);
        let (low, high) = (_mm256_shuffle_epi8(table[0], codes), _mm256_shuffle_epi8(table[1], codes));
        let (halves, _) = out.as_chunks_mut::<16>();
        store_words(&mut halves[0], _mm256_unpacklo_epi8(low, high));
        store_words(&mut halves[1], _mm256_unpackhi_epi8(low, high));
    };
    blocks::restore(codes, start, out, portable::bf16_bits, table, group);
}

/// A NaN with no payload that rounding could carry out of; every other value as it is.
pub(super) fn quiet(scale: f32) -> f32 {
    if scale.is_nan() { f32::NAN } else { scale }
}

/// The upper halves of the bits, rounded to nearest, ties to even; the lower halves of the result are 0..2^16.
#[target_feature(enable = "avx2")]
fn round_to_bf16(values: __m256) -> __m256i {
    let bits = _mm256_castps_si256(values);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounding = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, rounding))
}

/// A binary search: four comparisons find the number of thresholds below a value, its rank.
#[target_feature(enable = "avx2")]
fn quantize_avx2(book: &Codebook, weights: &[f32], block_size: usize, packed: &mut [u8], absmax: &mut [f32]) {
    // Masks are -1 and add up to minus the rank so far; its low three bits are the lane of the next threshold.
    let t = book.thresholds;
    let (t3, t7, t11) = (_mm256_set1_ps(t[3]), _mm256_set1_ps(t[7]), _mm256_set1_ps(t[11]));
    let third = load(&[t[1], 0.0, 0.0, 0.0, 0.0, t[13], t[9], t[5]]);
    let fourth = load(&[t[0], t[14], t[12], t[10], t[8], t[6], t[4], t[2]]);
    let code_of_rank = _mm256_broadcastsi128_si256(load_bytes(&book.codes));

    let minus_ranks = |values: &[f32; 8], scale: __m256| {
        let value = _mm256_mul_ps(load(values), scale);
        let above = |threshold| _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(value, threshold));
        let twice_plus = |rank, bit| _mm256_add_epi32(_mm256_add_epi32(rank, rank), bit);
        let rank = above(t7);
        let rank = twice_plus(rank, above(_mm256_blendv_ps(t3, t11, _mm256_castsi256_ps(rank))));
        let rank = twice_plus(rank, above(_mm256_permutevar8x32_ps(third, rank)));
        twice_plus(rank, above(_mm256_permutevar8x32_ps(fourth, rank)))
    };
    let group = |values: &[f32; GROUP], scale: f32| {
        let scale = _mm256_set1_ps(scale);
        let mut parts = [_mm256_setzero_si256(); GROUP / 8];
        for (part, values) in parts.iter_mut().zip(values.as_chunks::<8>().0) {
            *part = minus_ranks(values, scale);
        }
        let [a, b, c, d] = parts;
        // Per half of the register: four ranks of each of a, b, c and d.
        let ranks = _mm256_abs_epi8(_mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)));
        let codes = _mm256_shuffle_epi8(code_of_rank, ranks);
        let pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x0110));
        let bytes = _mm256_packus_epi16(pairs, pairs);
        let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        store_bytes(_mm_unpacklo_epi16(low, high))
    };
    let largest = |values: &[f32]| {
        let (eights, last) = values.as_chunks::<8>();
        let magnitude = _mm256_set1_epi32(i32::MAX);
        let lanes = eights.iter().fold(_mm256_setzero_si256(), |largest, values| {
            _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(load(values)), magnitude))
        });
        let four = _mm_max_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
        let two = _mm_max_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        let one = _mm_max_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
        portable::larger(f32::from_bits(_mm_cvtsi128_si32(one) as u32), portable::largest(last))
    };
    blocks::quantize(book, weights, block_size, packed, absmax, largest, group);
}

#[target_feature(enable = "avx2")]
fn load(values: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers the 32 bytes that are read.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx2")]
fn store(out: &mut [f32; 8], values: __m256) {
    // SAFETY: the reference covers the 32 bytes that are written.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) }
}

#[target_feature(enable = "avx2")]
fn store_words(out: &mut [u16; 16], words: __m256i) {
    // SAFETY: the reference covers the 32 bytes that are written.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), words) }
}

#[target_feature(enable = "avx2")]
fn load_indices(indices: &[i8; 32]) -> __m256i {
    // SAFETY: the reference covers the 32 bytes that are read.
    unsafe { _mm256_loadu_si256(indices.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
pub(super) fn load_bytes(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference covers the 16 bytes that are read.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
pub(super) fn store_bytes(bytes: __m128i) -> [u8; 16] {
    let mut out = [0; 16];
    // SAFETY: the array has the 16 bytes that are written.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) }
    out
}
