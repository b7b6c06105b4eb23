//! One label per example: the confusion matrix and what follows from it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::averages::{Averages, ClassCounts, ClassScore, ZeroDivision, report_row, report_text};
use crate::error::{EvalError, check_pairs};

/// How far apart two classes are for a weighted kappa, by their positions in the order of classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KappaWeights {
    /// Equal or not.
    #[default]
    Unweighted,
    /// By the distance.
    Linear,
    /// By its square.
    Quadratic,
}

impl KappaWeights {
    /// The disagreement of two positions among `classes`, 0..1.
    pub(crate) fn disagreement(self, left: usize, right: usize, classes: usize) -> f64 {
        let distance = left.abs_diff(right) as f64 / classes.saturating_sub(1).max(1) as f64;
        match self {
            Self::Unweighted => f64::from(u8::from(left != right)),
            Self::Linear => distance,
            Self::Quadratic => distance * distance,
        }
    }
}

/// Predicted against wanted labels. Made by [`classify`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion<L> {
    /// The labels: those asked for, then the others in order.
    labels: Vec<L>,
    /// How many were asked for.
    asked: usize,
    /// Examples by wanted (row) and predicted (column) label.
    counts: Vec<Vec<u64>>,
}

/// The confusion matrix over all labels that occur, in their order.
///
/// # Errors
/// No examples, not equally many predictions and references.
pub fn classify<L: Ord + Clone>(predictions: &[L], references: &[L]) -> Result<Confusion<L>, EvalError> {
    let mut labels: Vec<L> = predictions.iter().chain(references).cloned().collect();
    labels.sort();
    labels.dedup();
    classify_labels(predictions, references, &labels)
}

/// As [`classify`], but scores per class and averages heed these labels only, as scikit-learn's `labels`: other
/// labels still make errors.
///
/// # Errors
/// As [`classify`].
pub fn classify_labels<L: Ord + Clone>(
    predictions: &[L],
    references: &[L],
    labels: &[L],
) -> Result<Confusion<L>, EvalError> {
    check_pairs("classification", predictions.len(), references.len())?;
    let mut positions: BTreeMap<&L, usize> = BTreeMap::new();
    let mut all: Vec<L> = Vec::new();
    for label in labels {
        positions.entry(label).or_insert_with(|| {
            all.push(label.clone());
            all.len() - 1
        });
    }
    let asked = all.len();
    let mut others: Vec<&L> =
        predictions.iter().chain(references).filter(|label| !positions.contains_key(label)).collect();
    others.sort();
    others.dedup();
    for label in others {
        positions.insert(label, all.len());
        all.push(label.clone());
    }
    let mut counts = vec![vec![0; all.len()]; all.len()];
    for (predicted, wanted) in predictions.iter().zip(references) {
        counts[positions[wanted]][positions[predicted]] += 1;
    }
    Ok(Confusion { labels: all, asked, counts })
}

impl<L> Confusion<L> {
    /// The labels asked for; all that occur unless some were named.
    pub fn labels(&self) -> &[L] {
        &self.labels[..self.asked]
    }

    /// Examples that have this label (by position in [`labels`](Self::labels)) and were predicted that one.
    pub fn count(&self, wanted: usize, predicted: usize) -> u64 {
        self.counts[wanted][predicted]
    }

    /// Right predictions over all examples, 0..1.
    pub fn accuracy(&self) -> f64 {
        self.right() as f64 / self.total() as f64
    }

    /// Mean recall over the classes that occur among the references, 0..1.
    pub fn balanced_accuracy(&self) -> f64 {
        let recalls: Vec<f64> = (0..self.labels.len())
            .filter(|at| self.wanted(*at) > 0)
            .map(|at| self.counts[at][at] as f64 / self.wanted(at) as f64)
            .collect();
        recalls.iter().sum::<f64>() / recalls.len() as f64
    }

