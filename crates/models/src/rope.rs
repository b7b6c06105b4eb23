//! The numbers of rotary position embedding in the rotate-half layout of Hugging Face checkpoints.
//!
//! Formulas: Su et al., "RoFormer" (2021); `modeling_rope_utils.py` of transformers 5.23 for the scalings.

use std::f64::consts::TAU;

use crate::config::{RopeConfig, RopeScaling};

/// The turn per position of each of the pairs that are turned, in radians: `θ^(-2i/rotary_dim)`, then scaled.
/// `is_long` tells whether the batch has a position beyond the original context.
///
/// The exponent and the power are rounded to f32 where transformers' f32 tensors round them.
fn inverse_frequencies(rope: &RopeConfig, head_dim: usize, is_long: bool) -> Vec<f32> {
    let width = rope.rotary_dim(head_dim);
    (0..width / 2)
        .map(|pair| {
            let exponent = (2 * pair) as f32 / width as f32;
            let period = rope.theta.powf(f64::from(exponent)) as f32;
            match &rope.scaling {
                RopeScaling::LongRope { short_factor, long_factor, .. } => {
                    let factors = if is_long { long_factor } else { short_factor };
                    1.0 / (factors[pair] as f32 * period)
                }
                scaling => scale(1.0 / period, scaling),
            }
        })
        .collect()
}

fn scale(frequency: f32, scaling: &RopeScaling) -> f32 {
    match *scaling {
        // LongRoPE divides before the frequency is rounded.
        RopeScaling::None | RopeScaling::LongRope { .. } => frequency,
        RopeScaling::Linear { factor } => frequency / factor as f32,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let (frequency, original) = (f64::from(frequency), original_max_position_embeddings as f64);
            let wavelength = TAU / frequency;
            let scaled = if wavelength > original / low_freq_factor {
                frequency / factor
            } else if wavelength < original / high_freq_factor {
                frequency
            } else {
                let kept = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - kept) * frequency / factor + kept * frequency
            };
            scaled as f32
        }
    }
}

/// Whether a batch whose last position is `last` needs other frequencies than one whose positions all lie within the
/// original context.
pub(crate) fn is_long(rope: &RopeConfig, last: u32) -> bool {
    match rope.scaling {
        RopeScaling::LongRope { original_max_position_embeddings, .. } => {
            last as usize >= original_max_position_embeddings
        }
        _ => false,
    }
}

