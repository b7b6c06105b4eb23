use crate::blockwise;
use crate::double::{Absmax, nest};
use crate::error::QuantError;
use crate::state::{QuantState, element_count};

/// The 4-bit code of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QuantType {
    /// NormalFloat: the levels of [`NF4`](crate::NF4).
    Nf4,
    /// bitsandbytes' own 4-bit float: the levels of [`FP4`](crate::FP4).
    Fp4,
}

impl QuantType {
    /// Every code, for reading names.
    pub(crate) const ALL: [Self; 2] = [Self::Nf4, Self::Fp4];

    /// The name in bitsandbytes' files: `nf4` or `fp4`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
        }
    }
}

/// The dtype that a weight had before it was quantized, and to which bitsandbytes casts what it restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceDtype {
    /// 32-bit floating point.
    F32,
    /// Brain floating point, 16 bits.
    Bf16,
    /// IEEE half precision, 16 bits.
    F16,
}

impl SourceDtype {
    /// Every dtype, for reading names.
    pub(crate) const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The name in bitsandbytes' files: `float32`, `bfloat16` or `float16`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// `value` rounded to this dtype (to nearest, ties to even).
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::Bf16 => half::bf16::from_f32(value).to_f32(),
            Self::F16 => half::f16::from_f32(value).to_f32(),
        }
    }
}

/// How to quantize a weight.
///
/// | field | default | bitsandbytes |
/// |---|---|---|
/// | `quant_type` | none | `bnb_4bit_quant_type`, fp4 there |
/// | `block_size` | 64 | 64 |
/// | `double_quant` | false | `bnb_4bit_use_double_quant`, false in transformers |
/// | `source_dtype` | f32 | the dtype of the weight |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuantConfig {
    /// The 4-bit code.
    pub quant_type: QuantType,
    /// Elements that share an absmax: a power of two from 32 to 4096.
    pub block_size: usize,
    /// Whether the absmax are quantized to 8 bits, in blocks of 256.
    pub double_quant: bool,
    /// The dtype recorded in the state; the arithmetic is f32 in any case.
    pub source_dtype: SourceDtype,
}

impl QuantConfig {
    /// NF4 in blocks of 64, without double quantization, from f32.
    pub fn nf4() -> Self {
        Self::new(QuantType::Nf4)
    }

    /// FP4 in blocks of 64, without double quantization, from f32.
    pub fn fp4() -> Self {
        Self::new(QuantType::Fp4)
    }

    /// A code in blocks of 64, without double quantization, from f32.
    pub fn new(quant_type: QuantType) -> Self {
        Self { quant_type, block_size: 64, double_quant: false, source_dtype: SourceDtype::F32 }
    }

    /// Sets the number of elements that share an absmax.
    pub fn with_block_size(mut self, block_size: usize) -> Self {
        self.block_size = block_size;
        self
    }

    /// Turns double quantization on or off.
    pub fn with_double_quant(mut self, double_quant: bool) -> Self {
        self.double_quant = double_quant;
        self
    }

    /// Sets the dtype that the weight had before it was widened to f32.
    pub fn with_source_dtype(mut self, source_dtype: SourceDtype) -> Self {
        self.source_dtype = source_dtype;
        self
    }

    /// Checks the block size.
    ///
    /// # Errors
    ///
    /// [`QuantError::BlockSize`] unless it is a power of two from 32 to 4096.
    pub fn validate(&self) -> Result<(), QuantError> {
        check_block_size("weight", self.block_size)
    }

    /// Quantizes a flattened weight `[out, in]`, row-major, on all threads of the current rayon pool.
    ///
    /// The bytes are those of bitsandbytes' `quantize_4bit` on the CPU; see [`QuantType::quantize_reference`].
    ///
    /// # Errors
    ///
    /// A wrong block size, a shape whose product overflows or differs from the number of weights, and
    /// [`QuantError::NotFinite`] with the index of the first NaN or infinity.
    pub fn quantize(&self, weights: &[f32], shape: [usize; 2]) -> Result<QuantState, QuantError> {
        self.validate()?;
        let wanted = element_count(shape)?;
        if weights.len() != wanted {
            return Err(QuantError::Length { what: "weights", found: weights.len(), wanted });
        }
        let (packed, absmax) = blockwise::quantize(self.quant_type, weights, self.block_size);
        if let Some(block) = absmax.iter().position(|value| !value.is_finite()) {
            check_finite("weights", weights, block * self.block_size)?;
        }
        let absmax = if self.double_quant { nest(&absmax) } else { Absmax::Plain(absmax) };
        QuantState::new(self.quant_type, packed, absmax, shape, self.block_size, self.source_dtype)
    }
}

/// `what` names whose block size it is.
pub(crate) fn check_block_size(what: &'static str, found: usize) -> Result<(), QuantError> {
    if found.is_power_of_two() && (32..=4096).contains(&found) {
        Ok(())
    } else {
        Err(QuantError::BlockSize { what, found })
    }
}

/// Names the first value from `start` on that is NaN or infinite.
pub(crate) fn check_finite(what: &str, values: &[f32], start: usize) -> Result<(), QuantError> {
    match values[start..].iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(position) => Err(QuantError::NotFinite {
            what: what.to_owned(),
            index: start + position,
            value: values[start + position],
        }),
    }
}
