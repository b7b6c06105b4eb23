use rayon::prelude::*;

use crate::codebook::{NF4, NF4_PAIRS, NF4_THRESHOLDS, ZERO_CODE};

/// Elements that are coded together; every block size is a multiple of it.
const LANES: usize = 32;

/// Elements per parallel task; a multiple of every block size.
const TASK: usize = 32 * 1024;

/// Packed NF4 bytes and one absmax per block. A block with a non-finite value gets a non-finite absmax.
pub(crate) fn quantize(weights: &[f32], block_size: usize) -> (Vec<u8>, Vec<f32>) {
    let mut packed = vec![0u8; weights.len().div_ceil(2)];
    let mut absmax = vec![0.0f32; weights.len().div_ceil(block_size)];
    weights
        .par_chunks(TASK)
        .zip(packed.par_chunks_mut(TASK / 2))
        .zip(absmax.par_chunks_mut(TASK / block_size))
        .for_each(|((weights, packed), absmax)| {
            let blocks = weights.chunks(block_size).zip(packed.chunks_mut(block_size / 2));
            for ((values, bytes), largest) in blocks.zip(absmax) {
                *largest = block_absmax(values);
                encode_block(values, *largest, bytes);
            }
        });
    (packed, absmax)
}

/// Restores all elements into `out`; lengths as in [`dequantize_range`].
pub(crate) fn dequantize(packed: &[u8], absmax: &[f32], block_size: usize, out: &mut [f32]) {
    if out.len() <= TASK {
        return dequantize_range(packed, absmax, block_size, 0, out);
    }
    out.par_chunks_mut(TASK)
        .enumerate()
        .for_each(|(task, part)| dequantize_range(packed, absmax, block_size, task * TASK, part));
}

/// Restores the NF4 elements `start..start + out.len()` of a flattened weight, on the calling thread.
///
/// `out[i] = NF4[code[start + i]] * absmax[(start + i) / block_size]` in f32. `packed` holds two codes per byte, the first
/// in the high nibble; `absmax` is the un-nested one, see [`QuantState::absmax_values`](crate::QuantState::absmax_values).
/// `start` may lie anywhere, within a byte too.
///
/// # Panics
///
/// If `block_size` is odd or zero, or if `packed` or `absmax` end before the last wanted element.
pub fn dequantize_range(packed: &[u8], absmax: &[f32], block_size: usize, start: usize, out: &mut [f32]) {
    assert!(
        block_size > 0 && block_size.is_multiple_of(2),
        "dequantize_range: block size {block_size}, wanted an even number"
    );
    let covered = packed.len().saturating_mul(2).min(absmax.len().saturating_mul(block_size));
    assert!(
        start <= covered && out.len() <= covered - start,
        "dequantize_range: {} elements from {start} wanted, {} bytes and {} blocks of {block_size} hold {covered}",
        out.len(),
        packed.len(),
        absmax.len()
    );
    let mut index = start;
    let mut rest = out;
    while !rest.is_empty() {
        let left_in_block = block_size - index % block_size;
        let length = left_in_block.min(rest.len());
        let (part, later) = std::mem::take(&mut rest).split_at_mut(length);
        decode(packed, index, absmax[index / block_size], part);
        index += length;
        rest = later;
    }
}

/// The definition of the NF4 code of a weight, one element after the other: packed bytes and one absmax per block.
///
/// `scaled = x * (1 / absmax)` in f32 (`x / absmax` where the reciprocal overflows, 0 in a block of zeros); the code is the
/// lowest whose upper threshold is not below `scaled`. The unused nibble of an odd count is 7, the code of zero.
/// The algorithm of bitsandbytes 0.50.2 (`quantize_4bit`, CPU).
///
/// # Panics
///
/// If `block_size` is zero.
pub fn quantize_reference(weights: &[f32], block_size: usize) -> (Vec<u8>, Vec<f32>) {
    let mut absmax = Vec::new();
    let mut codes = Vec::new();
    for block in weights.chunks(block_size) {
        let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        absmax.push(largest);
        for x in block {
            let value = scaled(*x, largest);
            let code = (0..15u8).find(|code| value <= NF4_THRESHOLDS[usize::from(*code)]);
            codes.push(code.unwrap_or(15));
        }
    }
    let packed =
        codes.chunks(2).map(|pair| (pair[0] << 4) | pair.get(1).copied().unwrap_or(ZERO_CODE)).collect();
    (packed, absmax)
}

/// The definition of the way back, one element after the other: `count` restored elements.
///
/// # Panics
///
/// If `packed` or `absmax` end before element `count`, or if `block_size` is zero.
pub fn dequantize_reference(packed: &[u8], absmax: &[f32], block_size: usize, count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| {
            let byte = packed[i / 2];
            let code = if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            NF4[usize::from(code)] * absmax[i / block_size]
        })
        .collect()
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

