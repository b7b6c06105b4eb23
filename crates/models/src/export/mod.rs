//! Checkpoints made of checkpoints, and models in the formats of other programs.

mod gguf;
mod quantize;

pub use self::gguf::{
    GgmlType, GgufArray, GgufFile, GgufOptions, GgufReport, GgufTensor, GgufValue, export_gguf,
    export_gguf_adapter, write_gguf,
};
pub use self::quantize::{QuantizeReport, quantize_checkpoint};
