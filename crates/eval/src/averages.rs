//! Precision, recall and F over classes, and their averages.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What stands for a share of nothing, such as the precision of a class that was never predicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ZeroDivision {
    /// 0.
    #[default]
    Zero,
    /// 1.
    One,
    /// NaN for the class; averages leave the class out.
    Ignore,
}

impl ZeroDivision {
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::Zero => 0.0,
            Self::One => 1.0,
            Self::Ignore => f64::NAN,
        }
    }
}

/// How often a class was predicted, wanted, and both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// Predicted and wanted.
    pub correct: u64,
    /// Predicted.
    pub predicted: u64,
    /// Wanted.
    pub wanted: u64,
}

impl ClassCounts {
    /// Precision, recall and F-beta = (1 + β²)·tp / ((1 + β²)·tp + fp + β²·fn), 0..1.
    pub fn score(self, beta: f64, zero_division: ZeroDivision) -> ClassScore {
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { zero_division.value() };
        let [correct, predicted, wanted] = [self.correct, self.predicted, self.wanted].map(|n| n as f64);
        let square = beta * beta;
        ClassScore {
            precision: share(correct, predicted),
            recall: share(correct, wanted),
            f: share((1.0 + square) * correct, square * wanted + predicted),
            support: self.wanted,
        }
    }
}

impl ClassCounts {
    /// As [`score`](Self::score) with beta 1, but F1 from the rounded shares, as seqeval has it: equal but for the
    /// last bit, which decides how a half is printed.
    pub(crate) fn score_of_shares(self, zero_division: ZeroDivision) -> ClassScore {
        let score = self.score(1.0, zero_division);
        let (precision, recall) = (score.precision, score.recall);
        let sum = precision + recall;
        ClassScore { f: if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum }, ..score }
    }
}

/// Precision, recall and F of a class or of an average over classes, 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Right predictions of the class over all predictions of it.
    pub precision: f64,
    /// Right predictions of the class over the examples that have it.
    pub recall: f64,
    /// F1, or F-beta where another beta was asked for.
    pub f: f64,
    /// Examples that have the class; of an average, of all its classes.
    pub support: u64,
}

/// The three ways to make one number of many classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    /// Of the added-up counts: every example weighs the same.
    pub micro: ClassScore,
    /// Mean over the classes: every class weighs the same.
    #[serde(rename = "macro")]
    pub macro_: ClassScore,
    /// Mean over the classes by their support.
    pub weighted: ClassScore,
}

impl Averages {
    /// Of the counts of classes. Without any class all numbers are those of `zero_division`.
    pub fn of(classes: &[ClassCounts], beta: f64, zero_division: ZeroDivision) -> Self {
        Self::by(classes, zero_division, |counts| counts.score(beta, zero_division))
    }

    /// As [`of`](Self::of), with another way from counts to a score.
    pub(crate) fn by(
        classes: &[ClassCounts],
        zero_division: ZeroDivision,
        score: impl Fn(ClassCounts) -> ClassScore,
    ) -> Self {
        let mut sum = ClassCounts::default();
        for class in classes {
            sum.correct += class.correct;
            sum.predicted += class.predicted;
            sum.wanted += class.wanted;
        }
        let scores: Vec<ClassScore> = classes.iter().map(|class| score(*class)).collect();
        let average = |weight: &dyn Fn(&ClassScore) -> f64| {
            let mean = |part: fn(&ClassScore) -> f64| {
                let rows: Vec<(f64, f64)> = scores
                    .iter()
                    .map(|score| (part(score), weight(score)))
                    .filter(|(value, _)| !value.is_nan())
                    .collect();
                let total: f64 = rows.iter().map(|(_, weight)| weight).sum();
                // Without support every class weighs the same, as in scikit-learn.
                if total > 0.0 {
                    rows.iter().map(|(value, weight)| value * weight).sum::<f64>() / total
                } else if rows.is_empty() {
                    zero_division.value()
                } else {
                    rows.iter().map(|(value, _)| value).sum::<f64>() / rows.len() as f64
                }
            };
            let (precision, recall) = (mean(|score| score.precision), mean(|score| score.recall));
            ClassScore { precision, recall, f: mean(|score| score.f), support: sum.wanted }
        };
        Self {
            micro: score(sum),
            macro_: average(&|_| 1.0),
            weighted: average(&|score| score.support as f64),
        }
    }
}

/// A line of a report: name, precision and recall where there are any, F, support.
pub(crate) type ReportRow = (String, Option<[f64; 2]>, f64, u64);

/// The line of a score.
pub(crate) fn report_row(name: &str, score: &ClassScore) -> ReportRow {
    (name.to_owned(), Some([score.precision, score.recall]), score.f, score.support)
}

/// The table that scikit-learn and seqeval print as `classification_report`: classes, a gap, averages.
pub(crate) fn report_text(classes: &[ReportRow], averages: &[ReportRow], digits: usize) -> String {
    let names = classes.iter().map(|row| row.0.chars().count());
    let width = names.chain(["weighted avg".len(), digits]).max().unwrap_or(0);
    let [precision, recall, f, support] = ["precision", "recall", "f1-score", "support"];
    let mut out = format!("{:>width$}  {precision:>9} {recall:>9} {f:>9} {support:>9}\n\n", "");
    for (at, (name, shares, f, support)) in classes.iter().chain(averages).enumerate() {
        let gap = if at == classes.len() { "\n" } else { "" };
        let shares = match shares {
            Some([precision, recall]) => format!("{precision:>9.digits$} {recall:>9.digits$}"),
            None => format!("{:>9} {:>9}", "", ""),
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{gap}{name:>width$}  {shares} {f:>9.digits$} {support:>9}");
    }
    out
}
