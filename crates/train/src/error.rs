use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use burnisher_data::DataError;
use burnisher_lora::LoraError;
use burnisher_models::ModelError;
use burnisher_quant::QuantError;

/// Everything that can stop a training run.
///
/// Every message says what was found, what was wanted and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A configuration made in code holds values that cannot be trained with. All of them are listed.
    #[error("the configuration has {}", list_problems(.0))]
    Config(Vec<ConfigProblem>),

    /// A run file holds unknown fields or wrong values. All of them are listed.
    #[error("{} has {}", .path.display(), list_problems(.problems))]
    ConfigFile {
        /// The run file.
        path: PathBuf,
        /// What is wrong, in the order of the file.
        problems: Vec<ConfigProblem>,
    },

    /// A run file is not valid TOML or YAML.
    #[error("{}: not valid {format}: {}", .path.display(), .message.trim_end())]
    ConfigSyntax {
        /// The run file.
        path: PathBuf,
        /// `TOML` or `YAML`.
        format: &'static str,
        /// The parser's message, with line and column.
        message: String,
    },

    /// The ending of a run file's name says neither TOML nor YAML.
    #[error("{}: found the ending {found:?}; wanted .toml, .yaml or .yml", .path.display())]
    ConfigFormat {
        /// The run file.
        path: PathBuf,
        /// The ending that was found, without the dot; empty if there is none.
        found: String,
    },

    /// An override such as `train.max_steps=100` cannot be applied.
    #[error("the override {text:?} has {}", list_problems(.problems))]
    Override {
        /// The override as it was given.
        text: String,
        /// What is wrong with it.
        problems: Vec<ConfigProblem>,
    },

    /// A file or directory could not be read or written. What stood there before is unchanged.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb (`read`, `write`, `rename`).
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },

    /// A checkpoint holds something else than this version writes.
    #[error("checkpoint {}: found {found}; wanted {wanted}", .path.display())]
    Checkpoint {
        /// The checkpoint directory or the file in it.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was wanted.
        wanted: String,
    },

    /// The output directory holds checkpoints of an earlier run that this one may not continue.
    #[error(
        "{} holds checkpoints of an earlier run (the newest is checkpoint-{newest}) and `train.resume` is {resume:?}: \
         theirs and new ones would mix; wanted an output directory without newer or foreign checkpoints, or \
         `train.resume = \"auto\"`",
        .path.display()
    )]
    OutputInUse {
        /// The output directory.
        path: PathBuf,
        /// The step of its newest checkpoint.
        newest: u64,
        /// `train.resume`.
        resume: String,
    },

    /// No parameter of the model is trained.
    #[error(
        "found no trainable parameter among {total}; wanted an adapter, or a model in full-parameter mode"
    )]
    NothingTrainable {
        /// All parameters of the model.
        total: usize,
    },

    /// A run cannot be continued with another configuration than it was begun with.
    #[error("cannot resume: {field} is {found} now, and was {wanted} when the run began")]
    ResumeMismatch {
        /// The full path of the field.
        field: String,
        /// The value of this run.
        found: String,
        /// The value in the checkpoint.
        wanted: String,
    },

    /// The loss, a gradient or a weight became infinite or not a number.
    #[error("step {step}: {tensor} is not finite ({what}); {}", last_good(.last_checkpoint))]
    NonFinite {
        /// The optimizer step, counted from 1; 0 before the first.
        step: u64,
        /// The name of the first bad tensor.
        tensor: String,
        /// What of it is bad: `gradient`, or the value of the loss.
        what: String,
        /// The newest checkpoint, which is kept.
        last_checkpoint: Option<PathBuf>,
    },

    /// Gradients in f16 overflow whatever the loss is scaled by.
    #[error(
        "step {step}: the gradient of {tensor} is not finite with the loss scaled by {scale}, and {skipped} steps were \
         skipped so far; wanted finite ones at {floor} or more: {}. Train in bf16 or f32, or lower the learning rate",
        last_good(.last_checkpoint)
    )]
    LossScale {
        /// The optimizer step, counted from 1.
        step: u64,
        /// The first parameter whose gradient is not finite.
        tensor: String,
        /// The scale that was too large.
        scale: f64,
        /// The least scale.
        floor: f64,
        /// Steps that were skipped, this one included.
        skipped: u64,
        /// The newest checkpoint, which is kept.
        last_checkpoint: Option<PathBuf>,
    },

    /// The file for paged optimizer state holds something else.
    #[error("{}: found {found}; wanted a path without a file, or the file of an earlier run's paged state", .path.display())]
    PageFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },

    /// The validation or test set shares text with the training set.
    #[error(
        "{0}\nset `data.leaks` to \"allow\" to train nevertheless; from which similarity on near-duplicates count, \
         `data.near_duplicates` says"
    )]
    Leak(String),

    /// The tokenizer makes tokens that the model has no embedding for.
    #[error(
        "the data holds token {token} ({text}), the model's vocabulary has {vocab_size}; wanted the tokenizer of this model"
    )]
    Vocabulary {
        /// The largest token id of the data.
        token: u32,
        /// The token's text, if the tokenizer knows it.
        text: String,
        /// Rows of the model's embedding.
        vocab_size: usize,
    },

    /// A set has no token to learn from or to be measured on.
    #[error("found no token with a label; wanted at least one record with text to be trained")]
    NoTargets,

    /// The device does not record operations, so that there is nothing to differentiate.
    #[error("training needs a device with automatic differentiation; found {found}")]
    AutodiffDevice {
        /// The device that was given.
        found: String,
    },

    /// Results cannot be compared.
    #[error(transparent)]
    Eval(#[from] burnisher_eval::EvalError),

    /// A record, a tokenizer or a data file is wrong.
    #[error(transparent)]
    Data(#[from] DataError),

    /// An adapter's configuration or file is wrong.
    #[error(transparent)]
    Lora(#[from] LoraError),

    /// A model directory is wrong.
    #[error(transparent)]
    Model(#[from] ModelError),

    /// The options of a step in 8 bits are wrong.
    #[error(transparent)]
    Quant(#[from] QuantError),
}

impl TrainError {
    /// A failed operation on a file or directory; `action` is a verb.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), action, source }
    }

    /// A checkpoint file that is not the JSON it should be.
    pub(crate) fn json(path: &Path, source: serde_json::Error) -> Self {
        Self::Checkpoint {
            path: path.to_path_buf(),
            found: source.to_string(),
            wanted: "the JSON that this version writes".to_owned(),
        }
    }

    /// A checkpoint file that is not a safetensors file.
    pub(crate) fn tensors(path: &Path, source: &dyn fmt::Display) -> Self {
        Self::Checkpoint {
            path: path.to_path_buf(),
            found: source.to_string(),
            wanted: "a safetensors file".to_owned(),
        }
    }

    /// A checkpoint file whose tensors do not fit the model; one line for each problem.
    pub(crate) fn checkpoint(path: &Path, problems: &[String]) -> Self {
        Self::Checkpoint {
            path: path.to_path_buf(),
            found: format!(
                "{} that do not fit:\n  {}\n",
                count(problems.len(), "tensor"),
                problems.join("\n  ")
            ),
            wanted: "the trained parameters of this model".to_owned(),
        }
    }

    /// Moments that do not fit the parameter `name`.
    pub(crate) fn optimizer_state(name: &str, found: &str, wanted: &str) -> Self {
        Self::Checkpoint {
            path: PathBuf::from("optimizer.safetensors"),
            found: format!("{found} for {name}"),
            wanted: wanted.to_owned(),
        }
    }

    /// A loss that is infinite or not a number, and the first tensor that is not finite if one was found;
    /// [`TrainError::at_step`] adds where.
    pub(crate) fn non_finite_loss(value: f32, first_bad: Option<String>) -> Self {
        let (tensor, what) = match first_bad {
            Some(tensor) => (tensor, format!("the loss is {value}")),
            None => ("loss".to_owned(), value.to_string()),
        };
        Self::NonFinite { step: 0, tensor, what, last_checkpoint: None }
    }

    /// A gradient that is infinite or not a number; [`TrainError::at_step`] adds where.
    pub(crate) fn non_finite_gradient(tensor: &str) -> Self {
        Self::NonFinite {
            step: 0,
            tensor: tensor.to_owned(),
            what: "gradient".to_owned(),
            last_checkpoint: None,
        }
    }

    /// Elements of a gradient whose squares are infinite, which a step in 8 bits leaves out.
    pub(crate) fn non_finite_squares(tensor: &str, count: usize) -> Self {
        Self::NonFinite {
            step: 0,
            tensor: tensor.to_owned(),
            what: format!("the square of its gradient, in {count} elements"),
            last_checkpoint: None,
        }
    }

    /// Adds the step and the newest checkpoint to [`TrainError::NonFinite`]; other errors stay as they are.
    pub(crate) fn at_step(self, step: u64, last_checkpoint: Option<PathBuf>) -> Self {
        match self {
            Self::NonFinite { tensor, what, .. } => Self::NonFinite { step, tensor, what, last_checkpoint },
            other => other,
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// A field that no section has.
    UnknownField {
        /// The full path as it was given (`train.lerning_rate`).
        field: String,
        /// The full path of the known field, or the section, that is nearest to it.
        nearest: String,
    },
    /// A field that has no default and was not given.
    Missing {
        /// The full path of the field.
        field: String,
        /// What it must hold.
        wanted: String,
    },
    /// A field with a value of the wrong type.
    WrongType {
        /// The full path of the field.
        field: String,
        /// The value that was found, with its type.
        found: String,
        /// The type that was wanted.
        wanted: String,
    },
    /// A field with a value of the right type that cannot be used.
    WrongValue {
        /// The full path of the field.
        field: String,
        /// The value that was found.
        found: String,
        /// The values that can be used.
        wanted: String,
    },
}

impl ConfigProblem {
    /// A value of the right type that cannot be used.
    pub fn value(field: impl Into<String>, found: impl fmt::Display, wanted: impl Into<String>) -> Self {
        Self::WrongValue { field: field.into(), found: found.to_string(), wanted: wanted.into() }
    }

    /// The full path of the field that is wrong (`train.max_steps`).
    pub fn field(&self) -> &str {
        match self {
            Self::UnknownField { field, .. }
            | Self::Missing { field, .. }
            | Self::WrongType { field, .. }
            | Self::WrongValue { field, .. } => field,
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField { field, nearest } => {
                write!(f, "{field}: unknown field; the nearest known one is {nearest}")
            }
            Self::Missing { field, wanted } => write!(f, "{field}: missing; wanted {wanted}"),
            Self::WrongType { field, found, wanted } | Self::WrongValue { field, found, wanted } => {
                write!(f, "{field}: found {found}; wanted {wanted}")
            }
        }
    }
}

/// `2 problems:` and one indented line for each.
fn list_problems(problems: &[ConfigProblem]) -> String {
    let mut text = format!("{}:", count(problems.len(), "problem"));
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}

/// `1 tensor`, `2 tensors`.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "no checkpoint was saved before".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_shown() {
        let error = TrainError::ConfigFile {
            path: PathBuf::from("run.toml"),
            problems: vec![
                ConfigProblem::UnknownField {
                    field: "train.lerning_rate".to_owned(),
                    nearest: "train.learning_rate".to_owned(),
                },
                ConfigProblem::value("train.epochs", 0, "at least 1"),
            ],
        };
        assert_eq!(
            error.to_string(),
            "run.toml has 2 problems:\n  \
             train.lerning_rate: unknown field; the nearest known one is train.learning_rate\n  \
             train.epochs: found 0; wanted at least 1"
        );
    }

    #[test]
    fn a_non_finite_value_names_step_tensor_and_checkpoint() {
        let name = "model.layers.0.self_attn.q_proj.lora_A";
        let last = PathBuf::from("out/checkpoint-5");
        assert_eq!(
            TrainError::non_finite_gradient(name).at_step(7, Some(last)).to_string(),
            "step 7: model.layers.0.self_attn.q_proj.lora_A is not finite (gradient); \
             the last good checkpoint is out/checkpoint-5"
        );
        assert_eq!(
            TrainError::non_finite_loss(f32::NAN, None).at_step(1, None).to_string(),
            "step 1: loss is not finite (NaN); no checkpoint was saved before"
        );
    }
}
