//! What can go wrong with an adapter.

use std::{collections::BTreeSet, fmt, io, path::PathBuf};

/// Everything that can go wrong when an adapter is configured, attached, read, written or merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A field of the configuration holds a value that cannot work.
    #[error("{field} is {found}, wanted {wanted}")]
    Config {
        /// The field, by PEFT's name.
        field: String,
        /// What it holds.
        found: String,
        /// What would have been right.
        wanted: String,
    },

    /// Fields that PEFT knows, set to something this crate does not implement. All of them.
    #[error("not supported: {}", list(.fields))]
    Unsupported {
        /// Every such field with its value.
        fields: Vec<UnsupportedField>,
    },

    /// Entries of a module list that name no module of the model.
    #[error("{field} {} matches no module; there are {}", quoted(.wanted), grouped(.candidates))]
    NoTarget {
        /// The field whose entries matched nothing: `target_modules`, `exclude_modules`, ...
        field: String,
        /// Every entry that matched nothing.
        wanted: Vec<String>,
        /// The paths of the modules there are. The message writes numbers in them as `*`.
        candidates: Vec<String>,
    },

    /// The targets exist, but every one of them is left out by other fields.
    #[error(
        "target_modules matches only modules that exclude_modules, modules_to_save or \
         layers_to_transform leave out: {}",
        grouped(.matched)
    )]
    NothingLeft {
        /// The modules that `target_modules` alone would choose.
        matched: Vec<String>,
    },

    /// A target is a module that cannot carry an adapter here, such as a norm.
    #[error(
        "target_modules matches {}: only projections can be adapted, and with LoRA the embedding",
        quoted(.modules)
    )]
    NotAdaptable {
        /// Every such module.
        modules: Vec<String>,
    },

    /// `target_modules` is not given and PEFT has no default for the architecture.
    #[error("no default target_modules for the architecture `{model_type}` (there are defaults for {}): name the target modules", .known.join(", "))]
    UnknownArchitecture {
        /// `model_type` of the model's config.json.
        model_type: String,
        /// The architectures with a default.
        known: Vec<String>,
    },

    /// A file or directory could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A file could not be written. What was there before is untouched.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A file that should hold JSON does not.
    #[error("{}: not JSON: {source}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser met, with line and column.
        source: serde_json::Error,
    },

    /// A safetensors file is truncated, or its header says what its bytes do not hold.
    #[error("{}: {message}", .path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// Another error of this list, met in a file.
    #[error("{}: {source}", .path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The error.
        source: Box<LoraError>,
    },

    /// The tensors of an adapter are not those the model wants. All differences at once.
    #[error("{0}")]
    TensorMismatch(TensorProblems),

    /// An adapter was to be saved that some modules do not have.
    #[error("no adapter to save at {}", grouped(.modules))]
    NoAdapter {
        /// Every module that the configuration chooses and that has none.
        modules: Vec<String>,
    },

    /// The model has an adapter where none may be.
    #[error("there is an adapter already at {}; wanted a model without one: merge it, or load the base again", grouped(.modules))]
    HasAdapter {
        /// Every module with an adapter.
        modules: Vec<String>,
    },

    /// Weights were to be trained that are quantized.
    #[error(
        "cannot train the weights asked for: {} weights are quantized ({}); wanted a dense checkpoint, or an adapter",
        .modules.len(),
        grouped(.modules)
    )]
    Quantized {
        /// Every such module.
        modules: Vec<String>,
    },

    /// Biases were to be trained, but no projection has one.
    #[error("there are no biases to train: no projection of the model has one")]
    NoBiases,

    /// A weight would become, or is, infinite or not a number.
    #[error("{module} holds numbers that are not finite")]
    NonFinite {
        /// The module.
        module: String,
    },

    /// An adapter with a bias was to be merged into a projection without one.
    #[error("{module} has no bias that the adapter's bias (lora_bias) could be merged into")]
    NoBias {
        /// The module.
        module: String,
    },

    /// Virtual tokens, which are part of no weight, were to be merged.
    #[error(
        "the virtual tokens of prompt or prefix tuning cannot be merged: they are part of no weight; wanted an \
         adapter of weights, or the base and the adapter each by itself"
    )]
    VirtualTokens,

    /// An adapter of a method that this crate does not have.
    #[error("peft_type is `{found}`, wanted one of {}", .known.join(", "))]
    UnknownPeftType {
        /// The method, by PEFT's name.
        found: String,
        /// The methods there are.
        known: Vec<&'static str>,
    },

    /// Names that no adapter of the model has.
    #[error("there is no adapter {}; there are {}", quoted(.names), listed_names(.known))]
    UnknownAdapter {
        /// Every such name.
        names: Vec<String>,
        /// The adapters there are.
        known: Vec<String>,
    },

    /// A name that an adapter cannot get.
    #[error("an adapter cannot be named `{name}`: {reason}; there are {}", listed_names(.known))]
    AdapterName {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
        /// The adapters there are.
        known: Vec<String>,
    },

    /// Something that is not possible with these adapters. All reasons at once.
    #[error("cannot {wanted}: {}", listed(.problems))]
    Several {
        /// What was wanted.
        wanted: String,
        /// Every reason, adapter by adapter.
        problems: Vec<Problem>,
    },

    /// Adapters were chosen for the rows of a batch, and the batch has another number of rows.
    #[error("adapters are chosen for {wanted} rows, the batch has {found}")]
    Rows {
        /// The rows of the batch.
        found: usize,
        /// The rows that adapters are chosen for.
        wanted: usize,
    },

    /// Tensors of a file that hold infinite numbers or numbers that are none.
    #[error("{}: numbers that are not finite in {}", .path.display(), .tensors.join(", "))]
    NonFiniteTensors {
        /// The file.
        path: PathBuf,
        /// Every such tensor.
        tensors: Vec<String>,
    },

    /// A change to one of two modules that share a weight would untie them silently.
    #[error("{module} shares its weight with another module (tied embeddings): it cannot be changed alone")]
    TiedWeights {
        /// The module that was asked for.
        module: String,
    },

    /// A field names parts of a foreign Burn module that it cannot change: convolutions, bare parameters.
    #[error("{field} matches {}: of a foreign Burn module it can change {wanted}", .found.join(", "))]
    NotALayer {
        /// `target_modules` or `modules_to_save`.
        field: String,
        /// Every such path, with what it is.
        found: Vec<String>,
        /// What there could be instead.
        wanted: String,
    },

    /// Parameters of a foreign Burn module that something else already transforms, such as Burn's own LoRA.
    #[error("another reparameterization hangs on {}; wanted none: materialize() the module first", .parameters.join(", "))]
    Reparameterized {
        /// Every such parameter, with the reparameterization's name.
        parameters: Vec<String>,
    },

    /// An adapter was trained on another base than the one it was to be loaded onto. Everything that differs.
    #[error(
        "the adapter was trained on another base: {}; to load it all the same remove {}",
        listed(.problems),
        .path.display()
    )]
    OtherBase {
        /// The file with the numbers of the base.
        path: PathBuf,
        /// Every parameter whose size differs.
        problems: Vec<Problem>,
    },

    /// An initialisation that does not fit some modules. All of them.
    #[error("init_lora_weights {init} does not fit: {}", listed(.problems))]
    Init {
        /// The initialisation, as in adapter_config.json.
        init: String,
        /// What does not fit, module by module.
        problems: Vec<Problem>,
    },

    /// Adapters that cannot be combined. All reasons at once.
    #[error("the adapters cannot be combined: {}", listed(.problems))]
    Combine {
        /// Every reason.
        problems: Vec<Problem>,
    },

    /// An adapter that another form cannot express. All reasons at once.
    #[error("the adapter cannot become {wanted}: {}", listed(.problems))]
    Convert {
        /// The form that was wanted.
        wanted: String,
        /// Every reason.
        problems: Vec<Problem>,
    },
}

