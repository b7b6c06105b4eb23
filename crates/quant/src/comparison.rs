use std::fmt;

use crate::config::{QuantConfig, QuantType};
use crate::dynamic_map::DynamicMap;
use crate::eight_bit::EightBitState;
use crate::error::QuantError;
use crate::int8::Int8Weight;
use crate::report::{ErrorReport, error_report};

/// A way to store a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// A 4-bit code, with or without double quantization; see [`QuantConfig`].
    FourBit {
        /// The code.
        quant_type: QuantType,
        /// Whether the absmax are quantized to 8 bits.
        double_quant: bool,
    },
    /// 8-bit codes of the signed dynamic map; see [`EightBitState`].
    EightBit,
    /// 8-bit codes with one scale per row; see [`Int8Weight`].
    Int8,
}

impl Encoding {
    /// Every encoding, from the fewest bits to the most.
    pub const ALL: [Self; 6] = [
        Self::FourBit { quant_type: QuantType::Nf4, double_quant: true },
        Self::FourBit { quant_type: QuantType::Fp4, double_quant: true },
        Self::FourBit { quant_type: QuantType::Nf4, double_quant: false },
        Self::FourBit { quant_type: QuantType::Fp4, double_quant: false },
        Self::EightBit,
        Self::Int8,
    ];

    /// The restored weight and the bytes that stored it.
    fn round_trip(
        self,
        weights: &[f32],
        shape: [usize; 2],
        block_size: usize,
    ) -> Result<(Vec<f32>, usize), QuantError> {
        Ok(match self {
            Self::FourBit { quant_type, double_quant } => {
                let config = QuantConfig::new(quant_type).with_block_size(block_size);
                let state = config.with_double_quant(double_quant).quantize(weights, shape)?;
                (state.dequantize(), state.size_bytes())
            }
            Self::EightBit => {
                let state = EightBitState::quantize(weights, DynamicMap::Signed, block_size)?;
                (state.dequantize(), state.size_bytes())
            }
            Self::Int8 => {
                let weight = Int8Weight::quantize(weights, shape)?;
                (weight.dequantize(), weight.size_bytes())
            }
        })
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FourBit { quant_type, double_quant } => {
                let nested = if *double_quant { ", double quantization" } else { "" };
                write!(f, "{}{nested}", quant_type.as_str())
            }
            Self::EightBit => f.write_str("8-bit dynamic map"),
            Self::Int8 => f.write_str("LLM.int8"),
        }
    }
}

/// What one encoding makes of a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct EncodingReport {
    /// The encoding.
    pub encoding: Encoding,
    /// Codes and scales, per element of the weight; 0 if it has none.
    pub bits_per_weight: f32,
    /// What it loses.
    pub error: ErrorReport,
}

impl fmt::Display for EncodingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:.3} bits per weight: {}", self.encoding, self.bits_per_weight, self.error)
    }
}

/// Stores a weight `[out, in]` in every [`Encoding`] and reports what each loses, in their order.
///
/// `block_size` is that of the blockwise encodings, and of [`ErrorReport::worst_block`] in all reports.
///
/// # Errors
///
/// A wrong block size, a shape whose product overflows or differs from the number of weights, and
/// [`QuantError::NotFinite`] with the index of the first NaN or infinity.
pub fn compare_encodings(
    weights: &[f32],
    shape: [usize; 2],
    block_size: usize,
) -> Result<Vec<EncodingReport>, QuantError> {
    let report = |encoding: Encoding| {
        let (restored, bytes) = encoding.round_trip(weights, shape, block_size)?;
        let bits_per_weight =
            if weights.is_empty() { 0.0 } else { 8.0 * bytes as f32 / weights.len() as f32 };
        let error = error_report(weights, &restored, block_size)?;
        Ok(EncodingReport { encoding, bits_per_weight, error })
    };
    Encoding::ALL.into_iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About normal: sums of four uniform values, the same on every run.
    fn weights(count: usize) -> Vec<f32> {
        let mut seed = 1u32;
        let mut uniform = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| 0.05 * (uniform() + uniform() + uniform() + uniform())).collect()
    }

    #[test]
    fn more_bits_lose_less_and_nf4_suits_normal_weights() {
        let weights = weights(64 * 256);
        let reports = compare_encodings(&weights, [64, 256], 64).expect("a sound weight");
        let found = |i: usize| (reports[i].bits_per_weight, reports[i].error.relative_rms);
        let [nf4_double, fp4_double, nf4, fp4, dynamic, int8] = std::array::from_fn(found);
        assert!(nf4_double.0 < nf4.0 && nf4.0 < int8.0 && int8.0 < dynamic.0);
        assert_eq!((nf4.0, fp4.0, dynamic.0, int8.0), (4.5, 4.5, 8.5, 8.125));
        assert_eq!(nf4_double.0, fp4_double.0);
        assert!((0.05..0.11).contains(&nf4.1), "{}", nf4.1);
        assert!(nf4.1 < fp4.1 && nf4_double.1 < fp4_double.1);
        assert!(nf4_double.1 < nf4.1 * 1.01 && dynamic.1 < nf4.1 / 5.0 && int8.1 < nf4.1 / 5.0);
        for report in &reports {
            let text = report.to_string();
            assert!(text.starts_with(&format!("{}, ", report.encoding)), "{text}");
        }
    }

    #[test]
    fn an_empty_weight_loses_nothing_and_a_wrong_one_is_refused() {
        for report in compare_encodings(&[], [0, 5], 64).expect("a sound weight") {
            assert_eq!((report.bits_per_weight, report.error.max_abs), (0.0, 0.0));
        }
        assert!(compare_encodings(&[1.0], [1, 2], 64).is_err());
        assert!(compare_encodings(&[f32::NAN], [1, 1], 64).is_err());
        assert!(compare_encodings(&[1.0], [1, 1], 7).is_err());
    }
}
