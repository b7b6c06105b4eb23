//! The run file: what is trained, on what, how.

mod check;
mod convert;
mod fields;
mod optim;
mod ordered_map;
mod train;
mod validate;

pub(crate) use check::{check_fields, describe, nearest_field, normalise};
pub(crate) use fields::{Field, Kind, Need, SECTIONS};
pub use optim::Optim;
pub use train::{LrSchedule, Resume, TrainConfig};

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A whole training run, as a TOML or YAML file describes it.
///
/// Three fields have no default: [`model.path`](ModelSection::path), [`data.train`](DataSection::train)
/// and [`train.output_dir`](TrainConfig::output_dir). Relative paths count from the working directory of
/// the process, not from the run file. [`RunConfig::reference_toml`] is a file with every field.
///
/// ```
/// use burnisher_train::{LoraSection, RunConfig};
///
/// let mut run = RunConfig::new("base-model", "train.jsonl", "out");
/// run.lora = Some(LoraSection::default());
/// run.set("train.max_steps=100")?;
/// run.validate()?;
/// # Ok::<(), burnisher_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RunConfig {
    /// The base model.
    pub model: ModelSection,
    /// The records.
    pub data: DataSection,
    /// The adapter. Without this section every parameter of the model is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSection>,
    /// The training.
    pub train: TrainConfig,
}

impl RunConfig {
    /// A full-parameter run with every default.
    pub fn new(model: impl Into<PathBuf>, train: impl Into<PathBuf>, output_dir: impl Into<PathBuf>) -> Self {
        let mut run = Self::default();
        run.model.path = model.into();
        run.data.train = train.into();
        run.train.output_dir = output_dir.into();
        run
    }
}

/// The section `model`: the base model and how it is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelSection {
    /// Hugging Face directory: `config.json`, safetensors, tokenizer. Required.
    pub path: PathBuf,
    /// Type of the activations and of weights that are not quantized. Default `f32`.
    pub dtype: ComputeDtype,
    /// How the frozen projections are stored. Default `none`: as in `dtype`.
    pub quant: BaseQuant,
    /// With `nf4` and `fp4`: whether the scales of the blocks are quantized too. Default true.
    pub double_quant: bool,
    /// Which activations of a block training keeps; the others are computed again in the backward pass, with the same
    /// result. Default `none`: all are kept.
    pub gradient_checkpointing: Checkpointing,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            dtype: ComputeDtype::F32,
            quant: BaseQuant::None,
            double_quant: true,
            gradient_checkpointing: Checkpointing::None,
        }
    }
}

/// The type that a model computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ComputeDtype {
    /// 32-bit floating point.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE 754's 16-bit floating point; training scales the loss.
    F16,
}

/// Which activations are computed again in the backward pass: less memory for more time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Checkpointing {
    /// None: all are kept.
    None,
    /// All of a block but its input.
    Block,
    /// Those of the feed-forward layer; attention's are kept.
    BlockKeepAttention,
}

/// How the frozen projections of the base model are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BaseQuant {
    /// As in [`ModelSection::dtype`].
    None,
    /// In 4 bits, NF4 with blocks of 64 (QLoRA).
    Nf4,
    /// In 4 bits, bitsandbytes' FP4 with blocks of 64.
    Fp4,
    /// In 8 bits with a scale per row, inputs quantized as well (LLM.int8).
    Int8,
}

/// The section `data`: the records, and how they become rows of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DataSection {
    /// Training records, JSON lines. Required.
    pub train: PathBuf,
    /// Validation records, JSON lines. Default: a part of the training records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Without `validation`: the part of the training records that is held back for it, in [0, 1).
    /// 0 trains without validation. Default 0.05.
    pub validation_fraction: f64,
    /// Test records, JSON lines, that the training records must not share text with. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// General records, JSON lines, mixed into the training set against forgetting (rehearsal: Robins 1995,
    /// "Catastrophic forgetting, rehearsal and pseudorehearsal"). All of their tokens have a label; their columns are
    /// recognised, not read from `columns` and `shape`, and duplicates stay. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<PathBuf>,
    /// With `replay`: its share of the mixed training set in records, in (0, 1); all of them where there are fewer. Its
    /// share of the loss is that of its tokens, which the run prints. Default 0.25.
    pub replay_fraction: f64,
    /// Column names: the shape's column = the column in the file. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// The records' shape. Default: recognised by the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<RecordShape>,
    /// Longest row in tokens. Default 512.
    pub max_length: usize,
    /// Whether several records share a row. Default `none`.
    pub packing: PackingMode,
    /// Which tokens have a label. Default `completions`.
    pub train_on: TrainedPart,
    /// Whether exact duplicates are removed from the training records. Default true.
    pub deduplicate: bool,
    /// What happens when two sets share a run of 13 words. Default `stop`.
    pub leaks: LeakPolicy,
    /// Seed of the validation split. Default 42.
    pub seed: u64,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            train: PathBuf::new(),
            validation: None,
            validation_fraction: 0.05,
            test: None,
            replay: None,
            replay_fraction: 0.25,
            columns: BTreeMap::new(),
            shape: None,
            max_length: 512,
            packing: PackingMode::None,
            train_on: TrainedPart::Completions,
            deduplicate: true,
            leaks: LeakPolicy::Stop,
            seed: 42,
        }
    }
}

/// The columns of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RecordShape {
    /// `text`.
    Text,
    /// `prompt` and `completion`.
    Completion,
    /// `messages`.
    Messages,
    /// `instruction`, `output` and an optional `input`.
    Alpaca,
}

/// Whether several records share a row of tokens. They never see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PackingMode {
    /// One record in a row, padded.
    None,
    /// Whole records, each in the fullest row that has room for it.
    BestFit,
    /// All records one after the other, cut at the end of each row.
    Wrapped,
}

/// Which tokens of a record have a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TrainedPart {
    /// The completion, or what the assistant says.
    Completions,
    /// All.
    Everything,
}

/// What happens when two sets share text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LeakPolicy {
    /// The run shows the pairs and stops.
    Stop,
    /// The run shows the pairs and goes on.
    Allow,
}

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
    /// Every parameter of the model.
    Full,
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
