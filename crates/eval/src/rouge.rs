//! ROUGE: shared n-grams and longest common subsequences.

mod aggregate;
mod lcs;
mod tokenize;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::aggregate::{RougeAggregation, RougeInterval};
use self::tokenize::Numbers;
pub use self::tokenize::RougeTokenizer;
use crate::error::{EvalError, check_references};
use crate::ngrams::{clipped_matches, total};

const METRIC: &str = "rouge";

/// One of the ROUGE measures, named as in rouge_score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum RougeType {
    /// `rouge1`, `rouge2`, …: n-grams of this many tokens, at least 1.
    N(usize),
    /// `rougeL`: longest common subsequence of the whole texts.
    L,
    /// `rougeLsum`: union of the longest common subsequences line by line; a line is a sentence.
    Lsum,
}

impl fmt::Display for RougeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::N(n) => write!(f, "rouge{n}"),
            Self::L => f.write_str("rougeL"),
            Self::Lsum => f.write_str("rougeLsum"),
        }
    }
}

impl FromStr for RougeType {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let unknown = || EvalError::UnknownName {
            kind: "ROUGE type",
            found: name.to_owned(),
            wanted: "rouge1, rouge2, …, rougeL, rougeLsum".to_owned(),
        };
        match name.strip_prefix("rouge").ok_or_else(unknown)? {
            "L" => Ok(Self::L),
            "Lsum" => Ok(Self::Lsum),
            digits => match digits.parse() {
                Ok(n) if n > 0 => Ok(Self::N(n)),
                _ => Err(unknown()),
            },
        }
    }
}

impl From<RougeType> for String {
    fn from(rouge: RougeType) -> Self {
        rouge.to_string()
    }
}

impl TryFrom<String> for RougeType {
    type Error = EvalError;

    fn try_from(name: String) -> Result<Self, EvalError> {
        name.parse()
    }
}

/// Precision, recall and their F1, each 0..1 as in rouge_score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeScore {
    /// Shared units over the units of the prediction.
    pub precision: f64,
    /// Shared units over the units of the reference.
    pub recall: f64,
    /// 2PR / (P + R), 0 when both are 0.
    pub fmeasure: f64,
}

impl RougeScore {
    /// From the units both have and the units of each; a text without units counts as one of one unit.
    fn new(shared: usize, prediction: usize, reference: usize) -> Self {
        let precision = shared as f64 / prediction.max(1) as f64;
        let recall = shared as f64 / reference.max(1) as f64;
        let sum = precision + recall;
        let fmeasure = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        Self { precision, recall, fmeasure }
    }
}

/// What ROUGE measures and on which tokens. The default is ROUGE-1, -2, -L and -Lsum without stemming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RougeConfig {
    /// The measures.
    pub types: Vec<RougeType>,
    /// How a text becomes tokens.
    pub tokenizer: RougeTokenizer,
    /// Replace words of more than three characters by their stem ([`porter_stem`](crate::porter_stem)).
    pub use_stemmer: bool,
}

impl Default for RougeConfig {
    fn default() -> Self {
        Self {
            types: vec![RougeType::N(1), RougeType::N(2), RougeType::L, RougeType::Lsum],
            tokenizer: RougeTokenizer::default(),
            use_stemmer: false,
        }
    }
}

impl RougeConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Computes these measures.
    pub fn with_types(mut self, types: impl IntoIterator<Item = RougeType>) -> Self {
        self.types = types.into_iter().collect();
        self
    }

    /// Splits texts this way.
    pub fn with_tokenizer(mut self, tokenizer: RougeTokenizer) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// Stems, or not.
    pub fn with_use_stemmer(mut self, stem: bool) -> Self {
        self.use_stemmer = stem;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// `RougeType::N(0)`.
    pub fn init(&self) -> Result<Rouge, EvalError> {
        if self.types.contains(&RougeType::N(0)) {
            return Err(EvalError::Option {
                metric: METRIC,
                option: "types",
                found: RougeType::N(0).to_string(),
                wanted: "n-grams of at least 1 token",
            });
        }
        Ok(Rouge { config: self.clone() })
    }
}

/// ROUGE (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"), as rouge_score 0.1.2 computes
/// it. Made by [`RougeConfig::init`].
#[derive(Debug, Clone)]
pub struct Rouge {
    config: RougeConfig,
}

impl Rouge {
    /// The tokens of a text.
    pub fn tokenize(&self, text: &str) -> Vec<String> {
        self.config.tokenizer.tokens(text, self.config.use_stemmer)
    }

