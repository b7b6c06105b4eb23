//! Decoder language models on Burn, read from and written as Hugging Face directories.
//!
//! One generic decoder (RMSNorm, rotary positions, grouped-query attention, gated MLP, sliding
//! windows, soft caps, tied or free head) serves all families; a family ([`Family`]) is a row of
//! differences.
//! [`CausalLm::from_pretrained`] memory-maps the weights; projections can be quantized while
//! loading, and adapters attach through `burnisher_lora`.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use burnisher_data::Tokenizer;
//! use burnisher_models::{CausalLm, GenerateConfig, LoadConfig};
//!
//! let dir = "llama-3.2-1b";
//! let model = CausalLm::from_pretrained(dir, &LoadConfig::new(), &Device::flex())?;
//! let tokenizer = Tokenizer::from_dir(dir)?;
//! let text = model.generate(&tokenizer, "Rust is", &GenerateConfig::new().with_max_new_tokens(32))?;
//! # Ok::<(), burnisher_models::ModelError>(())
//! ```
#![deny(missing_docs)]

mod attention;
mod build;
mod checkpoint;
mod checkpointing;
mod config;
mod decoder;
mod error;
mod export;
mod families;
mod generate;
mod init;
mod kv_cache;
mod layout;
mod likelihood;
mod load;
mod mlp;
mod quantize;
mod rope;
mod sample;
mod save;
mod virtual_tokens;
mod writer;

pub use crate::{
    checkpoint::{Checkpoint, CheckpointDtype, ExpectedTensor, Presence, TensorEntry},
    checkpointing::GradientCheckpointing,
    config::{
        Family, GenerationConfig, LayerType, LlamaShape, ModelConfig, QuantizationConfig, QuantizationMethod,
        RopeConfig, RopeScaling,
    },
    decoder::{CausalLm, ModelInput},
    error::{CheckpointProblem, ConfigProblem, ModelError},
    export::{
        ExportOptions, ExportReport, GgmlType, GgufArray, GgufFile, GgufOptions, GgufReport, GgufTensor,
        GgufValue, QuantizeReport, export_gguf, export_gguf_adapter, export_model, quantize_checkpoint,
        write_gguf,
    },
    generate::{GenerateConfig, stop_ids},
    likelihood::{Continuation, ContinuationLikelihood},
    load::{ComputeDtype, LoadConfig},
    quantize::Quantize,
    sample::{SampleConfig, Sampling},
    writer::{
        CheckpointWriter, TensorSpec, WriteOptions, copy_tokenizer_files, write_checkpoint, write_config,
        write_safetensors,
    },
};
