//! Labelled spans found against spans wanted, from exact to forgiving.

mod matching;

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

pub use self::matching::SpanMatching;
use crate::error::{EvalError, check_pairs};

const METRIC: &str = "spans";

/// A labelled piece of a document, in any unit: characters, bytes or tokens, as long as both sides use the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// Its first unit, from 0.
    pub start: usize,
    /// Behind its last unit; always above `start`. (nervaluate counts the last unit itself.)
    pub end: usize,
    /// What it is.
    pub label: String,
}

impl Span {
    /// The span `start..end` with a label.
    pub fn new(label: impl Into<String>, start: usize, end: usize) -> Self {
        Self { start, end, label: label.into() }
    }

    /// The spans of one tagged sentence, as nervaluate's list loader reads it: any tag but `O` begins an entity
    /// or goes on with one of the same type, only `B-` splits two of the same type.
    ///
    /// # Errors
    /// A tag other than `O` that does not begin with `B-` or `I-`.
    pub fn from_tags<S: AsRef<str>>(tags: &[S]) -> Result<Vec<Self>, EvalError> {
        let mut spans: Vec<Self> = Vec::new();
        let mut open = false;
        for (token, tag) in tags.iter().map(AsRef::as_ref).enumerate() {
            if tag == "O" {
                open = false;
                continue;
            }
            let (begins, label) = match (tag.strip_prefix("B-"), tag.strip_prefix("I-")) {
                (Some(label), _) => (true, label),
                (None, Some(label)) => (false, label),
                (None, None) => {
                    let (found, wanted) = (tag.to_owned(), "O, or one that begins with B- or I-");
                    return Err(EvalError::Tag { sentence: 0, token, found, wanted });
                }
            };
            match spans.last_mut().filter(|last| open && !begins && last.label == label) {
                Some(last) => last.end = token + 1,
                None => spans.push(Self::new(label, token, token + 1)),
            }
            open = true;
        }
        Ok(spans)
    }

    fn overlap(&self, other: &Self) -> usize {
        self.end.min(other.end).saturating_sub(self.start.max(other.start))
    }
}

/// What makes a found span right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpanCriterion {
    /// The same place and the same label.
    Strict,
    /// The same place, whatever the label.
    Exact,
    /// The same place, whatever the label; an overlap counts half.
    Partial,
    /// The same label and an overlap.
    EntType,
}

impl SpanCriterion {
    /// All criteria.
    pub const ALL: [Self; 4] = [Self::Strict, Self::Exact, Self::Partial, Self::EntType];
}

/// Found and wanted spans by outcome. The counts of a set are the sum of those of its documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanCounts {
    /// Right.
    pub correct: u64,
    /// Matched to a wanted span, but wrong.
    pub incorrect: u64,
    /// Half right ([`SpanCriterion::Partial`] only).
    pub partial: u64,
    /// Wanted spans without a found one.
    pub missed: u64,
    /// Found spans without a wanted one.
    pub spurious: u64,
}

impl SpanCounts {
    /// Number of found spans.
    pub fn actual(&self) -> u64 {
        self.correct + self.incorrect + self.partial + self.spurious
    }

    /// Number of wanted spans.
    pub fn possible(&self) -> u64 {
        self.correct + self.incorrect + self.partial + self.missed
    }

    /// (correct + partial / 2) over the found spans, 0..1; 0 without any.
    pub fn precision(&self) -> f64 {
        self.share(self.actual())
    }

    /// (correct + partial / 2) over the wanted spans, 0..1; 0 without any.
    pub fn recall(&self) -> f64 {
        self.share(self.possible())
    }

    /// 2PR / (P + R), 0 when both are 0.
    pub fn f1(&self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
    }

    fn share(&self, whole: u64) -> f64 {
        match whole {
            0 => 0.0,
            _ => (self.correct as f64 + 0.5 * self.partial as f64) / whole as f64,
        }
    }
}

impl Add for SpanCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            correct: self.correct + other.correct,
            incorrect: self.incorrect + other.incorrect,
            partial: self.partial + other.partial,
            missed: self.missed + other.missed,
            spurious: self.spurious + other.spurious,
        }
    }
}

impl AddAssign for SpanCounts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<'a> Sum<&'a SpanCounts> for SpanCounts {
    fn sum<I: Iterator<Item = &'a SpanCounts>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| sum + *counts)
    }
}

/// Which spans had which outcome, as (document, span), both from 0. `missed` names wanted spans, the others
/// found ones, both counted after unwanted labels were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanOutcomes {
    /// Right.
    pub correct: Vec<(usize, usize)>,
    /// Matched, but wrong.
    pub incorrect: Vec<(usize, usize)>,
    /// Half right.
    pub partial: Vec<(usize, usize)>,
    /// Wanted spans without a found one.
    pub missed: Vec<(usize, usize)>,
    /// Found spans without a wanted one.
    pub spurious: Vec<(usize, usize)>,
}