    /// The scores of one prediction against one reference.
    pub fn score(&self, prediction: &str, reference: &str) -> BTreeMap<RougeType, RougeScore> {
        let tokenizer = self.config.tokenizer;
        let (prediction, reference) = (tokenizer.fold(prediction), tokenizer.fold(reference));
        let mut numbers = Numbers::new(tokenizer, self.config.use_stemmer);
        let (prediction, reference) = (numbers.lines(&prediction), numbers.lines(&reference));
        let (all_prediction, all_reference) = (prediction.concat(), reference.concat());
        let longest = |rouge: &RougeType| if let RougeType::N(n) = rouge { *n } else { 0 };
        // No order above the longer text has a match, however large the one asked for.
        let most = self.config.types.iter().map(longest).max().unwrap_or(0);
        let most = most.min(all_prediction.len().max(all_reference.len()));
        let matches = clipped_matches(&all_prediction, &[&all_reference], most);
        let measure = |rouge: &RougeType| {
            let (prediction_units, reference_units) = (all_prediction.len(), all_reference.len());
            let score = match rouge {
                RougeType::N(n) => RougeScore::new(
                    matches.get(n - 1).map_or(0, |count| *count as usize),
                    total(prediction_units, *n) as usize,
                    total(reference_units, *n) as usize,
                ),
                RougeType::L => {
                    let shared = lcs::length(&all_reference, &all_prediction);
                    RougeScore::new(shared, prediction_units, reference_units)
                }
                RougeType::Lsum => {
                    let shared = lcs::union_hits(&reference, &prediction);
                    RougeScore::new(shared, prediction_units, reference_units)
                }
            };
            (*rouge, score)
        };
        self.config.types.iter().map(measure).collect()
    }

    /// The scores of many predictions, each against its best reference as in
    /// [`score_multi`](Self::score_multi), in order.
    ///
    /// # Errors
    /// No examples, not equally many predictions and reference lists, an empty reference list.
    pub fn scores<P: AsRef<str> + Sync, R: AsRef<str> + Sync>(
        &self,
        predictions: &[P],
        references: &[Vec<R>],
    ) -> Result<Vec<BTreeMap<RougeType, RougeScore>>, EvalError> {
        check_references(METRIC, predictions.len(), references)?;
        let score =
            |(prediction, references): (&P, &Vec<R>)| self.score_multi(prediction.as_ref(), references);
        Ok(predictions.par_iter().zip(references).map(score).collect())
    }

    /// For each measure the score against the reference with the highest F1, the first of equals; all 0
    /// without references.
    pub fn score_multi<R: AsRef<str>>(
        &self,
        prediction: &str,
        references: &[R],
    ) -> BTreeMap<RougeType, RougeScore> {
        let mut best: BTreeMap<_, _> =
            self.config.types.iter().map(|rouge| (*rouge, RougeScore::default())).collect();
        for (index, reference) in references.iter().enumerate() {
            for (rouge, score) in self.score(prediction, reference.as_ref()) {
                let kept = best.entry(rouge).or_default();
                if index == 0 || score.fmeasure > kept.fmeasure {
                    *kept = score;
                }
            }
        }
        best
    }

    /// Means of precision, recall and F1 over a set, each prediction against its best reference.
    ///
    /// # Errors
    /// No examples, not equally many predictions and reference lists, an empty reference list.
    pub fn corpus<P: AsRef<str> + Sync, R: AsRef<str> + Sync>(
        &self,
        predictions: &[P],
        references: &[Vec<R>],
    ) -> Result<BTreeMap<RougeType, RougeScore>, EvalError> {
        let mut sums: BTreeMap<RougeType, RougeScore> = BTreeMap::new();
        for scores in self.scores(predictions, references)? {
            for (rouge, score) in scores {
                let sum = sums.entry(rouge).or_default();
                sum.precision += score.precision;
                sum.recall += score.recall;
                sum.fmeasure += score.fmeasure;
            }
        }
        let count = predictions.len() as f64;
        for sum in sums.values_mut() {
            *sum = RougeScore {
                precision: sum.precision / count,
                recall: sum.recall / count,
                fmeasure: sum.fmeasure / count,
            };
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_go_both_ways_and_a_zero_is_refused() {
        for rouge in [RougeType::N(1), RougeType::N(12), RougeType::L, RougeType::Lsum] {
            assert_eq!(rouge.to_string().parse::<RougeType>().unwrap(), rouge);
        }
        for name in ["rouge0", "rouge", "rougel", "bleu"] {
            let error = name.parse::<RougeType>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("found ROUGE type `{name}`, wanted one of rouge1")),
                "{error}"
            );
        }
        let error = RougeConfig::new().with_types([RougeType::N(0)]).init().unwrap_err();
        assert_eq!(error.to_string(), "rouge: found types = rouge0, wanted n-grams of at least 1 token");
    }
}
