//! Numbers to fewer bits and back: NF4 and FP4, byte for byte as bitsandbytes writes them, 8-bit maps, LLM.int8, and
//! AdamW and Lion with their state in 8 bits.
//!
//! Slices in, slices out; the crate knows nothing of tensors, devices or files.
//! With AVX-512 or AVX2, found when the program runs, it is faster, to the same bits.
//!
//! # The format
//!
//! A weight `[out, in]` is flattened row by row and cut into blocks of [`QuantConfig::block_size`] elements, which run
//! across row ends. A block keeps its largest magnitude, `absmax`; every element `x` becomes the nearest of the 16
//! levels of [`NF4`] or [`FP4`] to `x * (1 / absmax)`, and two codes share a byte, the first in the high nibble:
//!
//! ```text
//! restored[i] = levels[code[i]] * absmax[i / block_size]
//! absmax[j]   = map[codes[j]] * nested_absmax[j / 256] + offset        (with double quantization)
//! ```
//!
//! That is 4 bits per weight and, with blocks of 64, another 0.5 for the absmax, or 0.127 with double quantization.
//! The 8-bit formats work alike: [`EightBitState`] has a code of a [`DynamicMap`] per value and an absmax per block,
//! [`Int8Weight`] an integer per value and an absmax per row.
//!
//! # Example
//!
//! ```
//! use burnisher_quant::{QuantConfig, QuantState, error_report};
//!
//! let weights: Vec<f32> = (0..128 * 96).map(|i| (i as f32 * 0.37).sin()).collect();
//! let state = QuantConfig::nf4().with_double_quant(true).quantize(&weights, [128, 96])?;
//! assert_eq!(state.packed().len(), 128 * 96 / 2);
//!
//! let restored = state.dequantize();
//! let report = error_report(&weights, &restored, state.block_size())?;
//! assert!(report.max_abs < 0.16);
//!
//! // The tensors of a bitsandbytes checkpoint, and back.
//! let name = "model.layers.0.self_attn.q_proj.weight";
//! let tensors = state.to_tensors(name);
//! let read = QuantState::from_tensors(name, |wanted| {
//!     tensors.iter().find(|(name, _)| name == wanted).map(|(_, tensor)| tensor.clone())
//! })?;
//! assert_eq!(read, state);
//! # Ok::<(), burnisher_quant::QuantError>(())
//! ```
//!
//! # Map
//!
//! | to | use |
//! |---|---|
//! | choose block size, double quantization, source dtype | [`QuantConfig`] |
//! | hold a quantized weight, restore it | [`QuantState`], [`Absmax`] |
//! | restore a part of a weight, f32 or bf16 | [`QuantType::dequantize_range`], [`QuantType::dequantize_range_bf16`] |
//! | read and write bitsandbytes' tensors | [`QuantState::from_tensors`], [`QuantState::to_tensors`], [`RawTensor`] |
//! | keep any values in 8 bits, block by block | [`EightBitState`], [`DynamicMap`] |
//! | train with an optimizer state in 8 bits | [`Adamw8bit`], [`Adamw8bitState`], [`Lion8bit`] |
//! | use LLM.int8 | [`Int8Weight`], [`quantize_rows`], [`outlier_columns`] |
//! | measure what was lost | [`error_report`], [`block_errors`], [`compare_encodings`] |
//! | check a faster implementation | [`QuantType::quantize_reference`], [`QuantType::dequantize_reference`] |

#![deny(missing_docs)]

mod adamw8bit;
mod blockwise;
mod codebook;
mod comparison;
mod config;
mod description;
mod double;
mod dynamic_map;
mod eight_bit;
mod error;
mod int8;
mod lion8bit;
mod raw;
mod reader;
mod report;
mod simd;
mod state;
mod tensors;

pub use adamw8bit::{Adamw8bit, Adamw8bitSlices, Adamw8bitState, DecayOrder};
pub use blockwise::{dequantize_range, dequantize_range_bf16, dequantize_reference, quantize_reference};
pub use codebook::{FP4, FP4_ORDER, FP4_THRESHOLDS, NF4, NF4_THRESHOLDS};
pub use comparison::{Encoding, EncodingReport, compare_encodings};
pub use config::{QuantConfig, QuantType, SourceDtype};
pub use double::{Absmax, NESTED_BLOCK_SIZE};
pub use dynamic_map::{DynamicMap, dynamic_map_signed, dynamic_map_unsigned};
pub use eight_bit::{EightBitState, quantize_8bit_reference};
pub use error::QuantError;
pub use int8::{INT8_PRODUCT_STEP, Int8Rows, Int8Weight, outlier_columns, quantize_rows};
pub use lion8bit::Lion8bit;
pub use raw::{RawDtype, RawTensor};
pub use report::{BlockError, ErrorReport, block_errors, error_report};
pub use state::QuantState;
