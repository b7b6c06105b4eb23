//! The section `lora` of a run file.

use serde::{Deserialize, Serialize};

use super::ordered_map;

/// The section `lora`: the adapter, with PEFT's fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LoraSection {
    /// The method; `full` trains every parameter of the model, as if this section were absent. A field that a method
    /// does not have must keep its default. Default `lora`.
    pub method: TrainingMethod,
    /// Rank of the adapters. Default 8.
    pub r: usize,
    /// The adapter is scaled by `lora_alpha / r`, or by `lora_alpha / √r` with `use_rslora`. Default 16.
    pub lora_alpha: f64,
    /// Probability with which an input of the adapter is dropped in training, in [0, 1). Default 0.05.
    pub lora_dropout: f64,
    /// Adapted modules. Default: PEFT's for the architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<Targets>,
    /// Modules that are not adapted although `target_modules` names them. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<Targets>,
    /// Layers to adapt, counted from 0. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_to_transform: Option<Vec<usize>>,
    /// Other ranks: regular expression at the end of a module's path = rank; the first match counts.
    #[serde(with = "ordered_map")]
    pub rank_pattern: Vec<(String, usize)>,
    /// Other alphas, as `rank_pattern`.
    #[serde(with = "ordered_map")]
    pub alpha_pattern: Vec<(String, f64)>,
    /// Which biases of the base model are trained. Default `none`.
    pub bias: BiasMode,
    /// Whether the scale is `lora_alpha / √r` (rank-stabilised LoRA). Default false.
    pub use_rslora: bool,
    /// Whether the rows of the adapted weights get trained norms (DoRA). Default false.
    pub use_dora: bool,
    /// Whether `B` has a trained bias. Default false.
    pub lora_bias: bool,
    /// Whether only `B` is trained (LoRA-FA): less memory. Default false.
    pub lora_fa: bool,
    /// What the adapter starts with. Default `kaiming`: the model starts unchanged.
    pub init_lora_weights: AdapterStart,
    /// Tokens whose rows of the embedding are trained. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trainable_token_indices: Option<Vec<u32>>,
    /// Modules that are trained whole and saved with the adapter. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules_to_save: Option<Vec<String>>,
    /// (IA)³: targets whose input is multiplied, not their output. Default: PEFT's for the architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedforward_modules: Option<Targets>,
    /// VeRA: what every element of `λ_d` starts with. Default 0.1.
    pub d_initial: f64,
    /// VeRA: seed of the matrices that all modules share. Default 0.
    pub projection_prng_key: u64,
    /// VeRA: whether those matrices are saved with the adapter. Default true.
    pub save_projection: bool,
    /// AdaLoRA: rank of every module at first; `r` is not used. Default 12.
    pub init_r: usize,
    /// AdaLoRA: mean rank of the modules in the end. Default 8.
    pub target_r: usize,
    /// AdaLoRA: steps before ranks are first reduced. Default 0.
    pub tinit: u64,
    /// AdaLoRA: steps after they are reduced for the last time. Default 0.
    pub tfinal: u64,
    /// AdaLoRA: steps between two reductions. Default 1.
    #[serde(rename = "deltaT")]
    pub delta_t: u64,
    /// AdaLoRA: how much of the smoothed sensitivity is kept in a step. Default 0.85.
    pub beta1: f64,
    /// AdaLoRA: how much of the smoothed uncertainty is kept in a step. Default 0.85.
    pub beta2: f64,
    /// AdaLoRA: weight in the loss of the vectors' distance from orthonormal ones. Default 0.5.
    pub orth_reg_weight: f64,
    /// Prompt tuning and prefix tuning: how many trained tokens stand before a text. Default 20.
    pub num_virtual_tokens: usize,
}

impl Default for LoraSection {
    fn default() -> Self {
        Self {
            method: TrainingMethod::Lora,
            r: 8,
            lora_alpha: 16.0,
            lora_dropout: 0.05,
            target_modules: None,
            exclude_modules: None,
            layers_to_transform: None,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            bias: BiasMode::None,
            use_rslora: false,
            use_dora: false,
            lora_bias: false,
            lora_fa: false,
            init_lora_weights: AdapterStart::Kaiming,
            trainable_token_indices: None,
            modules_to_save: None,
            feedforward_modules: None,
            d_initial: 0.1,
            projection_prng_key: 0,
            save_projection: true,
            init_r: 12,
            target_r: 8,
            tinit: 0,
            tfinal: 0,
            delta_t: 1,
            beta1: 0.85,
            beta2: 0.85,
            orth_reg_weight: 0.5,
            num_virtual_tokens: 20,
        }
    }
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TrainingMethod {
    /// A low-rank adapter: LoRA and its relatives.
    Lora,
    /// (IA)³: vectors that multiply activations.
    Ia3,
    /// VeRA: vectors between random matrices that all modules share.
    Vera,
    /// AdaLoRA: a low-rank adapter whose ranks are chosen in training.
    AdaLora,
    /// Prompt tuning: embeddings before those of every text.
    #[serde(rename = "prompt_tuning")]
    PromptTuning,
    /// Prefix tuning: keys and values before those of every text, in every layer.
    #[serde(rename = "prefix_tuning")]
    PrefixTuning,
    /// Every parameter of the model.
    Full,
}

/// What LoRA starts with: PEFT's `init_lora_weights`, whose `true` is `kaiming` here. EVA, which looks at data first, is
/// [`attach_eva`](burnisher_lora::attach_eva).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdapterStart {
    /// `A` random, `B` zero.
    #[default]
    Kaiming,
    /// `A` normally distributed, `B` zero.
    Gaussian,
    /// Both random, their product zero.
    Orthogonal,
    /// The leading singular triplets, which the base weights give up (PiSSA).
    Pissa,
    /// The same by 4 subspace iterations, much faster for large weights.
    #[serde(rename = "pissa_niter_4")]
    PissaNiter4,
    /// The same by 16.
    #[serde(rename = "pissa_niter_16")]
    PissaNiter16,
    /// The leading part of the QR decomposition, which the base weights give up (OLoRA).
    Olora,
    /// What quantization to 4 bits loses, while the base becomes what is left of it (LoftQ).
    Loftq,
}

/// A choice of modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// `"all-linear"`, in any case: every projection but the output head. Or a regular expression that
    /// must match the whole path of a module.
    Pattern(String),
    /// Module names or ends of paths: `q_proj` stands for every `….q_proj`.
    Names(Vec<String>),
}

/// Which biases of the base model are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BiasMode {
    /// None.
    None,
    /// All.
    All,
    /// Those of the adapted projections.
    LoraOnly,
}
