//! LLM.int8 products: rows of 8-bit codes, multiplied exactly, and the outlier columns beside them.

use burn::tensor::Tensor;
use burnisher_quant::INT8_PRODUCT_STEP;
use rayon::prelude::*;

use super::{level::Level, tensor_in};
use crate::EightBitWeight;

/// Rows of weights and of inputs that a tile multiplies with each other.
const TILE: [usize; 2] = [2, 4];

/// Rows of weights per task. Their codes stay in a core's second-level cache while the inputs pass by.
const BLOCK: usize = 32;

/// What turns a code times an absmax into a value.
const STEP: f32 = 1.0 / 127.0;

/// `x·Wᵀ` in the dtype of `x`; `None` unless both are on Flex and all values of `x` are finite.
pub(crate) fn project(x: &Tensor<2>, weight: &EightBitWeight) -> Option<Tensor<2>> {
    let ([rows, inn], [out, _]) = (x.dims(), weight.dims());
    let values = super::floats(x)?;
    let (codes, absmax) = weight.on_flex()?;
    let codes: &[i8] = &bytemuck::cast_slice(codes.as_slice::<i32>()?)[..out * inn];
    let absmax = absmax.as_slice::<f32>()?;
    if rows * inn * out == 0 {
        return None;
    }
    let threshold = Some(weight.threshold()).filter(|threshold| threshold.is_finite());
    let input = burnisher_quant::quantize_rows(&values, inn, threshold).ok()?;
    // As 16-bit integers, so that pairs of products add up in one instruction.
    let wide: Vec<i16> = input.codes.par_iter().map(|code| i16::from(*code)).collect();
    let level = Level::current();
    let mut transposed = vec![0.0f32; out * rows];
    transposed.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(block, y)| {
        let first = block * BLOCK;
        let count = y.len() / rows;
        let weights: Vec<&[i8]> = (first..first + count).map(|o| &codes[o * inn..][..inn]).collect();
        for (group, x) in wide.chunks(TILE[1] * inn).enumerate() {
            for (pair, w) in weights.chunks(TILE[0]).enumerate() {
                let sums = tile(level, w, x, inn);
                for (i, _) in w.iter().enumerate() {
                    for (j, sum) in sums[i][..x.len() / inn].iter().enumerate() {
                        let (o, r) = (pair * TILE[0] + i, group * TILE[1] + j);
                        y[o * rows + r] =
                            *sum as f32 * (input.absmax[r] * absmax[first + o]) * INT8_PRODUCT_STEP;
                    }
                }
            }
        }
        for (o, y) in y.chunks_mut(rows).enumerate() {
            for column in &input.outliers {
                let weight = f32::from(weights[o][*column]) * absmax[first + o] * STEP;
                for (r, y) in y.iter_mut().enumerate() {
                    *y += values[r * inn + column] * weight;
                }
            }
        }
    });
    let mut y = vec![0.0f32; rows * out];
    y.par_chunks_mut(out).enumerate().for_each(|(r, y)| {
        for (o, y) in y.iter_mut().enumerate() {
            *y = transposed[o * rows + r];
        }
    });
    Some(tensor_in(y, [rows, out], x.dtype(), &x.device()))
}

/// The products of up to [`TILE`] rows: `w` of codes, `x` of rows without gaps. Exact: in parts whose sums fit 32 bits.
fn tile(level: Level, w: &[&[i8]], x: &[i16], inn: usize) -> [[i64; TILE[1]]; TILE[0]] {
    const PART: usize = 1 << 16;
    let rows = x.len() / inn;
    let mut sums = [[0; TILE[1]]; TILE[0]];
    for start in (0..inn).step_by(PART) {
        let length = PART.min(inn - start);
        // Rows that are not there are computed as the last one, and not read.
        let w: [&[i8]; TILE[0]] = std::array::from_fn(|i| &w[i.min(w.len() - 1)][start..][..length]);
        let x: [&[i16]; TILE[1]] = std::array::from_fn(|j| &x[j.min(rows - 1) * inn + start..][..length]);
        let part = part(level, w, x);
        for (sums, part) in sums.iter_mut().zip(part) {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += i64::from(part));
        }
    }
    sums
}

fn part(level: Level, w: [&[i8]; TILE[0]], x: [&[i16]; TILE[1]]) -> [[i32; TILE[1]]; TILE[0]] {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx2 {
        // SAFETY: a level is made only where the processor has its instructions.
        return unsafe { x86::part(w, x) };
    }
    let _ = level;
    part_reference(w, x)
}

