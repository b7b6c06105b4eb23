//! The metrics of tasks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::TaskOutput;
use crate::error::EvalError;
use crate::exact_match::ExactMatchConfig;
use crate::metric::Metric;

/// A metric of a task. Those of written answers are 0..100, those of choices 0..1 as in lm-eval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum TaskMetricName {
    /// The metrics of written answers by their names, 0..100. `perplexity` belongs to `loglikelihood_rolling`: per
    /// token, 1.., lower is better.
    Answer(Metric),
    /// `chrf`: corpus chrF2 of written answers, 0..100.
    Chrf,
    /// `chrf++`: the same with words and pairs of words.
    ChrfPlusPlus,
    /// `ter`: corpus TER of written answers, 0.., lower is better.
    Ter,
    /// `accuracy`: per cent of written answers that are a reference, letter by letter.
    Accuracy,
    /// `f1_macro`: mean F1 of the labels that occur among the references, 0..100. An answer that is none of them is a
    /// mistake.
    F1Macro,
    /// `acc`: the likeliest choice is right, 0..1.
    Acc,
    /// `acc_norm`: by log-likelihood per code point, 0..1.
    AccNorm,
    /// `acc_bytes`: by log-likelihood per UTF-8 byte, 0..1.
    AccBytes,
    /// `acc_mutual_info`: by log-likelihood minus that without the context, 0..1.
    AccMutualInfo,
    /// `brier` (lm-eval: `brier_score`): Brier score of the choices, 0..2, lower is better.
    Brier,
    /// `word_perplexity`: of whole texts, 1.., lower is better.
    WordPerplexity,
    /// `byte_perplexity`: of whole texts, 1.., lower is better.
    BytePerplexity,
    /// `bits_per_byte`: of whole texts, 0.., lower is better.
    BitsPerByte,
}

use TaskMetricName as Name;

impl TaskMetricName {
    const OTHERS: [Self; 13] = [
        Name::Chrf,
        Name::ChrfPlusPlus,
        Name::Ter,
        Name::Accuracy,
        Name::F1Macro,
        Name::Acc,
        Name::AccNorm,
        Name::AccBytes,
        Name::AccMutualInfo,
        Name::Brier,
        Name::WordPerplexity,
        Name::BytePerplexity,
        Name::BitsPerByte,
    ];

    /// All metrics.
    pub fn all() -> impl Iterator<Item = Self> {
        let answers = Metric::OF_ANSWERS.into_iter().chain([Metric::Perplexity]).map(Self::Answer);
        answers.chain(Self::OTHERS)
    }

    /// The name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer(metric) => metric.name(),
            Self::Chrf => "chrf",
            Self::ChrfPlusPlus => "chrf++",
            Self::Ter => "ter",
            Self::Accuracy => "accuracy",
            Self::F1Macro => "f1_macro",
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccBytes => "acc_bytes",
            Self::AccMutualInfo => "acc_mutual_info",
            Self::Brier => "brier",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
        }
    }

    /// What a model must do to be measured by it.
    pub fn output(self) -> TaskOutput {
        match self {
            Self::Acc | Self::AccNorm | Self::AccBytes | Self::AccMutualInfo | Self::Brier => {
                TaskOutput::MultipleChoice
            }
            Self::WordPerplexity
            | Self::BytePerplexity
            | Self::BitsPerByte
            | Self::Answer(Metric::Perplexity) => TaskOutput::LoglikelihoodRolling,
            _ => TaskOutput::GenerateUntil,
        }
    }

    /// Whether a rise is an improvement.
    pub fn higher_is_better(self) -> bool {
        let of_texts = self.output() == TaskOutput::LoglikelihoodRolling;
        !of_texts && !matches!(self, Self::Ter | Self::Brier)
    }

    /// Whether references must be JSON objects.
    pub(super) fn wants_json(self) -> bool {
        matches!(self, Self::Answer(Metric::EntityPrecision | Metric::EntityRecall | Metric::EntityF1))
    }

    /// The names of those that fit.
    pub(super) fn list(output: TaskOutput) -> String {
        let names: Vec<&str> = Self::all().filter(|name| name.output() == output).map(Self::name).collect();
        names.join(", ")
    }
}

impl fmt::Display for TaskMetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TaskMetricName {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let lower = name.to_ascii_lowercase();
        let lower = if lower == "brier_score" { "brier" } else { &lower };
        Self::all().find(|metric| metric.name().eq_ignore_ascii_case(lower)).ok_or_else(|| {
            let wanted = Self::all().map(Self::name).collect::<Vec<_>>().join(", ");
            EvalError::UnknownName { kind: "metric", found: name.to_owned(), wanted }
        })
    }
}

impl From<TaskMetricName> for String {
    fn from(name: TaskMetricName) -> Self {
        name.name().to_owned()
    }
}

impl TryFrom<String> for TaskMetricName {
    type Error = EvalError;

    fn try_from(name: String) -> Result<Self, EvalError> {
        name.parse()
    }
}

/// A metric with its options. In files a name, or `{metric: exact_match, ignore_case: true, …}` with the fields of
/// [`ExactMatchConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
#[non_exhaustive]
pub struct TaskMetric {
    /// Which.
    pub metric: TaskMetricName,
    /// What exact match ignores; the default for all others.
    pub exact_match: ExactMatchConfig,
}

impl TaskMetric {
    /// Without options.
    pub fn new(metric: TaskMetricName) -> Self {
        Self { metric, exact_match: ExactMatchConfig::default() }
    }

    /// Exact match that ignores this.
    pub fn exact_match(config: ExactMatchConfig) -> Self {
        Self { metric: Name::Answer(Metric::ExactMatch), exact_match: config }
    }
}

impl From<TaskMetricName> for TaskMetric {
    fn from(metric: TaskMetricName) -> Self {
        Self::new(metric)
    }
}

impl From<Metric> for TaskMetric {
    fn from(metric: Metric) -> Self {
        Self::new(Name::Answer(metric))
    }
}

impl From<TaskMetric> for Value {
    fn from(metric: TaskMetric) -> Self {
        let name = Value::from(metric.metric.name());
        if metric.exact_match == ExactMatchConfig::default() {
            return name;
        }
        let mut table = Map::new();
        table.insert("metric".to_owned(), name);
        if let Ok(Self::Object(options)) = serde_json::to_value(&metric.exact_match) {
            table.extend(options);
        }
        Self::Object(table)
    }
}

impl TryFrom<Value> for TaskMetric {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let parse = |name: &str| name.parse::<TaskMetricName>().map_err(|error| error.to_string());
        match value {
            Value::String(name) => parse(&name).map(Self::new),
            Value::Object(mut table) => {
                let name = table.remove("metric");
                let Some(name) = name.as_ref().and_then(Value::as_str) else {
                    return Err("found a table without a metric's name, wanted {metric: NAME, ..}".to_owned());
                };
                let metric = parse(name)?;
                if metric != Name::Answer(Metric::ExactMatch) && !table.is_empty() {
                    let found: Vec<&str> = table.keys().map(String::as_str).collect();
                    return Err(format!(
                        "found options of {name}: {}; only exact_match has any",
                        found.join(", ")
                    ));
                }
                let exact_match = serde_json::from_value(Value::Object(table));
                Ok(Self { metric, exact_match: exact_match.map_err(|error| format!("{name}: {error}"))? })
            }
            other => Err(format!("found {other}, wanted a metric's name or {{metric: NAME, ..}}")),
        }
    }
}
