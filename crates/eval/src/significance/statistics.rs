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
        sum(self.width, self.rows())
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
        indices.par_chunks(segments).map(|indices| metric.score_of(&self.sum_at(indices))).collect()
    }

    /// The sum of the rows at these positions. Where the compiler knows the width, the sums stay in registers: TER's,
    /// BLEU-4's, and those of chrF, chrF+ and chrF++.
    fn sum_at(&self, indices: &[u32]) -> Vec<f64> {
        match self.width {
            2 => self.fixed_sum_at::<2>(indices),
            10 => self.fixed_sum_at::<10>(indices),
            18 => self.fixed_sum_at::<18>(indices),
            21 => self.fixed_sum_at::<21>(indices),
            24 => self.fixed_sum_at::<24>(indices),
            _ => sum(self.width, indices.iter().map(|index| self.row(*index as usize))),
        }
    }

    fn fixed_sum_at<const WIDTH: usize>(&self, indices: &[u32]) -> Vec<f64> {
        let (rows, _) = self.values.as_chunks::<WIDTH>();
        let sums = indices.iter().fold([0.0; WIDTH], |mut sums, index| {
            add(&mut sums, &rows[*index as usize]);
            sums
        });
        sums.to_vec()
    }

    /// The sum of these rows where `mine`, of those of the other where not.
    pub(super) fn mixed(&self, other: &Self, mine: &[bool]) -> Vec<f64> {
        let rows = self.rows().zip(other.rows()).zip(mine);
        sum(self.width, rows.map(|((own, other), mine)| if *mine { own } else { other }))
    }
}

/// The sum of rows of this width.
fn sum<'a>(width: usize, rows: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for row in rows {
        add(&mut sums, row);
    }
    sums
}

fn add(sums: &mut [f64], row: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_known_width_changes_no_bit(
            width in prop::sample::select(vec![1usize, 2, 10, 18, 21, 24, 25]),
            values in prop::collection::vec(-1e6..1e6f64, 250),
            draws in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        ) {
            let statistics = SegmentStatistics { width, values };
            let indices: Vec<u32> = draws.iter().map(|draw| draw.index(250 / width) as u32).collect();
            let rows = indices.iter().map(|index| statistics.row(*index as usize));
            prop_assert_eq!(statistics.sum_at(&indices), sum(width, rows));
        }
    }
}
