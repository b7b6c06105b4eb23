//! Named entities as tags per token: precision, recall and F1 of whole entities.

mod lenient;
mod scheme;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

pub use self::scheme::{TagPosition, TagScheme, detect_scheme};
use crate::averages::{Averages, ClassCounts, ClassScore, ZeroDivision, report_row, report_text};
use crate::error::{EvalError, check_pairs};

const METRIC: &str = "tagging";

/// How tags become entities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TagReading {
    /// As CoNLL's evaluation script and seqeval's default: whatever the scheme, an entity also begins with I or E
    /// after O, and where the type changes. L and U of BILOU read as I: take [`TagReading::Strict`] for them.
    #[default]
    Lenient,
    /// Only what the scheme allows is an entity.
    Strict(TagScheme),
}

/// A run of tokens with a type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TagSpan {
    /// Position of the sentence, from 0.
    pub sentence: usize,
    /// First token, from 0.
    pub start: usize,
    /// Behind the last token.
    pub end: usize,
    /// The type; `_` for a tag without one.
    pub label: String,
}

/// How tagged sentences are scored. The default is that of seqeval 1.2.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TaggingConfig {
    /// How tags become entities.
    pub reading: TagReading,
    /// Where in a tag the B, I, O, … stands.
    pub position: TagPosition,
    /// What stands for a share of nothing.
    pub zero_division: ZeroDivision,
}

impl TaggingConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// seqeval's `mode='strict'` with this scheme.
    pub fn strict(scheme: TagScheme) -> Self {
        Self { reading: TagReading::Strict(scheme), ..Self::default() }
    }

    /// Reads B, I, O, … here.
    pub fn with_position(mut self, position: TagPosition) -> Self {
        self.position = position;
        self
    }

    /// Puts this for a share of nothing.
    pub fn with_zero_division(mut self, zero_division: ZeroDivision) -> Self {
        self.zero_division = zero_division;
        self
    }

    /// The entities of tagged sentences, in order.
    ///
    /// # Errors
    /// An empty tag; when strict, a tag the scheme does not have.
    pub fn spans<S: AsRef<str>>(&self, sentences: &[Vec<S>]) -> Result<Vec<TagSpan>, EvalError> {
        match self.reading {
            TagReading::Lenient => lenient::spans(sentences, self.position),
            TagReading::Strict(scheme) => scheme::spans(sentences, scheme, self.position),
        }
    }

    /// Predicted tags against those wanted, sentence by sentence.
    ///
    /// # Errors
    /// No sentences, not equally many, a sentence of another length than its reference, and as
    /// [`spans`](Self::spans).
    pub fn score<P: AsRef<str>, R: AsRef<str>>(
        &self,
        predictions: &[Vec<P>],
        references: &[Vec<R>],
    ) -> Result<TagReport, EvalError> {
        check_pairs(METRIC, predictions.len(), references.len())?;
        let (mut tokens, mut equal, mut foreign_tags) = (0u64, 0u64, 0u64);
        for (sentence, (predicted, wanted)) in predictions.iter().zip(references).enumerate() {
            if predicted.len() != wanted.len() {
                let (predictions, references) = (predicted.len(), wanted.len());
                return Err(EvalError::SentenceLength { metric: METRIC, sentence, predictions, references });
            }
            for (predicted, wanted) in predicted.iter().zip(wanted) {
                let pair = [predicted.as_ref(), wanted.as_ref()];
                tokens += 1;
                equal += u64::from(pair[0] == pair[1]);
                foreign_tags +=
                    pair.iter().filter(|tag| lenient::is_foreign(tag, self.position)).count() as u64;
            }
        }
        let found = self.spans(predictions)?;
        let wanted: HashSet<TagSpan> = self.spans(references)?.into_iter().collect();
        let mut counts: BTreeMap<String, ClassCounts> = BTreeMap::new();
        for span in &wanted {
            counts.entry(span.label.clone()).or_default().wanted += 1;
        }
        for span in found {
            let counts = counts.entry(span.label.clone()).or_default();
            counts.predicted += 1;
            counts.correct += u64::from(wanted.contains(&span));
        }
        let all: Vec<ClassCounts> = counts.values().copied().collect();
        let score = |counts: ClassCounts| counts.score_of_shares(self.zero_division);
        Ok(TagReport {
            averages: Averages::by(&all, self.zero_division, score),
            types: counts.iter().map(|(label, counts)| (label.clone(), score(*counts))).collect(),
            counts,
            accuracy: if tokens == 0 { self.zero_division.value() } else { equal as f64 / tokens as f64 },
            foreign_tags,
        })
    }
}

/// Entities found against entities wanted. Shares are 0..1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagReport {
    /// Over all types. Without any entity they are what [`ZeroDivision`] says, where seqeval's macro is NaN.
    pub averages: Averages,
    /// Per type that either side has.
    pub types: BTreeMap<String, ClassScore>,
    /// Per type, the counts behind the scores.
    pub counts: BTreeMap<String, ClassCounts>,
    /// Tokens with the right tag over all tokens.
    pub accuracy: f64,
    /// Tags that do not begin with B, I, E, S or O, of both sides: a lenient reading takes them for I. More than
    /// 0 means that the scheme should be named.
    pub foreign_tags: u64,
}

impl TagReport {
    /// seqeval's `classification_report` with this many decimals.
    pub fn to_text(&self, digits: usize) -> String {
        let types: Vec<_> = self.types.iter().map(|(name, score)| report_row(name, score)).collect();
        let Averages { micro, macro_, weighted } = &self.averages;
        let averages = [("micro avg", micro), ("macro avg", macro_), ("weighted avg", weighted)];
        report_text(&types, &averages.map(|(name, score)| report_row(name, score)), digits)
    }
}
