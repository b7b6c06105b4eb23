//! The names of the metrics.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::EvalError;

/// A metric of answers against references, 0..100, higher is better; or [`Metric::Perplexity`].
///
/// In text and JSON it has the name customary in the field, such as `squad_f1` or `rougeL`; reading ignores
/// case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Metric {
    /// `exact_match`: per cent of answers equal to a reference
    /// ([`ExactMatchConfig`](crate::ExactMatchConfig)).
    ExactMatch,
    /// `squad_exact_match`: the same after SQuAD's normalisation ([`squad`](fn@crate::squad)).
    SquadExactMatch,
    /// `squad_f1`: mean token F1 ([`squad`](fn@crate::squad)).
    SquadF1,
    /// `entity_precision`: of field-value pairs in JSON ([`EntityConfig`](crate::EntityConfig)).
    EntityPrecision,
    /// `entity_recall`: of field-value pairs in JSON ([`EntityConfig`](crate::EntityConfig)).
    EntityRecall,
    /// `entity_f1`: micro F1 of field-value pairs in JSON ([`EntityConfig`](crate::EntityConfig)).
    EntityF1,
    /// `rouge1`: mean F1 of shared words ([`RougeConfig`](crate::RougeConfig)).
    Rouge1,
    /// `rouge2`: mean F1 of shared pairs of words.
    Rouge2,
    /// `rougeL`: mean F1 of the longest common subsequence.
    RougeL,
    /// `rougeLsum`: mean F1 of the longest common subsequences, line by line.
    RougeLsum,
    /// `bleu`: corpus BLEU ([`BleuConfig`](crate::BleuConfig)).
    Bleu,
    /// `perplexity`: of the reference answers, from their losses, lower is better
    /// ([`corpus_perplexity`](crate::corpus_perplexity),
    /// [`with_losses`](crate::ComparisonReport::with_losses)).
    Perplexity,
}

impl Metric {
    /// All metrics of answers: all but [`Metric::Perplexity`].
    pub const OF_ANSWERS: [Self; 11] = [
        Self::ExactMatch,
        Self::SquadExactMatch,
        Self::SquadF1,
        Self::EntityPrecision,
        Self::EntityRecall,
        Self::EntityF1,
        Self::Rouge1,
        Self::Rouge2,
        Self::RougeL,
        Self::RougeLsum,
        Self::Bleu,
    ];

    /// The name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::SquadExactMatch => "squad_exact_match",
            Self::SquadF1 => "squad_f1",
            Self::EntityPrecision => "entity_precision",
            Self::EntityRecall => "entity_recall",
            Self::EntityF1 => "entity_f1",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
            Self::RougeLsum => "rougeLsum",
            Self::Bleu => "bleu",
            Self::Perplexity => "perplexity",
        }
    }

    /// Whether a rise is an improvement.
    pub fn higher_is_better(self) -> bool {
        self != Self::Perplexity
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let known = Self::OF_ANSWERS.into_iter().chain([Self::Perplexity]);
        known.clone().find(|metric| metric.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            EvalError::UnknownName {
                kind: "metric",
                found: name.to_owned(),
                wanted: known.map(Self::name).collect::<Vec<_>>().join(", "),
            }
        })
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.name().to_owned()
    }
}

impl TryFrom<String> for Metric {
    type Error = EvalError;

    fn try_from(name: String) -> Result<Self, EvalError> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for metric in Metric::OF_ANSWERS.into_iter().chain([Metric::Perplexity]) {
            assert_eq!(metric.to_string().parse::<Metric>().unwrap(), metric);
            assert_eq!(metric.name().to_uppercase().parse::<Metric>().unwrap(), metric);
        }
        let error = "chrf".parse::<Metric>().unwrap_err().to_string();
        assert!(error.starts_with("found metric `chrf`, wanted one of exact_match, "), "{error}");
    }
}
