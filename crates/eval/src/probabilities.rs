//! Scores and probabilities of classes: ranking, and what the numbers themselves are worth.

use crate::error::{EvalError, check_pairs};

const METRIC: &str = "probabilities";

/// Area under the ROC curve: the chance that a positive example scores above a negative one, ties as ½, 0..1
/// (Hanley and McNeil 1982). `None` without positives or without negatives.
///
/// # Errors
/// No examples, not equally many of both, a score that is not a number.
pub fn roc_auc(scores: &[f64], positive: &[bool]) -> Result<Option<f64>, EvalError> {
    let order = ranked(scores, positive.len())?;
    let (mut below, mut area) = (0.0, 0.0);
    for tie in order.chunk_by(|left, right| scores[*left] == scores[*right]).rev() {
        let positives = tie.iter().filter(|example| positive[**example]).count() as f64;
        let negatives = tie.len() as f64 - positives;
        area += positives * (below + negatives / 2.0);
        below += negatives;
    }
    let positives = positive.len() as f64 - below;
    Ok((positives > 0.0 && below > 0.0).then(|| area / (positives * below)))
}

/// Average precision, Σ (recall gained) · precision from the highest score down, 0..1; ties come together.
/// `None` without positives.
///
/// # Errors
/// As [`roc_auc`].
pub fn average_precision(scores: &[f64], positive: &[bool]) -> Result<Option<f64>, EvalError> {
    let order = ranked(scores, positive.len())?;
    let (mut seen, mut hits, mut sum) = (0.0, 0.0, 0.0);
    for tie in order.chunk_by(|left, right| scores[*left] == scores[*right]) {
        let positives = tie.iter().filter(|example| positive[**example]).count() as f64;
        seen += tie.len() as f64;
        hits += positives;
        sum += positives * hits / seen;
    }
    Ok((hits > 0.0).then(|| sum / hits))
}

/// Examples from the highest score down.
fn ranked(scores: &[f64], labels: usize) -> Result<Vec<usize>, EvalError> {
    check_pairs(METRIC, scores.len(), labels)?;
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        let (found, wanted) = ("NaN".to_owned(), "a number");
        return Err(EvalError::Value { metric: METRIC, what: "score", index, found, wanted });
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|left, right| scores[*right].total_cmp(&scores[*left]));
    Ok(order)
}

/// Probabilities of classes (columns) per example (row) against the classes wanted.
#[derive(Debug, Clone, Copy)]
pub struct ClassProbabilities<'a> {
    rows: &'a [Vec<f64>],
    wanted: &'a [usize],
}

impl<'a> ClassProbabilities<'a> {
    /// Checks and takes them.
    ///
    /// # Errors
    /// No examples, not equally many of both, rows of different lengths, a wanted class without a column, a
    /// probability outside 0..1.
    pub fn new(rows: &'a [Vec<f64>], wanted: &'a [usize]) -> Result<Self, EvalError> {
        check_pairs(METRIC, rows.len(), wanted.len())?;
        for (index, (row, class)) in rows.iter().zip(wanted).enumerate() {
            let refuse =
                |what, found, wanted| Err(EvalError::Value { metric: METRIC, what, index, found, wanted });
            if row.len() != rows[0].len() {
                return refuse(
                    "the number of classes of example",
                    row.len().to_string(),
                    "that of example 0",
                );
            }
            if *class >= row.len() {
                return refuse("the class of example", class.to_string(), "one that has a probability");
            }
            if let Some(p) = row.iter().find(|p| !(0.0..=1.0).contains(*p)) {
                return refuse("a probability of example", p.to_string(), "0 to 1");
            }
        }
        Ok(Self { rows, wanted })
    }

    /// Mean −ln of the probability of the wanted class, in nats; probabilities are kept 2.2·10⁻¹⁶ away from 0 and
    /// 1, as in scikit-learn.
    pub fn log_loss(&self) -> f64 {
        let loss =
            |(row, class): (&Vec<f64>, &usize)| -row[*class].clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
        self.rows.iter().zip(self.wanted).map(loss).sum::<f64>() / self.rows.len() as f64
    }

    /// Mean Σ (probability − wanted)² over the classes, 0..2 (Brier 1950).
    pub fn brier(&self) -> f64 {
        let squares = |(row, class): (&Vec<f64>, &usize)| -> f64 {
            let error = |(at, p): (usize, &f64)| (p - f64::from(u8::from(at == *class))).powi(2);
            row.iter().enumerate().map(error).sum()
        };
        self.rows.iter().zip(self.wanted).map(squares).sum::<f64>() / self.rows.len() as f64
    }

    /// Share of examples whose wanted class is among the `k` most probable, 0..1; of equal ones the later class
    /// counts as more probable, as in scikit-learn.
    pub fn top_k_accuracy(&self, k: usize) -> f64 {
        let hit = |(row, class): &(&Vec<f64>, &usize)| {
            let own = row[**class];
            let above = |(at, p): &(usize, &f64)| **p > own || (**p == own && *at > **class);
            row.iter().enumerate().filter(above).count() < k
        };
        self.rows.iter().zip(self.wanted).filter(hit).count() as f64 / self.rows.len() as f64
    }

    /// Mean of [`roc_auc`] of each class against all others; `None` when a class has no example or all.
    pub fn auc_one_vs_rest(&self) -> Option<f64> {
        let classes = self.rows[0].len();
        let of_class = |class: usize| {
            let scores: Vec<f64> = self.rows.iter().map(|row| row[class]).collect();
            let positive: Vec<bool> = self.wanted.iter().map(|wanted| *wanted == class).collect();
            roc_auc(&scores, &positive).ok().flatten()
        };
        Some((0..classes).map(of_class).sum::<Option<f64>>()? / classes as f64)
    }

    /// Mean of [`roc_auc`] over all ordered pairs of classes, among the examples of the two (Hand and Till 2001);
    /// `None` when a class has no example or there is only one.
    pub fn auc_one_vs_one(&self) -> Option<f64> {
        let classes = self.rows[0].len();
        let of_pair = |(class, other): (usize, usize)| {
            let examples: Vec<usize> = (0..self.rows.len())
                .filter(|example| [class, other].contains(&self.wanted[*example]))
                .collect();
            let scores: Vec<f64> = examples.iter().map(|example| self.rows[*example][class]).collect();
            let positive: Vec<bool> = examples.iter().map(|example| self.wanted[*example] == class).collect();
            roc_auc(&scores, &positive).ok().flatten()
        };
        let pairs: Vec<(usize, usize)> = (0..classes)
            .flat_map(|class| (0..classes).map(move |other| (class, other)))
            .filter(|(class, other)| class != other)
            .collect();
        let count = pairs.len();
        (count > 0)
            .then(|| pairs.into_iter().map(of_pair).sum::<Option<f64>>())?
            .map(|sum| sum / count as f64)
    }
}
