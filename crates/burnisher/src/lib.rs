//! Fine-tuning for Burn: LoRA, QLoRA and full fine-tuning of language models in Rust.
//!
//! | module | crate | what it does |
//! |---|---|---|
//! | [`quant`] | `burnisher-quant` | numbers to fewer bits and back: NF4 with double quantization |
//! | [`data`] | `burnisher-data` | files to clean records to token batches: templates, masks, packing, splits, leaks |
//! | [`eval`] | `burnisher-eval` | metrics over strings and numbers |
//! | `review` | `burnisher-review` | human evaluation: a blind judging page, its log, results; needs the feature `review` |
//! | [`kernels`] | `burnisher-kernels` | differentiable operations, each with a reference |
//! | [`lora`] | `burnisher-lora` | adapters: attach, run, merge, exchange with PEFT |
//! | [`models`] | `burnisher-models` | Llama, Mistral, Gemma, Qwen and Phi from Hugging Face directories; generation |
//! | [`train`] | `burnisher-train` | the trainer: accumulation, AdamW, schedules, checkpoints, resuming |
//!
//! Each crate can be used alone. A backend is a feature here (`flex`, the default, `ndarray`, `wgpu`,
//! `vulkan`, `metal`, `cuda`, `rocm`); library code takes a `Device` and never chooses one.
//!
//! # Quick start
//!
//! ```
//! use burnisher::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = std::env::temp_dir().join(format!("burnisher-doc-{}", std::process::id()));
//! // A tiny model from scratch; `CausalLm::from_pretrained` reads a Hugging Face directory instead.
//! let device = Device::flex();
//! let shape = LlamaShape {
//!     vocab_size: 64,
//!     hidden_size: 32,
//!     intermediate_size: 64,
//!     num_hidden_layers: 2,
//!     num_attention_heads: 4,
//!     num_key_value_heads: 2,
//!     ..LlamaShape::default()
//! };
//! let model = CausalLm::init(ModelConfig::llama(shape)?, 1, &device)?;
//!
//! // Freeze it and attach a LoRA adapter to the query and value projections.
//! let lora = LoraConfig::new(4).with_target_modules(TargetModules::suffixes(["q_proj", "v_proj"]));
//! let (model, report) = attach(&lora, model, 42, &device)?;
//! println!("{report}");
//!
//! // Train it on token ids (records, templates and masks are in `burnisher::data`).
//! let documents = (0..8).map(|i| Encoded::new(vec![3, 4, 5 + i], vec![false, true, true], u64::from(i)));
//! let rows = pack(documents.collect(), 16, Packing::BestFit);
//! let mut config = TrainConfig::default();
//! config.output_dir = scratch.clone();
//! config.max_steps = Some(2);
//! let outcome = Trainer::new(config).train(model, &Batches::new(rows, BatchConfig::new(0)), None)?;
//!
//! // A directory that PEFT reads.
//! save_peft(&outcome.model, &lora, scratch.join("adapter"))?;
//! # std::fs::remove_dir_all(scratch)?;
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

pub use burnisher_data as data;
pub use burnisher_eval as eval;
pub use burnisher_kernels as kernels;
pub use burnisher_lora as lora;
pub use burnisher_models as models;
pub use burnisher_quant as quant;
#[cfg(feature = "review")]
pub use burnisher_review as review;
pub use burnisher_train as train;

/// The names that most programs use.
pub mod prelude {
    pub use burn::tensor::Device;
    pub use burnisher_data::{BatchConfig, Batches, Encoded, Packing, Tokenizer, pack};
    pub use burnisher_lora::{LoraConfig, TargetModules, attach, load_peft, merge_and_unload, save_peft};
    pub use burnisher_models::{CausalLm, GenerateConfig, LlamaShape, LoadConfig, ModelConfig};
    pub use burnisher_quant::QuantConfig;
    pub use burnisher_train::{Observer, Progress, RunConfig, TrainConfig, Trainer, run};
}

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
