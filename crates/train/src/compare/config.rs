use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burnisher_eval::{BootstrapConfig, Metric, MetricSet, SystemKind, SystemsConfig};
use serde::{Deserialize, Serialize};

use crate::config_file;
use crate::{BaseQuant, ConfigProblem, RunConfig, TrainError};

/// A system that a comparison makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ComparedSystem {
    /// The base model as it is; always there.
    Base,
    /// The base model, with passages of `documents` before each question.
    Retrieval,
    /// The run with its adapter on a dense base.
    Lora,
    /// The run with its adapter on a base in 4 bits (NF4, double-quantized).
    Qlora,
    /// The run with every parameter trained.
    Full,
}

impl ComparedSystem {
    /// The name in reports and folders.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Retrieval => "retrieval",
            Self::Lora => "lora",
            Self::Qlora => "qlora",
            Self::Full => "full",
        }
    }

    pub(super) fn kind(self) -> SystemKind {
        match self {
            Self::Base => SystemKind::Base,
            Self::Retrieval => SystemKind::Retrieval,
            Self::Lora => SystemKind::Lora,
            Self::Qlora => SystemKind::Qlora,
            Self::Full => SystemKind::Full,
        }
    }
}

/// What is compared with what, on what.
///
/// ```
/// use burnisher_train::CompareConfig;
///
/// let config: CompareConfig = serde_json::from_str(r#"{
///     "run": "finetune.yaml", "output_dir": "compared", "documents": ["docs/*.md"],
///     "metrics": ["exact_match", "rougeL"], "primary": "rougeL",
///     "set": { "full": ["train.learning_rate=2e-5"] }
/// }"#)?;
/// assert_eq!(config.passages, 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CompareConfig {
    /// The run file: base model, data (`data.test` holds the examples), adapter, training.
    pub run: PathBuf,
    /// Where the report and a folder for each system go.
    pub output_dir: PathBuf,
    /// The systems; without it base, lora, qlora and full, and retrieval if there are documents.
    #[serde(default)]
    pub systems: Vec<ComparedSystem>,
    /// Adapters that are trained already: name and PEFT directory.
    #[serde(default)]
    pub adapters: BTreeMap<String, PathBuf>,
    /// Fields of the run that a system sets otherwise: `full: ["train.learning_rate=2e-5"]`.
    #[serde(default)]
    pub set: BTreeMap<ComparedSystem, Vec<String>>,
    /// Files, folders or patterns that retrieval searches.
    #[serde(default)]
    pub documents: Vec<PathBuf>,
    /// Passages put before a question; 3 by default.
    #[serde(default = "passages")]
    pub passages: usize,
    /// Words of a passage, at most; 120 by default.
    #[serde(default = "passage_words")]
    pub passage_words: usize,
    /// Words that a passage shares with the one before; 20 by default.
    #[serde(default = "passage_overlap")]
    pub passage_overlap: usize,
    /// General data, by name: what may be forgotten.
    #[serde(default)]
    pub general: BTreeMap<String, PathBuf>,
    /// The metric of general data that asks something; `squad_f1` by default.
    #[serde(default = "general_metric")]
    pub general_metric: Metric,
    /// The metrics of the answers; `exact_match`, `squad_f1` and `rougeL` by default.
    #[serde(default = "metrics")]
    pub metrics: Vec<Metric>,
    /// The metric that decides, one of them; the last by default.
    #[serde(default)]
    pub primary: Option<Metric>,
    /// The first examples of `data.test` only.
    #[serde(default)]
    pub examples: Option<usize>,
    /// The first records of each general set only.
    #[serde(default)]
    pub general_examples: Option<usize>,
    /// Tokens of an answer, at most; 128 by default.
    #[serde(default = "max_new_tokens")]
    pub max_new_tokens: usize,
    /// Prompts that are answered together; 16 by default.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// Seed of the bootstrap intervals; 0 by default.
    #[serde(default)]
    pub seed: u64,
}

fn passages() -> usize {
    3
}

fn passage_words() -> usize {
    120
}

fn passage_overlap() -> usize {
    20
}

fn general_metric() -> Metric {
    Metric::SquadF1
}

fn metrics() -> Vec<Metric> {
    vec![Metric::ExactMatch, Metric::SquadF1, Metric::RougeL]
}

fn max_new_tokens() -> usize {
    128
}

fn batch_size() -> usize {
    16
}

