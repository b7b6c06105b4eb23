//! Blocks of 8-bit codes of a dynamic map, as an optimizer's step restores and quantizes them.
//!
//! Every version gives the same bits.

use std::sync::OnceLock;

use crate::dynamic_map::DynamicMap;
use crate::eight_bit::{largest_magnitude, restore_block};

/// The code of zero in the signed map, the only level without a negative twin.
const SIGNED_ZERO: u8 = 127;

/// One version of the kernels. A static of this type is handed out only on a machine that can run it.
pub(crate) struct BlockKernels {
    /// The values of a block.
    pub(crate) restore: fn(map: DynamicMap, codes: &[u8], scale: f32, out: &mut [f32]),
    /// The codes of a block in the signed map; returns its absmax. A code is the nearest one, but a negative value never
    /// takes the code of zero. What the values hold afterwards is left over.
    pub(crate) quantize_signed: fn(values: &mut [f32], codes: &mut [u8]) -> f32,
    /// The codes of a block of values from 0 on in the unsigned map; returns its absmax.
    pub(crate) quantize_unsigned: fn(values: &mut [f32], codes: &mut [u8]) -> f32,
}

static PORTABLE: BlockKernels = BlockKernels { restore: restore_block, quantize_signed, quantize_unsigned };

/// The fastest version for this machine.
pub(crate) fn block_kernels() -> &'static BlockKernels {
    static BEST: OnceLock<&BlockKernels> = OnceLock::new();
    BEST.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return &avx2::KERNELS;
        }
        &PORTABLE
    })
}

/// Runs plain loops, compiled for AVX2 where this machine has it. Only what is inlined into `run` is.
#[inline]
pub(crate) fn with_vectors<R>(mut run: impl FnMut() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: just found.
        return unsafe { avx2::run(run) };
    }
    run()
}

fn quantize_signed(values: &mut [f32], codes: &mut [u8]) -> f32 {
    let absmax = divide_by_largest(values);
    for (code, value) in codes.iter_mut().zip(values) {
        *code = signed_code(*value);
    }
    absmax
}

fn signed_code(relative: f32) -> u8 {
    let nearest = DynamicMap::Signed.table().nearest(relative);
    nearest - u8::from(nearest == SIGNED_ZERO && relative.is_sign_negative())
}

fn quantize_unsigned(values: &mut [f32], codes: &mut [u8]) -> f32 {
    let (table, absmax) = (DynamicMap::Unsigned.table(), divide_by_largest(values));
    for (code, value) in codes.iter_mut().zip(values) {
        *code = table.nearest(*value);
    }
    absmax
}

