//! The run file: what is trained, on what, how.

mod check;
mod convert;
mod fields;
mod lora;
mod lora_fields;
mod optim;
mod ordered_map;
mod train;
mod train_fields;
mod validate;

pub(crate) use check::{check_fields, describe, nearest_field, normalise};
pub(crate) use fields::{Field, Kind, Need, SECTIONS};
pub use lora::{AdapterStart, BiasMode, LoraSection, Targets, TrainingMethod};
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
    /// What happens when two sets share a run of 13 words, or near-duplicates. Default `stop`.
    pub leaks: LeakPolicy,
    /// The similarity from which records are near-duplicates: Jaccard's, of their runs of 5 words, in [0, 1]. They are
    /// leaks between sets, and stay together when validation records are split off. 0 does not look for them. Default
    /// 0.8.
    pub near_duplicates: f64,
    /// Sets by name that the training records must not share text with, beside `test`. Their columns are recognised,
    /// not read from `columns` and `shape`. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub benchmarks: BTreeMap<String, PathBuf>,
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
            near_duplicates: 0.8,
            benchmarks: BTreeMap::new(),
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
    /// `question`, an optional `context`, and `answer` or `answers`.
    Question,
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
