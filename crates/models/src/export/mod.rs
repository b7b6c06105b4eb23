//! Models in the formats of other programs.

mod gguf;

pub use self::gguf::{
    GgmlType, GgufArray, GgufFile, GgufOptions, GgufReport, GgufTensor, GgufValue, export_gguf,
    export_gguf_adapter, write_gguf,
};
