//! Checkpoints made of checkpoints, and models in the formats of other programs.

mod gguf;
mod model;
mod quantize;

pub use self::gguf::{
    GgmlType, GgufArray, GgufFile, GgufOptions, GgufReport, GgufTensor, GgufValue, export_gguf,
    export_gguf_adapter, write_gguf,
};
pub use self::model::{ExportOptions, ExportReport, export_model};
pub use self::quantize::{QuantizeReport, quantize_checkpoint};