/// A division, as in the CUDA kernel, where weights are multiplied by a reciprocal. Zeros stay as they are.
fn divide_by_largest(values: &mut [f32]) -> f32 {
    let absmax = largest_magnitude(values);
    let divisor = if absmax == 0.0 { 1.0 } else { absmax };
    values.iter_mut().for_each(|value| *value /= divisor);
    absmax
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BlockKernels, DynamicMap, SIGNED_ZERO, largest_magnitude, signed_code};
    use crate::dynamic_map::{CELLS, LOWEST_CELL};

    pub(super) static KERNELS: BlockKernels = BlockKernels {
        // SAFETY: these are handed out where AVX2 was found.
        restore: |map, codes, scale, out| unsafe { restore(map, codes, scale, out) },
        quantize_signed: |values, codes| unsafe { quantize::<true>(values, codes) },
        quantize_unsigned: |values, codes| unsafe { quantize::<false>(values, codes) },
    };

    #[target_feature(enable = "avx2")]
    pub(super) fn run<R>(mut run: impl FnMut() -> R) -> R {
        run()
    }

    /// Eight loads of a value beat a gather of them.
    #[target_feature(enable = "avx2")]
    fn restore(map: DynamicMap, codes: &[u8], scale: f32, out: &mut [f32]) {
        let (values, scales) = (map.values(), _mm256_set1_ps(scale));
        let (groups, rest) = codes.as_chunks::<8>();
        let (of_groups, of_rest) = out.as_chunks_mut::<8>();
        for (codes, out) in groups.iter().zip(of_groups) {
            let [a, b, c, d, e, f, g, h] = codes.map(|code| values[usize::from(code)]);
            let restored = _mm256_mul_ps(_mm256_setr_ps(a, b, c, d, e, f, g, h), scales);
            // SAFETY: eight values fit.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), restored) };
        }
        for (code, out) in rest.iter().zip(of_rest) {
            *out = values[usize::from(*code)] * scale;
        }
    }

    /// By magnitudes: their bits choose a [cell](crate::dynamic_map::Table::cells), and the lower half of them the side
    /// of the threshold in it. Below zero a tie takes the lower code too, so that the next magnitude is looked up.
    #[target_feature(enable = "avx2")]
    fn quantize<const SIGNED: bool>(values: &mut [f32], codes: &mut [u8]) -> f32 {
        let map = if SIGNED { DynamicMap::Signed } else { DynamicMap::Unsigned };
        let (table, absmax) = (map.table(), largest_magnitude(values));
        let divisor = if absmax == 0.0 { 1.0 } else { absmax };
        let divisors = _mm256_set1_ps(divisor);
        let magnitude = _mm256_set1_epi32(i32::MAX);
        let lowest = _mm256_set1_epi32((LOWEST_CELL << 16) as i32);
        let last = _mm256_set1_epi32(((CELLS as i32) << 16) - 1);
        let [one, zero] = [1, i32::from(SIGNED_ZERO)].map(|value| _mm256_set1_epi32(value));
        let half = _mm256_set1_epi32(0xffff);
        let (groups, rest) = values.as_chunks::<8>();
        let (of_groups, of_rest) = codes.as_chunks_mut::<8>();
        for (values, codes) in groups.iter().zip(of_groups) {
            // SAFETY: eight values are there.
            let relative = unsafe { _mm256_div_ps(_mm256_loadu_ps(values.as_ptr()), divisors) };
            let bits = _mm256_castps_si256(relative);
            let is_negative = _mm256_srai_epi32::<31>(bits);
            let mut bits = _mm256_and_si256(bits, magnitude);
            if SIGNED {
                bits = _mm256_sub_epi32(bits, is_negative);
            }
            let above = _mm256_sub_epi32(_mm256_max_epi32(bits, lowest), lowest);
            let above = _mm256_min_epi32(above, last);
            // SAFETY: an index is less than the number of cells.
            let cells = unsafe {
                _mm256_i32gather_epi32::<4>(table.cells.as_ptr().cast(), _mm256_srli_epi32::<16>(above))
            };
            let lower = _mm256_and_si256(above, half);
            let passes = _mm256_cmpgt_epi32(lower, _mm256_srli_epi32::<16>(cells));
            let mut levels = _mm256_sub_epi32(_mm256_and_si256(cells, half), passes);
            if SIGNED {
                let down = _mm256_sub_epi32(zero, _mm256_min_epi32(_mm256_max_epi32(levels, one), zero));
                levels = _mm256_blendv_epi8(_mm256_add_epi32(zero, levels), down, is_negative);
            }
            let words = _mm256_packus_epi32(levels, levels);
            let bytes = _mm256_packus_epi16(words, words);
            let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            // SAFETY: eight codes fit.
            unsafe { _mm_storel_epi64(codes.as_mut_ptr().cast(), _mm_unpacklo_epi32(low, high)) };
        }
        for (value, code) in rest.iter().zip(of_rest) {
            let relative = value / divisor;
            *code = if SIGNED { signed_code(relative) } else { table.nearest(relative) };
        }
        absmax
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zeros, every threshold with its neighbours, what lies below and between them, of both signs.
    fn probes(map: DynamicMap) -> Vec<f32> {
        let mut probes = vec![0.0, f32::from_bits(1), 1e-30, 1e-8, 1.1e-7, 1.0f32.next_down(), 1.0];
        for pair in map.values().windows(2) {
            let middle = (pair[0] + pair[1]) / 2.0;
            for value in [pair[0], middle.next_down(), middle, middle.next_up()] {
                probes.push(value.abs());
            }
        }
        probes.extend((0..=0x3f80_0000u32).step_by(99_991).map(f32::from_bits));
        let negative: Vec<f32> = probes.iter().map(|value| -value).collect();
        if map == DynamicMap::Signed {
            probes.extend(negative);
        }
        probes
    }

    #[test]
    fn every_version_takes_the_codes_of_the_definition() {
        for kernels in [&PORTABLE, block_kernels()] {
            for map in [DynamicMap::Signed, DynamicMap::Unsigned] {
                let probes = probes(map);
                // Blocks with a rest; the 1 makes the values their own relative ones.
                for block in probes.chunks(99) {
                    let mut values = block.to_vec();
                    values.push(1.0);
                    let (mut codes, given) = (vec![0; values.len()], values.clone());
                    let absmax = match map {
                        DynamicMap::Signed => (kernels.quantize_signed)(&mut values, &mut codes),
                        DynamicMap::Unsigned => (kernels.quantize_unsigned)(&mut values, &mut codes),
                    };
                    assert_eq!(absmax, 1.0);
                    for (value, code) in given.iter().zip(&codes) {
                        let nearest = map.table().nearest_reference(*value);
                        let is_small = map == DynamicMap::Signed && nearest == 127;
                        let wanted = nearest - u8::from(is_small && value.is_sign_negative());
                        assert_eq!(*code, wanted, "{map:?} {value:e}");
                    }
                    let mut restored = vec![0.0; codes.len()];
                    (kernels.restore)(map, &codes, 0.37, &mut restored);
                    let wanted = codes.iter().map(|code| map.values()[usize::from(*code)] * 0.37);
                    assert!(restored.iter().copied().eq(wanted));
                }
            }
        }
    }

    #[test]
    fn blocks_of_zeros_and_none_at_all() {
        for kernels in [&PORTABLE, block_kernels()] {
            let mut codes = [9; 17];
            assert_eq!((kernels.quantize_signed)(&mut [0.0; 17], &mut codes), 0.0);
            assert_eq!(codes, [127; 17]);
            assert_eq!((kernels.quantize_unsigned)(&mut [0.0; 17], &mut codes), 0.0);
            assert_eq!(codes, [0; 17]);
            assert_eq!((kernels.quantize_signed)(&mut [], &mut []), 0.0);
        }
    }

    #[test]
    fn a_small_negative_value_keeps_its_sign() {
        for kernels in [&PORTABLE, block_kernels()] {
            let mut codes = [0; 9];
            let mut values = [1.0, -1e-9, 1e-9, 0.0, -0.0, 0.0, 0.0, 0.0, -1e-9];
            assert_eq!((kernels.quantize_signed)(&mut values, &mut codes), 1.0);
            assert_eq!(codes, [255, 126, 127, 127, 126, 127, 127, 127, 126]);
        }
    }
}
