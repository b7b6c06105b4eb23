//! Rows of numbers from which the score of any set of segments follows.

use rayon::prelude::*;

use super::METRIC;
use crate::bleu::{Bleu, BleuCounts};
use crate::chrf::{Chrf, ChrfCounts, ChrfOrder};
use crate::error::{EvalError, check_references};
use crate::ter::{Ter, TerCounts};

/// A metric whose score of a corpus follows from the sum of one row of numbers per segment.
pub trait CorpusMetric: Sync {
    /// The name in front of a score: `BLEU`, `chrF2++`, `TER`.
    fn name(&self) -> String;

    /// The row of one segment, always of the same length, in sacrebleu's order.
    fn statistics<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> Vec<f64>;

    /// The score of a sum of rows.
    fn score_of(&self, sums: &[f64]) -> f64;

    /// What sacrebleu prints after the score.
    fn details(&self, sums: &[f64]) -> Option<String> {
        let _ = sums;
        None
    }
}

/// Counts are whole numbers far below 2⁵³, so the way through f64 is exact.
fn whole(value: &f64) -> u64 {
    *value as u64
}

fn bleu_counts(sums: &[f64]) -> BleuCounts {
    let (lengths, grams) = sums.split_at(2);
    let (matches, totals) = grams.split_at(grams.len() / 2);
    BleuCounts {
        matches: matches.iter().map(whole).collect(),
        totals: totals.iter().map(whole).collect(),
        prediction_length: whole(&lengths[0]),
        reference_length: whole(&lengths[1]),
    }
}

impl CorpusMetric for Bleu {
    fn name(&self) -> String {
        "BLEU".to_owned()
    }

    /// Words of the prediction, words of the closest reference, matches per order, n-grams per order.
    fn statistics<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> Vec<f64> {
        let counts = self.counts(prediction, references);
        let lengths = [counts.prediction_length, counts.reference_length];
        lengths.iter().chain(&counts.matches).chain(&counts.totals).map(|count| *count as f64).collect()
    }

    fn score_of(&self, sums: &[f64]) -> f64 {
        self.score(&bleu_counts(sums)).score
    }

    fn details(&self, sums: &[f64]) -> Option<String> {
        Some(self.score(&bleu_counts(sums)).details())
    }
}

impl CorpusMetric for Chrf {
    fn name(&self) -> String {
        Chrf::name(self)
    }

    /// Per order: n-grams of the prediction, of the reference, of both.
    fn statistics<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> Vec<f64> {
        let counts = self.counts(prediction, references);
        let row = |order: &ChrfOrder| [order.prediction, order.reference, order.matches];
        counts.orders.iter().flat_map(row).map(|count| count as f64).collect()
    }

    fn score_of(&self, sums: &[f64]) -> f64 {
        let order = |row: &[f64]| ChrfOrder {
            prediction: whole(&row[0]),
            reference: whole(&row[1]),
            matches: whole(&row[2]),
        };
        self.score(&ChrfCounts { orders: sums.chunks_exact(3).map(order).collect() })
    }
}

impl CorpusMetric for Ter {
    fn name(&self) -> String {
        "TER".to_owned()
    }

    /// Edits, mean words of the references.
    fn statistics<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> Vec<f64> {
        let TerCounts { edits, reference_length } = self.counts(prediction, references);
        vec![edits as f64, reference_length]
    }

    fn score_of(&self, sums: &[f64]) -> f64 {
        self.score(&TerCounts { edits: whole(&sums[0]), reference_length: sums[1] })
    }
}

/// The rows of all segments of a system.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentStatistics {
    width: usize,
    values: Vec<f64>,
}

impl SegmentStatistics {
    /// The rows of predictions against their references.
    ///
    /// # Errors
    /// No examples, not equally many predictions and reference lists, an empty reference list.
    pub fn new<M: CorpusMetric, P: AsRef<str> + Sync, R: AsRef<str> + Sync>(
        metric: &M,
        predictions: &[P],
        references: &[Vec<R>],
    ) -> Result<Self, EvalError> {
        check_references(METRIC, predictions.len(), references)?;
        let rows: Vec<Vec<f64>> = predictions
            .par_iter()
            .zip(references)
            .map(|(prediction, references)| metric.statistics(prediction.as_ref(), references))
            .collect();
        Ok(Self { width: rows[0].len(), values: rows.concat() })
    }

    /// The rows, one per segment.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// The sum of the rows, from which the score of the system follows.
    pub fn sums(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        self.rows().for_each(|row| add(&mut sums, row));
        sums
    }

    /// Number of segments.
    pub(super) fn count(&self) -> Result<u32, EvalError> {
        let count = self.values.len() / self.width;
        u32::try_from(count).map_err(|_| EvalError::Option {
            metric: METRIC,
            option: "segments",
            found: count.to_string(),
            wanted: "fewer than 4294967296",
        })
    }

    pub(super) fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// The score of each resample; `indices` holds one after the other.
    pub(super) fn resampled<M: CorpusMetric>(&self, metric: &M, indices: &[u32]) -> Vec<f64> {
        let segments = self.values.len() / self.width;
        indices
            .par_chunks(segments)
            .map(|indices| {
                let mut sums = vec![0.0; self.width];
                for index in indices {
                    add(&mut sums, self.row(*index as usize));
                }
                metric.score_of(&sums)
            })
            .collect()
    }

    /// The sum of these rows where `mine`, of those of the other where not.
    pub(super) fn mixed(&self, other: &Self, mine: &[bool]) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        for (index, mine) in mine.iter().enumerate() {
            add(&mut sums, if *mine { self.row(index) } else { other.row(index) });
        }
        sums
    }
}

fn add(sums: &mut [f64], row: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += value;
    }
}