/// Cosine and sine of every position's angles, each `[positions.len(), rotary_dim]` row-major, times LongRoPE's factor.
///
/// Both halves of a row hold the same `rotary_dim / 2` values: element `j` turns with element `j + rotary_dim / 2`. The
/// angle is the f32 product of position and frequency, as in transformers.
pub(crate) fn cos_sin(rope: &RopeConfig, head_dim: usize, positions: &[u32]) -> (Vec<f32>, Vec<f32>) {
    let last = positions.iter().copied().max().unwrap_or(0);
    let frequencies = inverse_frequencies(rope, head_dim, is_long(rope, last));
    let factor = match rope.scaling {
        RopeScaling::LongRope { attention_factor, .. } => attention_factor as f32,
        _ => 1.0,
    };
    let size = positions.len() * 2 * frequencies.len();
    let (mut cos, mut sin) = (Vec::with_capacity(size), Vec::with_capacity(size));
    for &position in positions {
        let start = cos.len();
        for &frequency in &frequencies {
            let (s, c) = f64::from(position as f32 * frequency).sin_cos();
            cos.push(c as f32 * factor);
            sin.push(s as f32 * factor);
        }
        cos.extend_from_within(start..);
        sin.extend_from_within(start..);
    }
    (cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(theta: f64, scaling: RopeScaling) -> RopeConfig {
        RopeConfig { theta, scaling, partial_rotary_factor: 1.0 }
    }

    fn assert_close(found: &[f32], wanted: &[f64]) {
        assert_eq!(found.len(), wanted.len());
        for (f, w) in found.iter().zip(wanted) {
            assert!((f64::from(*f) - w).abs() <= 3e-7 * w.abs(), "found {found:?}, wanted {wanted:?}");
        }
    }

    #[test]
    fn frequencies_are_powers_of_theta() {
        assert_close(&inverse_frequencies(&rope(1e4, RopeScaling::None), 8, false), &[1.0, 0.1, 0.01, 0.001]);
        assert_close(
            &inverse_frequencies(&rope(1e4, RopeScaling::Linear { factor: 4.0 }), 8, false),
            &[0.25, 0.025, 0.0025, 0.00025],
        );
    }

    /// Llama 3's θ at head width 16 and 64 positions of pre-training. The first wave, 6.3 positions long, stays; the
    /// third, 167 long, and all after it are divided; the second, 32.4 long, is kept by (64 / 32.4 - 1) / 3 = 0.325.
    #[test]
    fn llama3_stretches_long_waves_only() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 64,
        };
        assert_close(
            &inverse_frequencies(&rope(5e5, scaling), 16, false),
            &[
                1.0,
                0.0794030091792082,
                0.004700753866357992,
                0.0009115830921521386,
                0.00017677669529663688,
                3.428102195952591e-5,
                6.647869871181236e-6,
                1.2891731721515574e-6,
            ],
        );
    }

    /// 12 of 16 values turn. Reference: `Phi3RotaryEmbedding` of transformers 5.23 at `max_position_embeddings` 512,
    /// frequencies and the first row's cosines at positions 3 and 63, then at 3 and 64.
    #[test]
    fn long_rope_divides_by_the_factors_of_the_farthest_position() {
        let scaling = RopeScaling::LongRope {
            short_factor: vec![1.0, 1.02, 1.05, 1.1, 1.3, 1.7],
            long_factor: vec![1.0, 1.5, 2.25, 4.0, 8.5, 16.0],
            attention_factor: 1.224744871391589,
            original_max_position_embeddings: 64,
        };
        let rope = RopeConfig { theta: 1e4, scaling, partial_rotary_factor: 0.75 };
        assert_close(
            &inverse_frequencies(&rope, 16, false),
            &[
                1.0,
                0.21121908724308014,
                0.04420560225844383,
                0.00909090880304575,
                0.0016572573222219944,
                0.00027303467504680157,
            ],
        );
        let short = [
            -1.2124882936477661,
            0.9869820475578308,
            1.2139908075332642,
            1.2242894172668457,
            1.2247297763824463,
            1.224744439125061,
        ];
        let long = [
            -1.2124882936477661,
            1.1127979755401611,
            1.222400188446045,
            1.224710464477539,
            1.2247445583343506,
            1.2247449159622192,
        ];
        for (last, cosines) in [(63, short), (64, long)] {
            let (cos, sin) = cos_sin(&rope, 16, &[3, last]);
            assert_eq!((cos.len(), sin.len()), (24, 24));
            assert_close(&cos[..6], &cosines);
            assert_close(&cos[6..12], &cosines);
        }
    }

    #[test]
    fn rows_hold_both_halves() {
        // Two pairs, which turn by 1 and by 0.1 per position.
        let rope = rope(100.0, RopeScaling::None);
        let (cos, sin) = cos_sin(&rope, 4, &[0, 3]);
        assert_eq!(cos[..4], [1.0; 4]);
        assert_eq!(sin[..4], [0.0; 4]);
        let (c1, c2) = (-0.989_992_496_600_445_4, 0.955_336_489_125_606);
        let (s1, s2) = (0.141_120_008_059_867_2, 0.295_520_206_661_339_6);
        assert_close(&cos[4..], &[c1, c2, c1, c2]);
        assert_close(&sin[4..], &[s1, s2, s1, s2]);
        assert_eq!(cos_sin(&rope, 4, &[]), (vec![], vec![]));
    }
}