impl SpanOutcomes {
    /// Their number.
    pub fn counts(&self) -> SpanCounts {
        SpanCounts {
            correct: self.correct.len() as u64,
            incorrect: self.incorrect.len() as u64,
            partial: self.partial.len() as u64,
            missed: self.missed.len() as u64,
            spurious: self.spurious.len() as u64,
        }
    }
}

/// Spans found against spans wanted over a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanReport {
    /// Over all labels.
    pub overall: BTreeMap<SpanCriterion, SpanCounts>,
    /// Per label that either side has. Each label is matched by itself, so a span with a wrong label is missed
    /// under one and spurious under the other, and the rows do not add up to `overall`.
    pub labels: BTreeMap<String, BTreeMap<SpanCriterion, SpanCounts>>,
    /// What happened to each span.
    pub outcomes: BTreeMap<SpanCriterion, SpanOutcomes>,
    /// Spans left out on either side because their label was not asked for.
    pub left_out: usize,
}

/// How spans are matched. The default is nervaluate 1.2.1's, with all labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SpanConfig {
    /// The labels that count; all when `None`.
    pub labels: Option<BTreeSet<String>>,
    /// Per cent of the wanted span that must be covered for an overlap, 1..100.
    pub min_overlap_percentage: f64,
    /// Which found span is held against which wanted one.
    pub matching: SpanMatching,
}

impl Default for SpanConfig {
    fn default() -> Self {
        Self { labels: None, min_overlap_percentage: 1.0, matching: SpanMatching::default() }
    }
}

impl SpanConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only these labels count.
    pub fn with_labels<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.labels = Some(labels.into_iter().map(Into::into).collect());
        self
    }

    /// An overlap covers at least this many per cent of the wanted span.
    pub fn with_min_overlap_percentage(mut self, per_cent: f64) -> Self {
        self.min_overlap_percentage = per_cent;
        self
    }

    /// Matches spans this way.
    pub fn with_matching(mut self, matching: SpanMatching) -> Self {
        self.matching = matching;
        self
    }

    /// Found spans against wanted spans, document by document.
    ///
    /// # Errors
    /// No documents, not equally many, a percentage outside 1..100, a span that ends at or before its start.
    pub fn score(
        &self,
        predictions: &[Vec<Span>],
        references: &[Vec<Span>],
    ) -> Result<SpanReport, EvalError> {
        check_pairs(METRIC, predictions.len(), references.len())?;
        if !(1.0..=100.0).contains(&self.min_overlap_percentage) {
            return Err(EvalError::Option {
                metric: METRIC,
                option: "min_overlap_percentage",
                found: self.min_overlap_percentage.to_string(),
                wanted: "1 to 100",
            });
        }
        for (index, document) in predictions.iter().chain(references).enumerate() {
            if let Some(span) = document.iter().find(|span| span.end <= span.start) {
                return Err(EvalError::Value {
                    metric: METRIC,
                    what: "a span of document",
                    index: index % predictions.len(),
                    found: format!("{}..{} ({})", span.start, span.end, span.label),
                    wanted: "an end above the start",
                });
            }
        }
        let mut report = SpanReport {
            overall: BTreeMap::new(),
            labels: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            left_out: 0,
        };
        for (document, (found, wanted)) in predictions.iter().zip(references).enumerate() {
            let [found, wanted] = [found, wanted].map(|spans| {
                let counted = |span: &&Span| self.labels.as_ref().is_none_or(|l| l.contains(&span.label));
                let kept: Vec<&Span> = spans.iter().filter(counted).collect();
                report.left_out += spans.len() - kept.len();
                kept
            });
            let labels: BTreeSet<&str> =
                found.iter().chain(&wanted).map(|span| span.label.as_str()).collect();
            for criterion in SpanCriterion::ALL {
                let outcomes = report.outcomes.entry(criterion).or_default();
                self.match_spans(criterion, document, &found, &wanted, outcomes);
                for label in &labels {
                    let [found, wanted] = [&found, &wanted].map(|spans| {
                        spans.iter().copied().filter(|span| span.label == *label).collect::<Vec<_>>()
                    });
                    let mut of_label = SpanOutcomes::default();
                    self.match_spans(criterion, document, &found, &wanted, &mut of_label);
                    let counts = report.labels.entry((*label).to_owned()).or_default();
                    *counts.entry(criterion).or_default() += of_label.counts();
                }
            }
        }
        report.overall =
            report.outcomes.iter().map(|(criterion, outcomes)| (*criterion, outcomes.counts())).collect();
        Ok(report)
    }
}
