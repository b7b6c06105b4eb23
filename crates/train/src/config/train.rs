//! The section `train`.

use std::path::PathBuf;

use burnisher_eval::Metric;
use serde::{Deserialize, Serialize};

use super::Optim;
use crate::early_stopping::EarlyStoppingConfig;

/// The section `train`: the training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TrainConfig {
    /// Where checkpoints, metrics and the result go. Required.
    pub output_dir: PathBuf,
    /// Passes over the training rows. Default 3.
    pub epochs: u64,
    /// Optimizer steps of the whole run; counts instead of `epochs`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Rows in a forward pass. Default 4.
    pub batch_size: usize,
    /// Forward passes in an optimizer step. Default 1.
    pub gradient_accumulation_steps: usize,
    /// Learning rate after the warm-up. Default 2e-4.
    pub learning_rate: f64,
    /// How the learning rate falls after the warm-up. Default `linear`.
    pub schedule: LrSchedule,
    /// Optimizer steps in which the learning rate rises from 0. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// The warm-up as a part of all steps, in [0, 1], rounded up. Default: `warmup_steps` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// The optimizer. Default `adamw_torch`.
    pub optim: Optim,
    /// With a paged optimizer: the file of its state, which goes away at the end. Default: a file without a name in the
    /// output directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optim_page_file: Option<PathBuf>,
    /// Weight decay, decoupled but for `sgd`; not on biases and norms. Default 0.
    pub weight_decay: f64,
    /// AdamW's decay of the first moment, or the part of the momentum in Lion's direction, in [0, 1). Default 0.9.
    pub beta1: f64,
    /// AdamW's decay of the second moment, or Lion's of its momentum, in [0, 1). Default 0.999, as in Hugging Face's
    /// `Trainer` for Lion too; Lion by itself has 0.99.
    pub beta2: f64,
    /// AdamW's ε. Default 1e-8.
    pub epsilon: f64,
    /// With `sgd`: what remains of the earlier direction, in [0, 1). Default 0.9; PyTorch's is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// With `adafactor`: whether the rate is multiplied by the root mean square of each parameter. Default false, as in
    /// Hugging Face's `Trainer`.
    pub scale_parameter: bool,
    /// With `adafactor`: whether the rate is `min(1e-2, 1/√t)` in step t, whatever `learning_rate` and `schedule` are.
    /// Default false.
    pub relative_step: bool,
    /// With `relative_step`: whether it is `min(1e-6·t, 1/√t)`. Default false.
    pub warmup_init: bool,
    /// LoRA+ (arXiv:2402.12354): B's learning rate over A's. Default: both have one rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loraplus_lr_ratio: Option<f64>,
    /// With `loraplus_lr_ratio`: the learning rate of an embedding's adapters. Default 1e-6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loraplus_lr_embedding: Option<f64>,
    /// Whether the model computes in f16, with the loss scaled. Default false: in `model.dtype`.
    pub fp16: bool,
    /// Whether the model computes in bf16. Default false: in `model.dtype`.
    pub bf16: bool,
    /// Largest L2 norm of all gradients together; longer ones are scaled down. 0 turns this off.
    /// Default 1.
    pub max_grad_norm: f64,
    /// Optimizer steps between two reports. Default 10.
    pub log_every: u64,
    /// Optimizer steps between two validations. Default: an epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<u64>,
    /// Metrics of the answers to validation records, measured with every validation. Default none.
    pub eval_metrics: Vec<Metric>,
    /// With `eval_metrics`: the first validation records, so many. Default 32.
    pub eval_examples: usize,
    /// With `eval_metrics`: tokens of an answer, at most. Default 128.
    pub eval_max_new_tokens: usize,
    /// The one of `eval_metrics` that chooses the best step and that `early_stopping` watches. Default: the validation
    /// loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_for_best_model: Option<Metric>,
    /// Optimizer steps between two checkpoints. Default: an epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every: Option<u64>,
    /// Newest checkpoints that are kept, besides the best. Default 2.
    pub keep_checkpoints: usize,
    /// Ends the run when validation no longer gets better. Default: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStoppingConfig>,
    /// Seed of the order of rows, of fresh adapters and of dropout. Default 42.
    pub seed: u64,
    /// Where the run begins. Default `auto`.
    pub resume: Resume,
}

impl TrainConfig {
    /// What remains of the earlier direction with `sgd`, unless `momentum` says something else.
    pub const MOMENTUM: f64 = 0.9;

    /// The learning rate of an embedding's adapters with LoRA+, unless `loraplus_lr_embedding` says something else.
    pub const LORAPLUS_LR_EMBEDDING: f64 = 1e-6;
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            output_dir: PathBuf::new(),
            epochs: 3,
            max_steps: None,
            batch_size: 4,
            gradient_accumulation_steps: 1,
            learning_rate: 2e-4,
            schedule: LrSchedule::Linear,
            warmup_steps: None,
            warmup_ratio: None,
            optim: Optim::AdamwTorch,
            optim_page_file: None,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            momentum: None,
            scale_parameter: false,
            relative_step: false,
            warmup_init: false,
            loraplus_lr_ratio: None,
            loraplus_lr_embedding: None,
            fp16: false,
            bf16: false,
            max_grad_norm: 1.0,
            log_every: 10,
            eval_every: None,
            eval_metrics: Vec::new(),
            eval_examples: 32,
            eval_max_new_tokens: 128,
            metric_for_best_model: None,
            save_every: None,
            keep_checkpoints: 2,
            early_stopping: None,
            seed: 42,
            resume: Resume::Auto,
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LrSchedule {
    /// In a straight line to 0.
    Linear,
    /// Along half a cosine wave to 0.
    Cosine,
    /// Not at all.
    Constant,
}

/// Where a run begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum Resume {
    /// `auto`: at the newest checkpoint in the output directory, if there is one.
    #[default]
    Auto,
    /// `never`: at step 0.
    Never,
    /// Any other text: at the checkpoint with this path.
    Path(PathBuf),
}

impl From<String> for Resume {
    fn from(text: String) -> Self {
        match text.as_str() {
            "auto" => Self::Auto,
            "never" => Self::Never,
            _ => Self::Path(text.into()),
        }
    }
}

impl From<Resume> for String {
    fn from(resume: Resume) -> Self {
        match resume {
            Resume::Auto => "auto".to_owned(),
            Resume::Never => "never".to_owned(),
            Resume::Path(path) => path.to_string_lossy().into_owned(),
        }
    }
}
