//! LoRA adapters for Burn models: attach, run, merge, and exchange with PEFT.
//!
//! A model lists its places through [`Adaptable`]; [`attach`] freezes it and adds trainable factors to
//! the modules a [`LoraConfig`] chooses. The adapter runs beside the base, `y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ`:
//! no `W + s·B·A` is ever formed, the base may be dense or 4-bit, and only `A` and `B` get gradients.
//! [`save_peft`] and [`load_peft`] write and read PEFT's directories; [`merge`] folds adapters into the
//! weights and [`unmerge`] takes them out again.
//!
//! How an adapter starts is [`InitLoraWeights`]; [`attach_eva`] starts one from data. PiSSA, OLoRA and LoftQ change the
//! base: [`save_peft_converted`] saves such an adapter as a plain one. [`combine`] makes one adapter from several;
//! [`PeftFiles::read_mlx`] and [`PeftFiles::write_mlx`] exchange adapters with mlx-lm; [`obstacles`] says what other
//! programs do not run.
//!
//! ```
//! use burnisher_lora::{LoraConfig, TargetModules};
//!
//! let config = LoraConfig::new(8)
//!     .with_lora_alpha(16.0)
//!     .with_target_modules(TargetModules::suffixes(["q_proj", "v_proj"]));
//! assert_eq!(config.scaling_for("model.layers.0.self_attn.q_proj").unwrap(), (8, 2.0));
//! ```
#![deny(missing_docs)]

mod adapter;
mod attach;
mod combine;
mod config;
mod config_json;
mod embedding;
mod error;
mod init;
mod linalg;
mod matcher;
mod merge;
mod mlx;
mod parameters;
mod peft;
mod portable;
mod projection;
mod target;

pub use crate::{
    adapter::LoraAdapter,
    attach::{AttachReport, attach, load_peft, save_peft},
    combine::{CombinationType, CombineArithmetic, CombineConfig, MajoritySign, combine},
    config::{Bias, InitLoraWeights, LoraConfig},
    embedding::Embedding,
    error::{LoraError, Problem, ShapeProblem, TensorProblems, UnsupportedField},
    init::{Eva, EvaConfig, EvaStart, LoftqConfig, attach_eva, initial_adapter, save_peft_converted},
    merge::{merge, merge_and_unload, unmerge},
    parameters::{Adaptable, ParameterMut, Site, count_parameters, modules, train_all, visit_parameters},
    peft::{AdapterDtype, AdapterTensor, PeftFiles},
    portable::{Obstacle, Outcome, Runtime, obstacles},
    projection::{Projection, Weight},
    target::{AdaptedModule, AdapterPlan, ModuleInfo, ModuleKind, TargetModules, plan, trainable_summary},
};