    /// Matthews' correlation coefficient for any number of classes (Gorodkin 2004, "Comparing Two K-Category
    /// Assignments by a K-Category Correlation Coefficient"), −1..1; 0 when one side has one class only.
    pub fn mcc(&self) -> f64 {
        let total = self.total() as f64;
        let sum = |term: &dyn Fn(usize) -> f64| (0..self.labels.len()).map(term).sum::<f64>();
        let wanted = |at: usize| self.wanted(at) as f64;
        let predicted = |at: usize| self.predicted(at) as f64;
        let together = self.right() as f64 * total - sum(&|at| wanted(at) * predicted(at));
        let spread = |marginal: &dyn Fn(usize) -> f64| total * total - sum(&|at| marginal(at).powi(2));
        let product = spread(&wanted) * spread(&predicted);
        if product > 0.0 { together / product.sqrt() } else { 0.0 }
    }

    /// Cohen's kappa, −1..1; `None` when both sides have the same single class, where chance explains all.
    pub fn kappa(&self, weights: KappaWeights) -> Option<f64> {
        let classes = self.labels.len();
        let total = self.total() as f64;
        let (mut seen, mut expected) = (0.0, 0.0);
        for wanted in 0..classes {
            for predicted in 0..classes {
                let weight = weights.disagreement(wanted, predicted, classes);
                seen += weight * self.counts[wanted][predicted] as f64;
                expected += weight * self.wanted(wanted) as f64 * self.predicted(predicted) as f64 / total;
            }
        }
        (expected > 0.0).then(|| 1.0 - seen / expected)
    }

    /// How often each label asked for was predicted, wanted and both, in the order of [`labels`](Self::labels).
    pub fn class_counts(&self) -> Vec<ClassCounts> {
        (0..self.asked)
            .map(|at| ClassCounts {
                correct: self.counts[at][at],
                predicted: self.predicted(at),
                wanted: self.wanted(at),
            })
            .collect()
    }

    /// Precision, recall and F-beta over the labels asked for; beta 1 is F1.
    pub fn averages(&self, beta: f64, zero_division: ZeroDivision) -> Averages {
        Averages::of(&self.class_counts(), beta, zero_division)
    }

    /// Mean over the labels asked for of correct / (predicted or wanted), 0..1.
    pub fn macro_jaccard(&self) -> f64 {
        let share = |counts: ClassCounts| {
            let either = counts.predicted + counts.wanted - counts.correct;
            if either == 0 { 0.0 } else { counts.correct as f64 / either as f64 }
        };
        self.class_counts().into_iter().map(share).sum::<f64>() / self.asked.max(1) as f64
    }

    fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    fn right(&self) -> u64 {
        (0..self.labels.len()).map(|at| self.counts[at][at]).sum()
    }

    fn wanted(&self, at: usize) -> u64 {
        self.counts[at].iter().sum()
    }

    fn predicted(&self, at: usize) -> u64 {
        self.counts.iter().map(|row| row[at]).sum()
    }
}

impl<L: fmt::Display> Confusion<L> {
    /// scikit-learn's `classification_report` with this many decimals.
    pub fn to_text(&self, digits: usize) -> String {
        let scores = self.class_counts().into_iter().map(|counts| counts.score(1.0, ZeroDivision::Zero));
        let classes: Vec<_> = self
            .labels()
            .iter()
            .zip(scores)
            .map(|(label, score): (&L, ClassScore)| report_row(&label.to_string(), &score))
            .collect();
        let Averages { micro, macro_, weighted } = self.averages(1.0, ZeroDivision::Zero);
        let whole = match self.asked == self.labels.len() {
            true => ("accuracy".to_owned(), None, self.accuracy(), micro.support),
            false => report_row("micro avg", &micro),
        };
        let averages = [whole, report_row("macro avg", &macro_), report_row("weighted avg", &weighted)];
        report_text(&classes, &averages, digits)
    }
}
