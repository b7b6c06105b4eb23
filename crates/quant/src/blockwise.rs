use rayon::prelude::*;

use crate::codebook::{Codebook, FP4_BOOK, NF4_BOOK};
use crate::config::QuantType;
use crate::simd::{self, Codes};

/// Elements per parallel task; a multiple of every block size.
pub(crate) const TASK: usize = 32 * 1024;

/// Packed bytes and one absmax per block. A block with a non-finite value gets a non-finite absmax.
pub(crate) fn quantize(quant_type: QuantType, weights: &[f32], block_size: usize) -> (Vec<u8>, Vec<f32>) {
    let (kernels, book) = (simd::best(), quant_type.book());
    let mut packed = vec![0u8; weights.len().div_ceil(2)];
    let mut absmax = vec![0.0f32; weights.len().div_ceil(block_size)];
    weights
        .par_chunks(TASK)
        .zip(packed.par_chunks_mut(TASK / 2))
        .zip(absmax.par_chunks_mut(TASK / block_size))
        .for_each(|((weights, packed), absmax)| {
            (kernels.quantize)(book, weights, block_size, packed, absmax)
        });
    (packed, absmax)
}

/// Restores all elements into `out`; lengths as in [`QuantType::dequantize_range`].
pub(crate) fn dequantize(
    quant_type: QuantType,
    packed: &[u8],
    absmax: &[f32],
    block_size: usize,
    out: &mut [f32],
) {
    in_tasks(out, |start, part| quant_type.dequantize_range(packed, absmax, block_size, start, part));
}

/// [`dequantize`] to bits of bfloat16.
pub(crate) fn dequantize_bf16(
    quant_type: QuantType,
    packed: &[u8],
    absmax: &[f32],
    block_size: usize,
    out: &mut [u16],
) {
    in_tasks(out, |start, part| quant_type.dequantize_range_bf16(packed, absmax, block_size, start, part));
}

/// Cuts `out` into tasks for the rayon pool; `restore` gets the index of its first element.
pub(crate) fn in_tasks<T: Send>(out: &mut [T], restore: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= TASK {
        return restore(0, out);
    }
    out.par_chunks_mut(TASK).enumerate().for_each(|(task, part)| restore(task * TASK, part));
}