/// The largest magnitude of a block. Magnitudes compare like their bits, and NaN and infinity above all numbers.
fn block_absmax(values: &[f32]) -> f32 {
    let bits = values.iter().fold(0, |largest: u32, x| largest.max(x.abs().to_bits()));
    f32::from_bits(bits)
}

fn encode_block(values: &[f32], absmax: f32, bytes: &mut [u8]) {
    let reciprocal = 1.0 / absmax;
    if reciprocal.is_finite() {
        encode(values, reciprocal, bytes);
    } else {
        let relative: Vec<f32> = values.iter().map(|x| scaled(*x, absmax)).collect();
        encode(&relative, 1.0, bytes);
    }
}

fn encode(values: &[f32], scale: f32, bytes: &mut [u8]) {
    let (groups, last) = values.as_chunks::<LANES>();
    let (body, tail) = bytes.split_at_mut(groups.len() * LANES / 2);
    for (group, target) in groups.iter().zip(body.as_chunks_mut::<{ LANES / 2 }>().0) {
        *target = encode_lanes(group, scale);
    }
    if !last.is_empty() {
        // Zeros fill the group, so the unused nibble of an odd count gets the code of zero.
        let mut group = [0.0; LANES];
        group[..last.len()].copy_from_slice(last);
        let coded = encode_lanes(&group, scale);
        tail.copy_from_slice(&coded[..tail.len()]);
    }
}

/// 32 codes, packed: a code is the number of thresholds below the scaled value. No branches, so it vectorises.
fn encode_lanes(values: &[f32; LANES], scale: f32) -> [u8; LANES / 2] {
    let mut codes = [0u32; LANES];
    for (code, value) in codes.iter_mut().zip(values) {
        let relative = value * scale;
        let mut below = 0;
        for threshold in NF4_THRESHOLDS {
            below += u32::from(relative > threshold);
        }
        *code = below;
    }
    let mut bytes = [0u8; LANES / 2];
    for (byte, pair) in bytes.iter_mut().zip(codes.as_chunks::<2>().0) {
        *byte = ((pair[0] << 4) | pair[1]) as u8;
    }
    bytes
}

/// Elements of one block, from `start` of the flattened weight: a table lookup and two multiplications per byte.
fn decode(packed: &[u8], start: usize, scale: f32, out: &mut [f32]) {
    let (head, body) = out.split_at_mut((start % 2).min(out.len()));
    if let [value] = head {
        *value = NF4_PAIRS[usize::from(packed[start / 2])][1] * scale;
    }
    let bytes = &packed[start.div_ceil(2)..];
    let (pairs, last) = body.as_chunks_mut::<2>();
    let whole = pairs.len();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        let [high, low] = NF4_PAIRS[usize::from(*byte)];
        *pair = [high * scale, low * scale];
    }
    if let [value] = last {
        *value = NF4_PAIRS[usize::from(bytes[whole])][0] * scale;
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
        for block_size in [32, 64, 128, 4096] {
            for count in sizes {
                let weights = sample(count);
                let (packed, absmax) = quantize(&weights, block_size);
                let (wanted_packed, wanted_absmax) = quantize_reference(&weights, block_size);
                assert_eq!(packed, wanted_packed, "bytes of {count} in blocks of {block_size}");
                assert_eq!(absmax, wanted_absmax, "absmax of {count} in blocks of {block_size}");
                let mut restored = vec![f32::NAN; count];
                dequantize(&packed, &absmax, block_size, &mut restored);
                let wanted = dequantize_reference(&packed, &absmax, block_size, count);
                assert_eq!(restored, wanted, "values of {count} in blocks of {block_size}");
            }
        }
    }

    #[test]
    fn every_threshold_takes_the_lower_code() {
        let mut weights = vec![1.0];
        for threshold in NF4_THRESHOLDS {
            weights.extend([threshold.next_down(), threshold, threshold.next_up()]);
        }
        let (packed, _) = quantize(&weights, 64);
        assert_eq!(packed, quantize_reference(&weights, 64).0);
        let codes: Vec<u8> = packed.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
        for (lower, triple) in (0u8..).zip(codes[1..46].chunks(3)) {
            assert_eq!(triple, [lower, lower, lower + 1]);
        }
    }

    #[test]
    fn blocks_of_zeros_and_of_subnormals() {
        let (packed, absmax) = quantize(&[0.0, -0.0, 0.0], 32);
        assert_eq!((packed, absmax), (vec![0x77, 0x77], vec![0.0]));
        let smallest = f32::from_bits(1);
        let (packed, _) = quantize(&[smallest, 0.0, -smallest, 0.0], 32);
        assert_eq!(packed, [0xf7, 0x07]);
    }

    #[test]
    fn a_non_finite_value_shows_in_its_absmax() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut weights = sample(200);
            weights[150] = bad;
            let (_, absmax) = quantize(&weights, 64);
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
}
