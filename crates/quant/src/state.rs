use std::borrow::Cow;
use std::fmt;

use crate::blockwise;
use crate::config::{QuantType, SourceDtype, check_block_size, check_finite};
use crate::double::Absmax;
use crate::error::QuantError;

/// A weight `[out, in]` in 4 bits: packed codes and the absmax of every block.
///
/// Made by [`QuantConfig::quantize`](crate::QuantConfig::quantize), from its parts by [`QuantState::new`], or from a
/// checkpoint by [`QuantState::from_tensors`]. All lengths fit each other and all scales are finite.
#[derive(Clone, PartialEq)]
pub struct QuantState {
    quant_type: QuantType,
    packed: Vec<u8>,
    absmax: Absmax,
    shape: [usize; 2],
    block_size: usize,
    source_dtype: SourceDtype,
}

impl QuantState {
    /// Puts a state together and checks that the parts fit.
    ///
    /// With `n = out * in`: `packed` holds `ceil(n / 2)` bytes, the first code of each in the high nibble; `absmax` has
    /// `ceil(n / block_size)` blocks, and a nested one `ceil(blocks / 256)` scales (for nested blocks of 256).
    ///
    /// # Errors
    ///
    /// The first thing that does not fit: a block size, the product of the shape, a length, or a scale that is not
    /// finite.
    pub fn new(
        quant_type: QuantType,
        packed: Vec<u8>,
        absmax: Absmax,
        shape: [usize; 2],
        block_size: usize,
        source_dtype: SourceDtype,
    ) -> Result<Self, QuantError> {
        check_block_size("weight", block_size)?;
        let count = element_count(shape)?;
        check_length("packed bytes", packed.len(), count.div_ceil(2))?;
        check_length("absmax", absmax.blocks(), count.div_ceil(block_size))?;
        match &absmax {
            Absmax::Plain(values) => check_finite("absmax", values, 0)?,
            Absmax::Nested { codes, nested_absmax, offset, block_size } => {
                check_block_size("nested absmax", *block_size)?;
                let scales = codes.len().div_ceil(*block_size);
                check_length("nested absmax", nested_absmax.len(), scales)?;
                check_finite("nested absmax", nested_absmax, 0)?;
                check_finite("nested offset", &[*offset], 0)?;
            }
        }
        Ok(Self { quant_type, packed, absmax, shape, block_size, source_dtype })
    }

    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Two codes per byte, the first in the high nibble; an odd count leaves the last low nibble unused.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The absmax as they are stored.
    pub fn absmax(&self) -> &Absmax {
        &self.absmax
    }

    /// One f32 per block: the absmax, restored if they are nested.
    pub fn absmax_values(&self) -> Vec<f32> {
        self.absmax.values()
    }

    /// Elements that share an absmax.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// The 4-bit code.
    pub fn quant_type(&self) -> QuantType {
        self.quant_type
    }

    /// The dtype that the weight had before it was quantized.
    pub fn source_dtype(&self) -> SourceDtype {
        self.source_dtype
    }

    /// The number of elements of the weight.
    pub fn count(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// The bytes of codes and absmax together.
    pub fn size_bytes(&self) -> usize {
        self.packed.len() + self.absmax.size_bytes()
    }

    /// The restored weight `[out, in]`, row-major, in f32.
    ///
    /// bitsandbytes casts these values to the source dtype; [`SourceDtype::round`] does the same.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.count()];
        self.restore(&mut out);
        out
    }

    /// Restores the weight into `out`, on all threads of the current rayon pool.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] unless `out` holds exactly `out * in` elements.
    pub fn dequantize_into(&self, out: &mut [f32]) -> Result<(), QuantError> {
        check_length("output of dequantize_into", out.len(), self.count())?;
        self.restore(out);
        Ok(())
    }

    /// Restores the weight into `out` as bits of bfloat16, on all threads of the current rayon pool.
    ///
    /// The values of [`dequantize`](Self::dequantize), rounded to nearest, ties to even.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] unless `out` holds exactly `out * in` elements.
    pub fn dequantize_bf16_into(&self, out: &mut [u16]) -> Result<(), QuantError> {
        check_length("output of dequantize_bf16_into", out.len(), self.count())?;
        blockwise::dequantize_bf16(self.quant_type, &self.packed, &self.scales(), self.block_size, out);
        Ok(())
    }

    fn restore(&self, out: &mut [f32]) {
        blockwise::dequantize(self.quant_type, &self.packed, &self.scales(), self.block_size, out);
    }

    /// The absmax, copied only where they have to be restored.
    fn scales(&self) -> Cow<'_, [f32]> {
        match &self.absmax {
            Absmax::Plain(values) => Cow::Borrowed(values),
            nested => Cow::Owned(nested.values()),
        }
    }
}

impl fmt::Debug for QuantState {
    /// Without the codes: a weight has millions of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuantState")
            .field("quant_type", &self.quant_type)
            .field("shape", &self.shape)
            .field("block_size", &self.block_size)
            .field("double_quant", &matches!(self.absmax, Absmax::Nested { .. }))
            .field("source_dtype", &self.source_dtype)
            .finish_non_exhaustive()
    }
}

/// The product of a shape.
pub(crate) fn element_count(shape: [usize; 2]) -> Result<usize, QuantError> {
    shape[0].checked_mul(shape[1]).ok_or(QuantError::ShapeOverflow { shape })
}

pub(crate) fn check_length(what: &'static str, found: usize, wanted: usize) -> Result<(), QuantError> {
    if found == wanted { Ok(()) } else { Err(QuantError::Length { what, found, wanted }) }
}