impl CompareConfig {
    /// Reads and checks a file: TOML if its name ends in `.toml`, YAML if in `.yaml` or `.yml`.
    ///
    /// # Errors
    ///
    /// [`TrainError::ConfigSyntax`], [`TrainError::ConfigFormat`] or [`TrainError::Io`] for a file that cannot be read as
    /// either, an unknown field among them; else as [`CompareConfig::validate`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TrainError> {
        let path = path.as_ref();
        let value = config_file::read(path)?;
        let config: Self = serde_json::from_value(value).map_err(|error| TrainError::ConfigSyntax {
            path: path.to_path_buf(),
            format: "comparison",
            message: error.to_string(),
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every value that needs no file.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with all that is wrong.
    pub fn validate(&self) -> Result<(), TrainError> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, field: &str, found: String, wanted: &str| {
            if !holds {
                problems.push(ConfigProblem::value(field, found, wanted));
            }
        };
        let primary = self.primary();
        let known = primary.is_some_and(|primary| self.metrics.contains(&primary));
        require(known, "primary", format!("{primary:?}"), "one of the metrics");
        let of_answers = !self.metrics.contains(&Metric::Perplexity);
        require(
            of_answers,
            "metrics",
            "perplexity".to_owned(),
            "metrics of answers; losses are always measured",
        );
        let retrieves = self.systems.contains(&ComparedSystem::Retrieval);
        let has_documents = !retrieves || !self.documents.is_empty();
        require(has_documents, "documents", "none".to_owned(), "files that retrieval searches");
        require(self.passages > 0, "passages", self.passages.to_string(), "at least 1");
        let overlaps = self.passage_overlap < self.passage_words;
        require(
            overlaps,
            "passage_overlap",
            self.passage_overlap.to_string(),
            "fewer words than a passage has",
        );
        for name in self.adapters.keys() {
            let plain =
                !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
            require(plain, "adapters", format!("{name:?}"), "a name of letters, digits, - and _");
            let taken = self.systems().iter().any(|system| system.as_str() == name);
            require(!taken, "adapters", format!("{name:?}"), "a name that no system has");
        }
        for system in self.set.keys() {
            let trained = system.kind().is_trained();
            require(
                trained,
                "set",
                system.as_str().to_owned(),
                "a system that is trained: lora, qlora, full",
            );
        }
        require(self.max_new_tokens > 0, "max_new_tokens", "0".to_owned(), "at least 1");
        if problems.is_empty() { Ok(()) } else { Err(TrainError::Config(problems)) }
    }

    /// The systems, the base first, each once.
    pub fn systems(&self) -> Vec<ComparedSystem> {
        use ComparedSystem::{Base, Full, Lora, Qlora, Retrieval};
        let mut systems = self.systems.clone();
        if systems.is_empty() {
            systems = vec![Base, Retrieval, Lora, Qlora, Full];
            systems.retain(|system| *system != Retrieval || !self.documents.is_empty());
        }
        systems.push(Base);
        systems.sort();
        systems.dedup();
        systems
    }

    /// The metric that decides.
    pub fn primary(&self) -> Option<Metric> {
        self.primary.or(self.metrics.last().copied())
    }

    /// The run of a trained system; `None` for the others.
    ///
    /// # Errors
    ///
    /// As [`RunConfig::from_file`]; [`TrainError::Override`] for a wrong field in `set`; [`TrainError::Config`] if the run
    /// has no adapter to train.
    pub(super) fn run_of(&self, system: ComparedSystem) -> Result<Option<RunConfig>, TrainError> {
        let mut run = RunConfig::from_file(&self.run)?;
        match system {
            ComparedSystem::Base | ComparedSystem::Retrieval => return Ok(None),
            ComparedSystem::Lora => run.model.quant = BaseQuant::None,
            ComparedSystem::Qlora => {
                run.model.quant = BaseQuant::Nf4;
                run.model.double_quant = true;
            }
            ComparedSystem::Full => {
                run.model.quant = BaseQuant::None;
                run.lora = None;
            }
        }
        run.train.output_dir = self.output_dir.join(system.as_str()).join("run");
        for text in self.set.get(&system).into_iter().flatten() {
            run.set(text)?;
        }
        if system != ComparedSystem::Full && run.adapter().is_none() {
            let found = "none".to_owned();
            return Err(TrainError::Config(vec![ConfigProblem::value(
                "lora",
                found,
                "a section for lora and qlora",
            )]));
        }
        run.validate()?;
        Ok(Some(run))
    }

    /// How the report is made.
    pub(super) fn report(&self) -> SystemsConfig {
        // Holm's correction over all pairs can only be passed if a single p-value can be small enough.
        let systems = self.systems().len() + self.adapters.len();
        let pairs = systems * (systems - 1) / 2;
        let usual = BootstrapConfig::default();
        let bootstrap = usual.with_resamples(usual.resamples.max(40 * pairs)).with_seed(self.seed);
        let metrics = MetricSet::from(self.metrics.clone()).with_bootstrap(bootstrap);
        SystemsConfig::new(metrics, self.primary().unwrap_or(Metric::RougeL))
    }
}
