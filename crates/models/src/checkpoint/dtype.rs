//! The numbers a checkpoint's tensors are stored in.

use std::fmt;

use safetensors::Dtype;

/// The dtype of a stored tensor: the safetensors dtypes whose elements are whole bytes and that Burn has too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckpointDtype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned byte; also the packed bytes of a 4-bit weight.
    U8,
    /// Signed byte.
    I8,
    /// Unsigned, 2 bytes.
    U16,
    /// Signed, 2 bytes.
    I16,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// Unsigned, 4 bytes.
    U32,
    /// Signed, 4 bytes.
    I32,
    /// IEEE single precision.
    F32,
    /// Unsigned, 8 bytes.
    U64,
    /// Signed, 8 bytes.
    I64,
    /// IEEE double precision.
    F64,
}

const ALL: [CheckpointDtype; 13] = [
    CheckpointDtype::Bool,
    CheckpointDtype::U8,
    CheckpointDtype::I8,
    CheckpointDtype::U16,
    CheckpointDtype::I16,
    CheckpointDtype::F16,
    CheckpointDtype::BF16,
    CheckpointDtype::U32,
    CheckpointDtype::I32,
    CheckpointDtype::F32,
    CheckpointDtype::U64,
    CheckpointDtype::I64,
    CheckpointDtype::F64,
];

/// transformers' names, in `dtype` (v5) and `torch_dtype` (v4) of a config.json.
const CONFIG_NAMES: [(CheckpointDtype, &str); 3] = [
    (CheckpointDtype::F32, "float32"),
    (CheckpointDtype::F16, "float16"),
    (CheckpointDtype::BF16, "bfloat16"),
];

impl CheckpointDtype {
    /// The bytes of one element; also its alignment.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether a model's weight can be stored so: f32, f16 or bf16.
    pub const fn is_weight(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// The name transformers writes into config.json (`bfloat16`); `None` for what no model computes in.
    pub fn config_name(self) -> Option<&'static str> {
        CONFIG_NAMES.iter().find(|(dtype, _)| *dtype == self).map(|(_, name)| *name)
    }

    /// The dtype of transformers' name, with or without torch's prefix.
    pub(crate) fn from_config_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        CONFIG_NAMES.iter().find(|(_, known)| *known == name).map(|(dtype, _)| *dtype)
    }

    pub(crate) fn from_safetensors(dtype: Dtype) -> Option<Self> {
        ALL.into_iter().find(|ours| ours.to_safetensors() == dtype)
    }

    pub(crate) fn to_safetensors(self) -> Dtype {
        match self {
            Self::Bool => Dtype::BOOL,
            Self::U8 => Dtype::U8,
            Self::I8 => Dtype::I8,
            Self::U16 => Dtype::U16,
            Self::I16 => Dtype::I16,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
            Self::U32 => Dtype::U32,
            Self::I32 => Dtype::I32,
            Self::F32 => Dtype::F32,
            Self::U64 => Dtype::U64,
            Self::I64 => Dtype::I64,
            Self::F64 => Dtype::F64,
        }
    }

    /// Every name, for messages.
    pub(crate) fn names() -> String {
        ALL.map(|dtype| dtype.to_string()).join(", ")
    }
}

/// Writes safetensors' name: `BF16`.
impl fmt::Display for CheckpointDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_safetensors().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_keeps_its_name_and_size() {
        for ours in ALL {
            let theirs = ours.to_safetensors();
            assert_eq!(CheckpointDtype::from_safetensors(theirs), Some(ours));
            assert_eq!(ours.size() * 8, theirs.bitsize(), "{ours}");
        }
        for (dtype, name) in CONFIG_NAMES {
            assert!(dtype.is_weight());
            assert_eq!(dtype.config_name(), Some(name));
            assert_eq!(CheckpointDtype::from_config_name(name), Some(dtype));
        }
        assert_eq!(CheckpointDtype::from_config_name("torch.bfloat16"), Some(CheckpointDtype::BF16));
        assert_eq!(CheckpointDtype::from_config_name("int8"), None);
    }
}
