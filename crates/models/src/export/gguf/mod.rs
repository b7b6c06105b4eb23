//! GGUF, the file format of llama.cpp and what is built on it.
//!
//! ```text
//! "GGUF", version, count of tensors, count of metadata entries
//! metadata: key, type, value
//! tensors: name, count of dimensions, dimensions (the fastest first), type, offset of the data
//! padding, then each tensor's data, padded to the alignment
//! ```
//!
//! All numbers are little endian; strings are a length of 8 bytes and UTF-8. The writer writes version 3 and the reader
//! takes versions 2 and 3, which differ in the byte order that they allow (ggml/docs/gguf.md). Names and keys are those
//! that llama.cpp's convert_hf_to_gguf.py and convert_lora_to_gguf.py give (state of 2026).

mod adapter;
mod architecture;
mod convert;
mod dtype;
mod model;
mod q8_0;
mod read;
mod split;
mod tokens;
mod value;
mod vocabulary;
mod write;

pub use self::{
    adapter::export_gguf_adapter,
    dtype::GgmlType,
    model::{GgufOptions, GgufReport, export_gguf},
    read::GgufFile,
    value::{GgufArray, GgufValue},
    write::{GgufTensor, write_gguf},
};

/// The key of the alignment of tensor data, for which [`DEFAULT_ALIGNMENT`] stands where it is absent.
const ALIGNMENT_KEY: &str = "general.alignment";

/// Tensor data begins at multiples of this.
const DEFAULT_ALIGNMENT: usize = 32;

/// ggml's limit on the dimensions of a tensor (`GGML_MAX_DIMS`).
const MAX_DIMS: usize = 4;

/// ggml's limit on a tensor's name in bytes (`GGML_MAX_NAME` less the final NUL).
const MAX_NAME: usize = 63;

/// The alignment that metadata asks for: a power of two, in a u32. `None` for anything else.
fn alignment(metadata: &[(String, GgufValue)]) -> Option<usize> {
    match metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) {
        None => Some(DEFAULT_ALIGNMENT),
        Some((_, GgufValue::U32(alignment))) => {
            Some(*alignment as usize).filter(|size| size.is_power_of_two())
        }
        Some(_) => None,
    }
}