impl QuantType {
    pub(crate) fn book(self) -> &'static Codebook {
        match self {
            Self::Nf4 => &NF4_BOOK,
            Self::Fp4 => &FP4_BOOK,
        }
    }

    /// The level of every code: [`NF4`](crate::NF4) or [`FP4`](crate::FP4).
    pub fn levels(self) -> &'static [f32; 16] {
        &self.book().levels
    }

    /// Restores the elements `start..start + out.len()` of a flattened weight, on the calling thread.
    ///
    /// `out[i] = levels[code[start + i]] * absmax[(start + i) / block_size]` in f32. `packed` holds two codes per byte,
    /// the first in the high nibble; `absmax` is the un-nested one, see
    /// [`QuantState::absmax_values`](crate::QuantState::absmax_values). `start` may lie anywhere, within a byte too.
    ///
    /// # Panics
    ///
    /// If `block_size` is odd or zero, or if `packed` or `absmax` end before the last wanted element.
    pub fn dequantize_range(
        self,
        packed: &[u8],
        absmax: &[f32],
        block_size: usize,
        start: usize,
        out: &mut [f32],
    ) {
        let codes = self.checked("dequantize_range", packed, absmax, block_size, start, out.len());
        (simd::best().restore_f32)(codes, start, out);
    }

    /// [`dequantize_range`](Self::dequantize_range) to bfloat16: the f32 product, rounded to nearest, ties to even;
    /// `out` receives its 16 bits.
    ///
    /// # Panics
    ///
    /// As [`dequantize_range`](Self::dequantize_range).
    pub fn dequantize_range_bf16(
        self,
        packed: &[u8],
        absmax: &[f32],
        block_size: usize,
        start: usize,
        out: &mut [u16],
    ) {
        let codes = self.checked("dequantize_range_bf16", packed, absmax, block_size, start, out.len());
        (simd::best().restore_bf16)(codes, start, out);
    }

    /// Panics in the name of `what` unless there are codes and absmax for `count` elements from `start`.
    fn checked<'a>(
        self,
        what: &str,
        packed: &'a [u8],
        absmax: &'a [f32],
        block_size: usize,
        start: usize,
        count: usize,
    ) -> Codes<'a> {
        assert!(
            block_size > 0 && block_size.is_multiple_of(2),
            "{what}: block size {block_size}, wanted an even number"
        );
        let covered = packed.len().saturating_mul(2).min(absmax.len().saturating_mul(block_size));
        assert!(
            start <= covered && count <= covered - start,
            "{what}: {count} elements from {start} wanted, {} bytes and {} blocks of {block_size} hold {covered}",
            packed.len(),
            absmax.len()
        );
        Codes { book: self.book(), packed, absmax, block_size }
    }

    /// The definition of the code of a weight, one element after the other: packed bytes and one absmax per block.
    ///
    /// `scaled = x * (1 / absmax)` in f32 (`x / absmax` where the reciprocal overflows, 0 in a block of zeros); the
    /// code is that of the lowest level whose upper threshold is not below `scaled`. The unused nibble of an odd count
    /// is the code of zero. The algorithm of bitsandbytes 0.50.2 (`quantize_4bit`, CPU).
    ///
    /// # Panics
    ///
    /// If `block_size` is zero.
    pub fn quantize_reference(self, weights: &[f32], block_size: usize) -> (Vec<u8>, Vec<f32>) {
        let Codebook { thresholds, codes, .. } = self.book();
        let code = |scaled: f32| {
            let rank = thresholds.iter().position(|threshold| scaled <= *threshold);
            codes[rank.unwrap_or(15)]
        };
        let mut absmax = Vec::new();
        let mut found = Vec::new();
        for block in weights.chunks(block_size) {
            let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            absmax.push(largest);
            found.extend(block.iter().map(|x| code(scaled(*x, largest))));
        }
        let packed = found
            .chunks(2)
            .map(|pair| (pair[0] << 4) | pair.get(1).copied().unwrap_or_else(|| code(0.0)))
            .collect();
        (packed, absmax)
    }

    /// The definition of the way back, one element after the other: `count` restored elements.
    ///
    /// # Panics
    ///
    /// If `packed` or `absmax` end before element `count`, or if `block_size` is zero.
    pub fn dequantize_reference(
        self,
        packed: &[u8],
        absmax: &[f32],
        block_size: usize,
        count: usize,
    ) -> Vec<f32> {
        (0..count)
            .map(|i| {
                let byte = packed[i / 2];
                let code = if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
                self.levels()[usize::from(code)] * absmax[i / block_size]
            })
            .collect()
    }
}

/// [`QuantType::dequantize_range`] of NF4.
///
/// # Panics
///
/// As there.
pub fn dequantize_range(packed: &[u8], absmax: &[f32], block_size: usize, start: usize, out: &mut [f32]) {
    QuantType::Nf4.dequantize_range(packed, absmax, block_size, start, out);
}

/// [`QuantType::dequantize_range_bf16`] of NF4.
///
/// # Panics
///
/// As there.
pub fn dequantize_range_bf16(
    packed: &[u8],
    absmax: &[f32],
    block_size: usize,
    start: usize,
    out: &mut [u16],
) {
    QuantType::Nf4.dequantize_range_bf16(packed, absmax, block_size, start, out);
}

/// [`QuantType::quantize_reference`] of NF4.
///
/// # Panics
///
/// As there.
pub fn quantize_reference(weights: &[f32], block_size: usize) -> (Vec<u8>, Vec<f32>) {
    QuantType::Nf4.quantize_reference(weights, block_size)
}

/// [`QuantType::dequantize_reference`] of NF4.
///
/// # Panics
///
/// As there.
pub fn dequantize_reference(packed: &[u8], absmax: &[f32], block_size: usize, count: usize) -> Vec<f32> {
    QuantType::Nf4.dequantize_reference(packed, absmax, block_size, count)
}