impl LoraError {
    /// A field with a value that cannot work.
    pub(crate) fn config(field: &str, found: impl fmt::Display, wanted: &str) -> Self {
        Self::Config { field: field.into(), found: found.to_string(), wanted: wanted.into() }
    }

    /// This error, met in `path`.
    pub(crate) fn in_file(self, path: impl Into<PathBuf>) -> Self {
        Self::InFile { path: path.into(), source: Box::new(self) }
    }
}

/// Something that is not as it would have to be: where, what was found, and what was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The module, tensor or field.
    pub place: String,
    /// What is there.
    pub found: String,
    /// What would have been right.
    pub wanted: String,
}

impl Problem {
    pub(crate) fn new(place: impl fmt::Display, found: impl fmt::Display, wanted: impl fmt::Display) -> Self {
        Self { place: place.to_string(), found: found.to_string(), wanted: wanted.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, wanted {}", self.place, self.found, self.wanted)
    }
}

/// A field of adapter_config.json that this crate does not implement at the value it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedField {
    /// The field, by PEFT's name.
    pub field: String,
    /// Its value, as JSON.
    pub found: String,
}

impl fmt::Display for UnsupportedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.field, self.found)
    }
}

/// How the tensors of an adapter differ from those a model wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorProblems {
    /// Tensors the model wants and the adapter has not.
    pub missing: Vec<String>,
    /// Tensors the adapter has and the model knows nothing of.
    pub unexpected: Vec<String>,
    /// Tensors of another shape than the model wants.
    pub shapes: Vec<ShapeProblem>,
}

