//! Projections in fewer bits: the choice, and one weight in each form.

use burn::tensor::Device;
use burnisher_kernels::{EightBitWeight, FourBitWeight, INT8_THRESHOLD};
use burnisher_lora::Weight;
use burnisher_quant::{Absmax, Int8Weight, QuantConfig, QuantState, RawTensor, SourceDtype};

use crate::{ModelError, QuantizationMethod};

/// How to store the projections inside the blocks; embedding, norms and head stay dense.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Quantize {
    /// NF4 or FP4, as bitsandbytes' `Linear4bit` (QLoRA, Dettmers et al. 2023).
    FourBit(QuantConfig),
    /// LLM.int8, as bitsandbytes' `Linear8bitLt` (Dettmers et al. 2022).
    Int8 {
        /// The magnitude from which on an input is an outlier (`llm_int8_threshold`).
        threshold: f32,
    },
}

impl Quantize {
    /// The same with a threshold that means something: 0, bitsandbytes' word for no outliers, becomes infinity.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] for a threshold below 0 or none, [`ModelError::Quant`] for a block size that cannot
    /// be used.
    pub(crate) fn checked(self) -> Result<Self, ModelError> {
        match self {
            Self::FourBit(config) => config.validate()?,
            Self::Int8 { threshold: 0.0 } => {
                return Ok(Self::Int8 { threshold: f32::INFINITY });
            }
            Self::Int8 { threshold } if threshold > 0.0 => {}
            Self::Int8 { threshold } => {
                return Err(ModelError::Unsupported {
                    what: format!("LLM.int8 with the threshold {threshold}"),
                    supported: "a number above 0, or 0 for no outliers".to_owned(),
                });
            }
        }
        Ok(self)
    }

    /// Whether a checkpoint that is stored so is what was asked for.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] naming both, if not.
    pub(crate) fn check_stored(self, stored: QuantizationMethod) -> Result<(), ModelError> {
        let found = match stored {
            QuantizationMethod::FourBit { quant_type, .. } => quant_type.as_str(),
            QuantizationMethod::Int8 { .. } => "int8",
        };
        let wanted = match self {
            Self::FourBit(config) => config.quant_type.as_str(),
            Self::Int8 { .. } => "int8",
        };
        if found == wanted {
            return Ok(());
        }
        Err(ModelError::Unsupported {
            what: format!("holding a checkpoint that is stored in {found} in {wanted}"),
            supported: format!("{found}, or a dense checkpoint"),
        })
    }

    /// LLM.int8 with bitsandbytes' threshold of 6.
    pub fn int8() -> Self {
        Self::Int8 { threshold: INT8_THRESHOLD }
    }

    /// Quantizes one weight `[out, in]` that was stored in `source`.
    pub(crate) fn quantize(
        self,
        values: &[f32],
        shape: [usize; 2],
        source: SourceDtype,
    ) -> Result<Quantized, ModelError> {
        Ok(match self {
            Self::FourBit(config) => {
                Quantized::FourBit(config.with_source_dtype(source).quantize(values, shape)?)
            }
            Self::Int8 { threshold } => Quantized::Int8(Int8Weight::quantize(values, shape)?, threshold),
        })
    }
}

impl From<QuantConfig> for Quantize {
    fn from(config: QuantConfig) -> Self {
        Self::FourBit(config)
    }
}

/// A quantized weight.
#[derive(Clone, Debug)]
pub(crate) enum Quantized {
    FourBit(QuantState),
    Int8(Int8Weight, f32),
}

impl Quantized {
    /// A quantized weight as it was; `None` for a dense one.
    pub(crate) fn of(weight: &Weight) -> Result<Option<Self>, ModelError> {
        Ok(match weight {
            Weight::Dense(_) => None,
            Weight::FourBit(weight) => Some(Self::FourBit(weight.to_state()?)),
            Weight::EightBit(weight) => Some(Self::Int8(weight.to_int8()?, weight.threshold())),
        })
    }

    /// What `quantization_config` says of it.
    pub(crate) fn method(&self) -> QuantizationMethod {
        match self {
            Self::FourBit(state) => QuantizationMethod::FourBit {
                quant_type: state.quant_type(),
                double_quant: matches!(state.absmax(), Absmax::Nested { .. }),
            },
            Self::Int8(_, threshold) => QuantizationMethod::Int8 { threshold: *threshold },
        }
    }

    /// The weight on a device.
    pub(crate) fn to_weight(&self, device: &Device) -> Weight {
        match self {
            Self::FourBit(state) => Weight::FourBit(FourBitWeight::from_state(state, device)),
            Self::Int8(weight, threshold) => {
                Weight::EightBit(EightBitWeight::from_int8(weight, device).with_threshold(*threshold))
            }
        }
    }

    /// One scale per block or row, double quantization undone.
    pub(crate) fn absmax(&self) -> Vec<f32> {
        match self {
            Self::FourBit(state) => state.absmax_values(),
            Self::Int8(weight, _) => weight.absmax().to_vec(),
        }
    }

    /// Restores the elements from `start` on; `absmax` is [`Quantized::absmax`].
    pub(crate) fn dequantize_range(&self, absmax: &[f32], start: usize, out: &mut [f32]) {
        match self {
            Self::FourBit(state) => {
                let (packed, block_size) = (state.packed(), state.block_size());
                state.quant_type().dequantize_range(packed, absmax, block_size, start, out);
            }
            Self::Int8(weight, _) => weight.dequantize_range(start, out),
        }
    }

    /// bitsandbytes' tensors of the module at `path`, in its order.
    pub(crate) fn to_tensors(&self, path: &str) -> Vec<(String, RawTensor)> {
        match self {
            Self::FourBit(state) => state.to_tensors(&format!("{path}.weight")),
            Self::Int8(weight, _) => weight.to_tensors(path),
        }
    }
}
