//! Adapters for Burn models: attach, run, merge, and exchange with PEFT.
//!
//! | method | configuration | what is trained |
//! |---|---|---|
//! | LoRA, rsLoRA | [`LoraConfig`] | `A` and `B`: the weight becomes `W + s·B·A` |
//! | DoRA | [`LoraConfig::with_use_dora`] | a norm for every row of `W + s·B·A` besides |
//! | LoRA-FA | [`LoraConfig::with_lora_fa`] | `B` |
//! | rows of the embedding | [`LoraConfig::with_trainable_token_indices`] | the rows of some tokens |
//! | (IA)³ | [`Ia3Config`] | a vector that multiplies activations |
//! | VeRA | [`VeraConfig`] | two vectors between random matrices that all modules share |
//! | AdaLoRA | [`AdaLoraConfig`] | `A`, `B` and singular values `E` between them, ever fewer: `W + s·B·diag(E)·A` |
//! | prompt tuning | [`PromptTuningConfig`] | embeddings before those of every text |
//! | prefix tuning | [`PrefixTuningConfig`] | keys and values before those of every text, in every layer |
//! | BitFit, last layers, all | [`train_biases`], [`train_last_layers`], [`train_all`] | the model's own parameters |
//!
//! A model lists its places through [`Adaptable`]; [`attach`] freezes it and adds trainable parameters to the modules
//! that an [`AdapterConfig`] chooses. The adapter runs beside the base: no `W + s·B·A` is ever formed, the base may be
//! dense or 4-bit, and only the adapter gets gradients. [`save_peft`] and [`load_peft`] write and read PEFT's
//! directories; [`merge`] folds adapters into the weights and [`unmerge`] takes them out again.
//!
//! A model may hold several adapters by name, one of them in use, several added up, or another for every row of a batch:
//! [`add_adapter`], [`load_adapter`], [`set_adapters`], [`with_row_adapters`], [`hotswap_adapter`].
//!
//! Any other Burn module, with `nn::Linear` and `nn::Embedding` and no code of this crate in it, goes through
//! [`attach_to_module`], [`save_module_peft`], [`load_module_peft`], [`merge_module`] and [`detach_module`].
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

mod adalora_config;
mod adapter;
mod adapter_config;
mod any;
mod attach;
mod checked_plan;
mod combine;
mod config;
mod config_json;
mod embedding;
mod error;
mod fingerprint;
mod ia3_config;
mod init;
mod linalg;
mod make;
mod matcher;
mod merge;
mod mlx;
mod parameters;
mod peft;
mod peft_fields;
mod portable;
mod prefix_tuning_config;
mod projection;
mod prompt_tuning_config;
mod rank_pattern;
mod several;
mod target;
mod torch_random;
mod trained;
mod vera_config;
mod virtual_tokens;

pub use crate::{
    adalora_config::AdaLoraConfig,
    adapter::{
        AdaLoraAdapter, Adapter, DoraAdapter, EmbeddingAdapter, Ia3Adapter, LoraAdapter, LoraEmbedding,
        TrainableTokens, VeraAdapter,
    },
    adapter_config::AdapterConfig,
    any::{
        ModuleLora, attach_to_module, detach_module, load_module_peft, lora_embedding_forward, lora_forward,
        merge_module, save_module_peft, without_adapters,
    },
    attach::{AttachReport, attach, load_peft, save_peft},
    combine::{CombinationType, CombineArithmetic, CombineConfig, MajoritySign, combine},
    config::{Bias, InitLoraWeights, LoraConfig},
    embedding::Embedding,
    error::{LoraError, Problem, ShapeProblem, TensorProblems, UnsupportedField},
    ia3_config::Ia3Config,
    init::{Eva, EvaConfig, EvaStart, LoftqConfig, attach_eva, initial_adapter, save_peft_converted},
    merge::{merge, merge_and_unload, unmerge},
    parameters::{Adaptable, ParameterMut, Site, count_parameters, modules, visit_parameters},
    peft::{AdapterDtype, AdapterTensor, PeftFiles},
    portable::{Obstacle, Outcome, Runtime, obstacles},
    prefix_tuning_config::PrefixTuningConfig,
    projection::{Projection, Weight},
    prompt_tuning_config::{PromptTuningConfig, PromptTuningInit},
    several::{
        active_adapters, adapter_config, adapter_names, add_adapter, check_rows, delete_adapter,
        disable_adapters, hotswap_adapter, load_adapter, merge_adapters, save_adapter, set_adapters,
        train_adapter, with_row_adapters, without_row_adapters,
    },
    target::{AdaptedModule, AdapterPlan, ModuleInfo, ModuleKind, TargetModules, plan, trainable_summary},
    trained::{train_all, train_biases, train_last_layers},
    vera_config::VeraConfig,
    virtual_tokens::{VirtualTokenKind, VirtualTokenShape, VirtualTokens},
};