impl TensorProblems {
    /// Is there nothing to complain about?
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.shapes.is_empty()
    }
}

impl fmt::Display for TensorProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.missing.len() + self.unexpected.len() + self.shapes.len();
        write!(f, "the adapter does not fit the model in {count} tensors:")?;
        for name in &self.missing {
            write!(f, "\n  missing: {name}")?;
        }
        for name in &self.unexpected {
            write!(f, "\n  unexpected: {name}")?;
        }
        for shape in &self.shapes {
            write!(f, "\n  {shape}")?;
        }
        Ok(())
    }
}

/// A tensor of another shape than the model wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeProblem {
    /// The tensor.
    pub name: String,
    /// Its shape.
    pub found: Vec<usize>,
    /// The shape the model wants.
    pub wanted: Vec<usize>,
}

impl fmt::Display for ShapeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found shape {:?}, wanted {:?}", self.name, self.found, self.wanted)
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Problems, `; ` between them: their texts hold commas.
fn listed(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// Names in backticks, or `none`.
fn listed_names(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { quoted(names) }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Module paths with their numbers written as `*`, each once: a 32-layer model fits on a line.
fn grouped(paths: &[String]) -> String {
    let mut seen = BTreeSet::new();
    let mut shown = Vec::new();
    for path in paths {
        let group = path
            .split('.')
            .map(|part| {
                let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                if number { "*" } else { part }
            })
            .collect::<Vec<_>>()
            .join(".");
        if seen.insert(group.clone()) {
            shown.push(group);
        }
    }
    if shown.is_empty() { "none".into() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_grouped_over_layers() {
        let error = LoraError::NoTarget {
            field: "target_modules".into(),
            wanted: vec!["c_attn".into(), "wq".into()],
            candidates: [
                "model.layers.0.self_attn.q_proj",
                "model.layers.0.mlp.up_proj",
                "model.layers.1.self_attn.q_proj",
                "lm_head",
            ]
            .map(String::from)
            .to_vec(),
        };
        assert_eq!(
            error.to_string(),
            "target_modules `c_attn`, `wq` matches no module; there are \
             model.layers.*.self_attn.q_proj, model.layers.*.mlp.up_proj, lm_head"
        );
    }

    #[test]
    fn tensor_problems_are_shown_all_at_once() {
        let problems = TensorProblems {
            missing: vec!["a".into()],
            unexpected: vec!["b".into(), "c".into()],
            shapes: vec![ShapeProblem { name: "d".into(), found: vec![8, 64], wanted: vec![4, 64] }],
        };
        assert_eq!(
            LoraError::TensorMismatch(problems).to_string(),
            "the adapter does not fit the model in 4 tensors:\n  missing: a\n  unexpected: b\n  \
             unexpected: c\n  d: found shape [8, 64], wanted [4, 64]"
        );
    }
}
