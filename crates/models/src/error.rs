use crate::CheckpointDtype;
use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

/// Everything that can go wrong between a Hugging Face directory and a generated token.
///
/// A wrong file is reported once, with all of its problems; every message says what was found, what was wanted
/// and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file or directory could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file is not valid JSON, or not a JSON object.
    #[error("{}: not a valid JSON object: {source}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        source: serde_json::Error,
    },

    /// `config.json` or `generation_config.json` describes a model that cannot be built. Lists every problem.
    #[error("{}: {}", .path.display(), bullets(.problems))]
    Config {
        /// The file.
        path: PathBuf,
        /// All problems, in the order of reading.
        problems: Vec<ConfigProblem>,
    },

    /// The files of a checkpoint contradict themselves or the configuration. Lists every problem.
    #[error("{}: {}", .path.display(), bullets(.problems))]
    Tensors {
        /// The checkpoint's directory.
        path: PathBuf,
        /// All problems, file by file and then tensor by tensor.
        problems: Vec<CheckpointProblem>,
    },

    /// A checkpoint as a whole cannot be used.
    #[error("{}: {message}", .path.display())]
    Checkpoint {
        /// The directory or file.
        path: PathBuf,
        /// What was found and what was wanted.
        message: String,
    },

    /// A tensor holds a value that is infinite or not a number.
    #[error("{}`{tensor}` holds {value} at flat index {index}; every value must be finite", prefix(.path.as_deref()))]
    NonFinite {
        /// The checkpoint's directory, where the tensor comes from one.
        path: Option<PathBuf>,
        /// The tensor's name.
        tensor: String,
        /// The row-major index of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },

    /// A value is beyond the range of the dtype that it was to be written in.
    #[error("`{tensor}` holds {value} at flat index {index}, which {dtype} cannot; choose another dtype")]
    OutOfRange {
        /// The tensor's name.
        tensor: String,
        /// The dtype.
        dtype: CheckpointDtype,
        /// The row-major index of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },

    /// A setting or prompt given by the caller cannot be used.
    #[error("{0}")]
    Setting(ConfigProblem),

    /// Something that exists elsewhere and is not built here.
    #[error("{what} is not supported; supported: {supported}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What can be asked for.
        supported: String,
    },

    /// A file could not be written. The file of that name that stood there before is unchanged.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A GGUF file contradicts itself, or cannot hold what it was to be written with.
    #[error("{}: {message}", .path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What was found and what was wanted.
        message: String,
    },

    /// A quantized weight contradicts itself.
    #[error(transparent)]
    Quant(#[from] burnisher_quant::QuantError),

    /// An adapter does not fit.
    #[error(transparent)]
    Lora(#[from] burnisher_lora::LoraError),

    /// A tokenizer, template or record could not be used.
    #[error(transparent)]
    Data(#[from] burnisher_data::DataError),
}

impl ModelError {
    /// A closure for `map_err` around reading `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// What is wrong with the prompt of this number.
    pub(crate) fn prompt(index: usize, found: &str, wanted: &str) -> Self {
        Self::Setting(ConfigProblem::new(format!("prompts[{index}]"), found, wanted))
    }

    /// A closure for `map_err` around writing `path`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Write { path, source }
    }
}

/// One field of a configuration that is missing, has the wrong type or holds a value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The field, with its path inside the file (`rope_parameters.factor`).
    pub field: String,
    /// What the file holds; `nothing` for a missing field.
    pub found: String,
    /// What can be used.
    pub wanted: String,
}

impl ConfigProblem {
    pub(crate) fn new(field: impl Into<String>, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { field: field.into(), found: found.into(), wanted: wanted.into() }
    }
}

impl Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: found {}, wanted {}", self.field, self.found, self.wanted)
    }
}