fn part_reference(w: [&[i8]; TILE[0]], x: [&[i16]; TILE[1]]) -> [[i32; TILE[1]]; TILE[0]] {
    w.map(|w| x.map(|x| w.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum()))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::TILE;

    /// Sixteen codes at once.
    const LANES: usize = 16;

    #[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c")]
    pub(super) fn part(w: [&[i8]; TILE[0]], x: [&[i16]; TILE[1]]) -> [[i32; TILE[1]]; TILE[0]] {
        let chunks = w[0].len() / LANES;
        let weights = w.map(|w| &w.as_chunks::<LANES>().0[..chunks]);
        let inputs = x.map(|x| &x.as_chunks::<LANES>().0[..chunks]);
        let mut sums = [[_mm256_setzero_si256(); TILE[1]]; TILE[0]];
        for chunk in 0..chunks {
            let mut loaded = [_mm256_setzero_si256(); TILE[1]];
            for (loaded, x) in loaded.iter_mut().zip(&inputs) {
                // SAFETY: sixteen 16-bit values are there.
                *loaded = unsafe { _mm256_loadu_si256(x[chunk].as_ptr().cast()) };
            }
            for (sums, w) in sums.iter_mut().zip(&weights) {
                // SAFETY: sixteen bytes are there.
                let w = unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(w[chunk].as_ptr().cast())) };
                for (sum, x) in sums.iter_mut().zip(&loaded) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(w, *x));
                }
            }
        }
        let rest = chunks * LANES;
        let mut out = super::part_reference(w.map(|w| &w[rest..]), x.map(|x| &x[rest..]));
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out.iter_mut().zip(sums) {
                let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
                let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b1110>(four));
                let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b01>(two));
                *out += _mm_cvtsi128_si32(one);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, FloatDType};
    use burnisher_quant::Int8Weight;

    use super::*;
    use crate::eight_bit::INT8_THRESHOLD;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| {
                let value = ((i * 7919 + seed * 131) % 1009) as f32 / 504.5 - 1.0;
                value * if i % 97 == seed { 9.0 } else { 1.0 }
            })
            .collect()
    }

    #[test]
    fn products_equal_the_reference_at_every_size() {
        let device = Device::flex();
        for [rows, inn, out] in [[1, 1, 1], [2, 15, 3], [5, 16, 2], [4, 33, 40], [9, 100, 65], [3, 70_000, 3]]
        {
            for seed in [5, 96] {
                let weight = Int8Weight::quantize(&values(out * inn, 3), [out, inn]).unwrap();
                let x = values(rows * inn, seed);
                let wanted = weight.project_reference(&x, Some(INT8_THRESHOLD)).unwrap();
                let weight = EightBitWeight::from_int8(&weight, &device);
                let x = Tensor::<1>::from_floats(&x[..], &device).reshape([rows, inn]);
                // Inputs in 16 bits take the same way.
                for dtype in [FloatDType::F16, FloatDType::BF16] {
                    let half = x.clone().cast(dtype);
                    let found = project(&half, &weight).expect("a fast path").to_data();
                    let wide = project(&half.cast(FloatDType::F32), &weight).expect("a fast path");
                    assert_eq!(found, wide.cast(dtype).to_data(), "{dtype:?}");
                }
                let found = project(&x, &weight).unwrap().to_data().try_to_vec::<f32>().unwrap();
                for (found, wanted) in found.iter().zip(&wanted) {
                    assert!((found - wanted).abs() <= 1e-5 * wanted.abs().max(1.0), "{found} {wanted}");
                }
            }
        }
    }

    #[test]
    fn sums_are_exact_at_every_level() {
        let codes: Vec<i8> = (0..5000).map(|i| ((i * 104_729) % 255) as u8 as i8).collect();
        let wide: Vec<i16> = codes.iter().rev().map(|code| i16::from(*code)).collect();
        for length in [0, 1, 15, 16, 17, 31, 160, 1000] {
            let w = std::array::from_fn(|i| &codes[i * 7..][..length]);
            let x = std::array::from_fn(|j| &wide[j * 11..][..length]);
            for level in Level::available() {
                assert_eq!(part(level, w, x), part_reference(w, x), "{level:?} {length}");
            }
        }
    }
}