/// `x` relative to the absmax of its block: a multiplication by the f32 reciprocal, as in bitsandbytes.
///
/// Below about 2.9e-39 the reciprocal overflows and would turn zeros into NaN; there, and only there, it divides.
pub(crate) fn scaled(x: f32, absmax: f32) -> f32 {
    let reciprocal = 1.0 / absmax;
    if reciprocal.is_finite() {
        x * reciprocal
    } else if absmax == 0.0 {
        0.0
    } else {
        x / absmax
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of mixed sizes and signs, with zeros among them; the same on every run.
    fn sample(count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| {
                let wave = (i as f32 * 0.731).sin();
                if i.is_multiple_of(11) { 0.0 } else { wave * (1 + i % 7) as f32 }
            })
            .collect()
    }

    #[test]
    fn fast_equals_reference_at_every_size() {
        let sizes =
            [0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 255, 257, 4095, 4097, TASK - 1, TASK, 2 * TASK + 95];
        for quant_type in QuantType::ALL {
            for block_size in [32, 64, 128, 4096] {
                for count in sizes {
                    check(quant_type, block_size, &sample(count));
                }
            }
        }
    }

    fn check(quant_type: QuantType, block_size: usize, weights: &[f32]) {
        let count = weights.len();
        let at = format!("{count} of {quant_type:?} in blocks of {block_size}");
        let (packed, absmax) = quantize(quant_type, weights, block_size);
        let (wanted_packed, wanted_absmax) = quant_type.quantize_reference(weights, block_size);
        assert_eq!(packed, wanted_packed, "bytes of {at}");
        assert_eq!(absmax, wanted_absmax, "absmax of {at}");
        let mut restored = vec![f32::NAN; count];
        dequantize(quant_type, &packed, &absmax, block_size, &mut restored);
        let wanted = quant_type.dequantize_reference(&packed, &absmax, block_size, count);
        assert_eq!(restored, wanted, "values of {at}");
        let mut rounded = vec![u16::MAX; count];
        dequantize_bf16(quant_type, &packed, &absmax, block_size, &mut rounded);
        let wanted: Vec<u16> = wanted.into_iter().map(|x| half::bf16::from_f32(x).to_bits()).collect();
        assert_eq!(rounded, wanted, "bf16 of {at}");
    }

    #[test]
    fn every_threshold_takes_the_lower_level() {
        for quant_type in QuantType::ALL {
            let Codebook { thresholds, codes, .. } = quant_type.book();
            let mut weights = vec![1.0];
            for threshold in thresholds {
                weights.extend([threshold.next_down(), *threshold, threshold.next_up()]);
            }
            let (packed, _) = quantize(quant_type, &weights, 64);
            assert_eq!(packed, quant_type.quantize_reference(&weights, 64).0);
            let found: Vec<u8> = packed.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
            for (rank, triple) in found[1..46].chunks(3).enumerate() {
                assert_eq!(triple, [codes[rank], codes[rank], codes[rank + 1]], "{quant_type:?}");
            }
        }
    }

    #[test]
    fn blocks_of_zeros_and_of_subnormals() {
        let smallest = f32::from_bits(1);
        let cases = [(QuantType::Nf4, [0x77, 0x77], [0xf7, 0x07]), (QuantType::Fp4, [0, 0], [0x30, 0xb0])];
        for (quant_type, zeros, subnormals) in cases {
            let (packed, absmax) = quantize(quant_type, &[0.0, -0.0, 0.0], 32);
            assert_eq!((packed, absmax), (zeros.to_vec(), vec![0.0]));
            let (packed, _) = quantize(quant_type, &[smallest, 0.0, -smallest, 0.0], 32);
            assert_eq!(packed, subnormals);
        }
    }

    #[test]
    fn a_non_finite_value_shows_in_its_absmax() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut weights = sample(200);
            weights[150] = bad;
            let (_, absmax) = quantize(QuantType::Nf4, &weights, 64);
            assert!(absmax[0].is_finite() && absmax[1].is_finite());
            assert!(!absmax[2].is_finite());
            assert!(absmax[3].is_finite());
        }
    }

    #[test]
    #[should_panic(
        expected = "dequantize_range: 4 elements from 62 wanted, 40 bytes and 1 blocks of 64 hold 64"
    )]
    fn a_range_past_the_blocks_panics() {
        dequantize_range(&[0; 40], &[1.0], 64, 62, &mut [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "dequantize_range_bf16: block size 7, wanted an even number")]
    fn an_odd_block_panics() {
        dequantize_range_bf16(&[0; 40], &[1.0], 7, 0, &mut [0; 4]);
    }
}
