//! ggml's Q8_0: blocks of 32 numbers, an f16 scale and 32 signed bytes.

use half::f16;

/// Numbers in a block (`QK8_0`).
pub(super) const BLOCK: usize = 32;

/// The scale and the bytes.
pub(super) const BLOCK_BYTES: usize = 2 + BLOCK;

/// What the largest number of a block becomes.
pub(super) const MAX: f32 = 127.0;

/// Appends the blocks of `values`: `d = absmax / 127`, stored as f16, and `round(x · (1/d))` with the d before its
/// rounding, halves away from zero. Bit for bit ggml's `quantize_row_q8_0_ref`.
///
/// # Panics
/// Where `values` are no whole number of blocks.
pub(super) fn quantize(values: &[f32], out: &mut Vec<u8>) {
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    assert!(rest.is_empty(), "Q8_0: {} values, wanted a multiple of {BLOCK}", values.len());
    for block in blocks {
        let largest = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let scale = largest / MAX;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        out.extend_from_slice(&f16::from_f32(scale).to_le_bytes());
        out.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
    }
}

/// The numbers of whole blocks.
pub(super) fn dequantize(bytes: &[u8]) -> Vec<f32> {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    blocks
        .iter()
        .flat_map(|block| {
            let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
            block[2..].iter().map(move |byte| f32::from(*byte as i8) * scale)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantized(values: &[f32]) -> Vec<u8> {
        let mut out = Vec::new();
        quantize(values, &mut out);
        out
    }

    #[test]
    fn halves_are_rounded_away_from_zero_by_the_scale_before_rounding() {
        // Absmax 127: the scale is 1 and the numbers stand as they are.
        let mut values = [0.0; BLOCK];
        values[..6].copy_from_slice(&[127.0, 0.5, -0.5, 1.5, -2.5, 0.49]);
        let bytes = quantized(&values);
        assert_eq!(bytes[..2], f16::ONE.to_le_bytes());
        assert_eq!(bytes[2..8].iter().map(|byte| *byte as i8).collect::<Vec<_>>(), [127, 1, -1, 2, -3, 0]);
        assert_eq!(bytes[8..], [0; 26]);
        assert_eq!(quantized(&[0.0; 64]), [0; 68]);
        assert!(quantized(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_error_is_at_most_half_a_step(values in prop::collection::vec(-1e3f32..1e3, 64)) {
            let back = dequantize(&quantized(&values));
            prop_assert_eq!(back.len(), values.len());
            for (block, back) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let step = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / MAX;
                for (value, back) in block.iter().zip(back) {
                    // The scale's own rounding to f16 adds up to 127 · 2⁻¹¹ of a step.
                    prop_assert!((value - back).abs() <= step * 0.57, "{} became {} by {}", value, back, step);
                }
            }
        }
    }
}