/// One file or tensor of a checkpoint that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointProblem {
    /// A file that is absent, cut off, or no safetensors file, or an index that cannot be used.
    File {
        /// The file's name inside the directory.
        file: String,
        /// What was found.
        found: String,
        /// What was wanted.
        wanted: String,
    },
    /// A header says something about a tensor that cannot be true.
    Layout {
        /// The file's name inside the directory.
        file: String,
        /// The tensor.
        tensor: String,
        /// What the header says.
        found: String,
        /// What it had to say.
        wanted: String,
    },
    /// The index places a tensor in a shard that does not hold it.
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard the index names.
        file: String,
        /// The shard that does hold it, if one does.
        holder: Option<String>,
    },
    /// Two shards hold a tensor of the same name.
    Duplicate {
        /// The tensor.
        tensor: String,
        /// One shard.
        first: String,
        /// The other shard.
        second: String,
    },
    /// The model needs a tensor that no file holds.
    Missing {
        /// The tensor.
        tensor: String,
        /// The shape the configuration gives it.
        wanted: Vec<usize>,
    },
    /// The files hold a tensor that the model does not have.
    Unexpected {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor has another shape than the configuration gives it.
    Shape {
        /// The tensor.
        tensor: String,
        /// The file's shape.
        found: Vec<usize>,
        /// The configuration's shape.
        wanted: Vec<usize>,
    },
    /// A tensor is stored in numbers that a weight cannot have.
    Dtype {
        /// The tensor.
        tensor: String,
        /// The file's dtype.
        found: String,
        /// The dtypes that can be read.
        wanted: String,
    },
}

impl Display for CheckpointProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, found, wanted } => write!(f, "{file}: found {found}, wanted {wanted}"),
            Self::Layout { file, tensor, found, wanted } => {
                write!(f, "{file}: tensor `{tensor}`: the header says {found}, wanted {wanted}")
            }
            Self::NotInShard { tensor, file, holder: Some(holder) } => {
                write!(f, "tensor `{tensor}`: the index places it in {file}, it is in {holder}")
            }
            Self::NotInShard { tensor, file, holder: None } => {
                write!(f, "tensor `{tensor}`: the index places it in {file}, which does not hold it")
            }
            Self::Duplicate { tensor, first, second } => {
                write!(f, "tensor `{tensor}` is in {first} and in {second}, wanted in one file")
            }
            Self::Missing { tensor, wanted } => {
                write!(f, "tensor `{tensor}` {wanted:?} is missing")
            }
            Self::Unexpected { tensor, found } => {
                write!(f, "tensor `{tensor}` {found:?} is not part of this architecture")
            }
            Self::Shape { tensor, found, wanted } => {
                write!(f, "tensor `{tensor}`: found shape {found:?}, wanted {wanted:?}")
            }
            Self::Dtype { tensor, found, wanted } => {
                write!(f, "tensor `{tensor}`: found dtype {found}, wanted {wanted}")
            }
        }
    }
}

/// One problem on the same line, several as a list under their number.
fn bullets<T: Display>(problems: &[T]) -> String {
    match problems {
        [only] => only.to_string(),
        _ => {
            problems.iter().fold(format!("{} problems", problems.len()), |text, p| format!("{text}\n  - {p}"))
        }
    }
}

fn prefix(path: Option<&Path>) -> String {
    path.map(|path| format!("{}: ", path.display())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_error_lists_every_problem() {
        let problem = |field: &str| ConfigProblem::new(field, "nothing", "a number");
        let error = |fields: &[&str]| ModelError::Config {
            path: "config.json".into(),
            problems: fields.iter().map(|field| problem(field)).collect(),
        };
        assert_eq!(error(&["a"]).to_string(), "config.json: `a`: found nothing, wanted a number");
        assert_eq!(
            error(&["a", "b"]).to_string(),
            "config.json: 2 problems\n  - `a`: found nothing, wanted a number\n  - `b`: found nothing, wanted a number"
        );
    }

    #[test]
    fn a_non_finite_value_is_named_with_and_without_a_file() {
        let error = |path: Option<&str>| ModelError::NonFinite {
            path: path.map(PathBuf::from),
            tensor: "norm.weight".to_owned(),
            index: 3,
            value: f32::NEG_INFINITY,
        };
        let text = "`norm.weight` holds -inf at flat index 3; every value must be finite";
        assert_eq!(error(None).to_string(), text);
        assert_eq!(error(Some("dir")).to_string(), format!("dir: {text}"));
    }
}
