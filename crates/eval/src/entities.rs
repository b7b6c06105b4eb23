//! Entity precision, recall and F1: the field-value pairs of answers in JSON.

mod parse;

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

pub(crate) use self::parse::find_object;
use self::parse::{Pairs, pairs};
use crate::error::{EvalError, check_references};

const METRIC: &str = "entities";

/// Pairs found, made up and missed. The counts of a set are the sum of those of its examples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityCounts {
    /// True positives: pairs of the prediction that the reference has.
    pub tp: usize,
    /// False positives: pairs of the prediction that the reference lacks.
    pub fp: usize,
    /// False negatives: pairs of the reference that the prediction lacks.
    #[serde(rename = "fn")]
    pub fn_: usize,
}

impl EntityCounts {
    /// Right pairs per predicted pair, 0..100. Without predicted pairs 0, but 100 when none was wanted
    /// either.
    pub fn precision(&self) -> f64 {
        self.share(self.tp, self.tp + self.fp)
    }

    /// Found pairs per wanted pair, 0..100. Without wanted pairs 0, but 100 when none was predicted either.
    pub fn recall(&self) -> f64 {
        self.share(self.tp, self.tp + self.fn_)
    }

    /// 2·tp / (2·tp + fp + fn), the harmonic mean of precision and recall, 0..100; 100 without any pair.
    pub fn f1(&self) -> f64 {
        self.share(2 * self.tp, 2 * self.tp + self.fp + self.fn_)
    }

    fn share(&self, part: usize, whole: usize) -> f64 {
        match whole {
            0 if *self == Self::default() => 100.0,
            0 => 0.0,
            _ => 100.0 * part as f64 / whole as f64,
        }
    }
}

impl Add for EntityCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { tp: self.tp + other.tp, fp: self.fp + other.fp, fn_: self.fn_ + other.fn_ }
    }
}

impl AddAssign for EntityCounts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<'a> Sum<&'a EntityCounts> for EntityCounts {
    fn sum<I: Iterator<Item = &'a EntityCounts>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| sum + *counts)
    }
}

/// Precision, recall and F1, 0..100, with the counts they come from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EntityScore {
    /// [`EntityCounts::precision`].
    pub precision: f64,
    /// [`EntityCounts::recall`].
    pub recall: f64,
    /// [`EntityCounts::f1`].
    pub f1: f64,
    /// The counts.
    #[serde(flatten)]
    pub counts: EntityCounts,
}

impl From<EntityCounts> for EntityScore {
    fn from(counts: EntityCounts) -> Self {
        Self { precision: counts.precision(), recall: counts.recall(), f1: counts.f1(), counts }
    }
}

/// One prediction against its reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityExample {
    /// Over all fields.
    pub counts: EntityCounts,
    /// Per field (dotted path) that the prediction or the reference has.
    pub fields: BTreeMap<String, EntityCounts>,
    /// Whether the prediction holds a JSON object.
    pub parsed: bool,
}

/// Predictions against references over a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityReport {
    /// Micro average: every pair of the set weighs the same.
    pub micro: EntityScore,
    /// Per field (dotted path).
    pub fields: BTreeMap<String, EntityScore>,
    /// Per example, in the order given.
    pub examples: Vec<EntityCounts>,
    /// Number of predictions without a JSON object. All pairs of their references count as missed.
    pub unparsable: usize,
}

/// How values are compared. The default heeds upper and lower case.
///
/// An answer is the first JSON object in the text, alone, in a code fence or amid prose. Its pairs are
/// (field, value): an object inside adds its key with a dot (`patient.age`), a list gives one pair per
/// element, of which each counts as often as it occurs, and null, empty lists and blank strings give none.
/// Values are compared as text, trimmed and with white space collapsed, and numbers by their value: `12`,
/// `12.0` and `"12"` are equal, `"12.0"` differs from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EntityConfig {
    /// Compare values in lower case. Fields always heed case.
    pub ignore_case: bool,
}

impl EntityConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares values in lower case, or not.
    pub fn with_ignore_case(mut self, ignore: bool) -> Self {
        self.ignore_case = ignore;
        self
    }

    /// One prediction against the reference it fits best: the highest F1, the first of equals.
    ///
    /// # Errors
    /// A reference without a JSON object, reported with the example's `index`; no reference.
    pub fn example<R: AsRef<str>>(
        &self,
        prediction: &str,
        references: &[R],
        index: usize,
    ) -> Result<EntityExample, EvalError> {
        let found = find_object(prediction).map(|object| pairs(&object, self.ignore_case));
        let mut best: Option<EntityExample> = None;
        for (at, reference) in references.iter().enumerate() {
            let text = reference.as_ref();
            let object = find_object(text).ok_or_else(|| EvalError::ReferenceNotJson {
                metric: METRIC,
                index,
                reference: at,
                found: text.chars().take(80).collect(),
            })?;
            let example = compare(found.as_ref(), &pairs(&object, self.ignore_case));
            if best.as_ref().is_none_or(|best| example.counts.f1() > best.counts.f1()) {
                best = Some(example);
            }
        }
        best.ok_or(EvalError::NoReference { metric: METRIC, index })
    }

    /// Predictions against references, each against the one it fits best.
    ///
    /// # Errors
    /// No examples, not equally many predictions and reference lists, an empty reference list, a reference
    /// without a JSON object.
    pub fn score<P: AsRef<str>, R: AsRef<str>>(
        &self,
        predictions: &[P],
        references: &[Vec<R>],
    ) -> Result<EntityReport, EvalError> {
        check_references(METRIC, predictions.len(), references)?;
        let mut fields: BTreeMap<String, EntityCounts> = BTreeMap::new();
        let (mut examples, mut unparsable) = (Vec::with_capacity(predictions.len()), 0);
        for (index, (prediction, references)) in predictions.iter().zip(references).enumerate() {
            let example = self.example(prediction.as_ref(), references, index)?;
            unparsable += usize::from(!example.parsed);
            examples.push(example.counts);
            for (field, counts) in example.fields {
                *fields.entry(field).or_default() += counts;
            }
        }
        Ok(EntityReport {
            micro: examples.iter().sum::<EntityCounts>().into(),
            fields: fields.into_iter().map(|(field, counts)| (field, counts.into())).collect(),
            examples,
            unparsable,
        })
    }
}

fn compare(prediction: Option<&Pairs>, reference: &Pairs) -> EntityExample {
    let mut fields: BTreeMap<String, EntityCounts> = BTreeMap::new();
    for (pair, wanted) in reference {
        let found = prediction.and_then(|pairs| pairs.get(pair)).copied().unwrap_or(0);
        let tp = found.min(*wanted);
        *fields.entry(pair.0.clone()).or_default() += EntityCounts { tp, fp: 0, fn_: wanted - tp };
    }
    for (pair, found) in prediction.into_iter().flatten() {
        let wanted = reference.get(pair).copied().unwrap_or(0);
        let fp = found.saturating_sub(wanted);
        *fields.entry(pair.0.clone()).or_default() += EntityCounts { fp, ..EntityCounts::default() };
    }
    EntityExample { counts: fields.values().sum(), fields, parsed: prediction.is_some() }
}
