use std::fmt;

/// The dtype of a [`RawTensor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RawDtype {
    /// Unsigned bytes.
    U8,
    /// Signed bytes: the codes of LLM.int8.
    I8,
    /// IEEE half precision. Only packed codes may have it (`bnb_4bit_quant_storage`): the same bytes under another
    /// name.
    F16,
    /// Brain floating point; as with [`RawDtype::F16`], only for packed codes.
    Bf16,
    /// 32-bit floating point.
    F32,
}

impl RawDtype {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

impl fmt::Display for RawDtype {
    /// The name in safetensors headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F32 => "F32",
        })
    }
}

/// A tensor as a file holds it: little-endian bytes, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// The element type.
    pub dtype: RawDtype,
    /// The shape.
    pub shape: Vec<usize>,
    /// The elements; the length is the product of the shape times the size of the dtype.
    pub data: Vec<u8>,
}

impl RawTensor {
    pub(crate) fn from_bytes(shape: Vec<usize>, data: Vec<u8>) -> Self {
        Self { dtype: RawDtype::U8, shape, data }
    }

    pub(crate) fn from_floats(values: &[f32]) -> Self {
        Self {
            dtype: RawDtype::F32,
            shape: vec![values.len()],
            data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    pub(crate) fn from_signed(shape: Vec<usize>, values: &[i8]) -> Self {
        Self { dtype: RawDtype::I8, shape, data: values.iter().map(|value| value.cast_unsigned()).collect() }
    }

    pub(crate) fn floats(&self) -> Vec<f32> {
        let (values, _) = self.data.as_chunks::<4>();
        values.iter().copied().map(f32::from_le_bytes).collect()
    }
}
