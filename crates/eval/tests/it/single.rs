//! sacreBLEU's resampled scores to the last bit: it adds up and divides in 32 bits.
//!
//! sacrebleu 2.6.0, `significance._bootstrap_resample`: the rows of segments become `float32`, and so does all that
//! NumPy 2 computes from them with Python's numbers. Logarithm, exponential and brevity penalty of BLEU are of 64 bits.

use burnisher_eval::{CorpusMetric, Pcg64, ResampledScore, SegmentStatistics};
use serde_json::Value;

use crate::{close, number};

/// A metric whose score of a sum is computed in 32 bits. Sums of the rows themselves are exact in either: counts, and
/// halves of them as the mean length of two references.
pub(crate) struct Single<'a, M>(pub(crate) &'a M);

impl<M: CorpusMetric> CorpusMetric for Single<'_, M> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn statistics<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> Vec<f64> {
        self.0.statistics(prediction, references)
    }

    fn score_of(&self, sums: &[f64]) -> f64 {
        let exact: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
        assert!(exact.iter().zip(sums).all(|(single, sum)| f64::from(*single) == *sum), "{sums:?}");
        match self.name().as_str() {
            "BLEU" => bleu(&exact),
            "TER" => f64::from(ter(exact[0], exact[1])),
            _ => f64::from(chrf(&exact)),
        }
    }
}

fn bleu(sums: &[f32]) -> f64 {
    let (matches, totals) = sums[2..].split_at((sums.len() - 2) / 2);
    if matches.iter().all(|count| *count == 0.0) {
        return 0.0;
    }
    let [prediction, reference] = [f64::from(sums[0]), f64::from(sums[1])];
    let penalty = match prediction < reference {
        true if prediction > 0.0 => (1.0 - reference / prediction).exp(),
        true => 0.0,
        false => 1.0,
    };
    let mut precisions = vec![0.0f32; matches.len()];
    let mut halved = 1.0f32;
    for (order, precision) in precisions.iter_mut().enumerate() {
        if totals[order] == 0.0 {
            break;
        }
        *precision = if matches[order] == 0.0 {
            halved *= 2.0;
            100.0 / (halved * totals[order])
        } else {
            100.0 * matches[order] / totals[order]
        };
    }
    let log = |p: &f32| if *p == 0.0 { -9_999_999_999.0 } else { f64::from(*p).ln() };
    penalty * (precisions.iter().map(log).sum::<f64>() / precisions.len() as f64).exp()
}

/// chrF with a beta of 2; orders without n-grams on a side do not count.
fn chrf(sums: &[f32]) -> f32 {
    let (mut precision, mut recall, mut orders) = (0.0f32, 0.0f32, 0.0f32);
    for order in sums.chunks_exact(3).filter(|order| order[0] > 0.0 && order[1] > 0.0) {
        precision += order[2] / order[0];
        recall += order[2] / order[1];
        orders += 1.0;
    }
    if orders > 0.0 {
        precision /= orders;
        recall /= orders;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    100.0 * (5.0 * precision * recall / (4.0 * precision + recall))
}

fn ter(edits: f32, length: f32) -> f32 {
    let rate = if length > 0.0 { edits / length } else { f32::from(u8::from(edits > 0.0)) };
    100.0 * rate
}

/// How sacreBLEU takes the mean of resampled scores.
pub(crate) enum Mean {
    /// Python's `statistics.mean` of one system: the exact mean, as a number of the scores' type.
    Exact,
    /// NumPy's `mean` of a system in a paired test: of sorted 32-bit scores in 32 bits, by halves.
    ByHalves,
}

/// Checks mean and half width, which must be the reference's to 1e-9, its 32-bit ones to the last bit. `got` is of the
/// 32-bit metric, `double` of the metric itself, and `generator` where the resamples were drawn.
#[track_caller]
pub(crate) fn check<M: CorpusMetric>(
    metric: &Single<'_, M>,
    rows: &SegmentStatistics,
    (got, double): (ResampledScore, ResampledScore),
    (mean, mut generator, resamples): (Mean, Pcg64, usize),
    wanted: &Value,
    what: &str,
) {
    let (mean_wanted, half_width) = (number(&wanted["mean"]), number(&wanted["ci"]));
    let drawn = drawn_scores(metric, rows, &mut generator, resamples);
    close(got.mean, drawn.iter().sum::<f64>() / resamples as f64, what);
    if metric.name() == "BLEU" {
        close(got.mean, mean_wanted, what);
        close(got.half_width, half_width, what);
    } else {
        let mut singles: Vec<f32> = drawn.iter().map(|score| *score as f32).collect();
        singles.sort_by(f32::total_cmp);
        let mean = match mean {
            Mean::Exact => got.mean as f32,
            Mean::ByHalves => sum_by_halves(&singles) / resamples as f32,
        };
        assert_eq!(f64::from(mean), mean_wanted, "{what}");
        assert_eq!(f64::from(got.half_width as f32), half_width, "{what}");
    }
    // 64 bits differ by the roundings of 32: at most sixteen of 2⁻²⁴ of a score up to 100 or, for TER, somewhat above.
    let rounding = 16.0 * f64::from(f32::EPSILON) / 2.0 * got.mean.max(100.0);
    for (single, double) in [(got.mean, double.mean), (got.half_width, double.half_width)] {
        assert!((single - double).abs() <= rounding, "{what}: {double} in 64 bits, {single} in 32");
    }
}

fn drawn_scores<M: CorpusMetric>(
    metric: &M,
    rows: &SegmentStatistics,
    generator: &mut Pcg64,
    resamples: usize,
) -> Vec<f64> {
    let rows: Vec<&[f64]> = rows.rows().collect();
    let score = |_| {
        let mut sums = vec![0.0; rows[0].len()];
        for _ in &rows {
            let row = rows[generator.below(rows.len() as u32) as usize];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        metric.score_of(&sums)
    };
    (0..resamples).map(score).collect()
}

/// NumPy's `pairwise_sum`: halves down to 128 numbers, those by eight sums side by side.
fn sum_by_halves(values: &[f32]) -> f32 {
    if values.len() > 128 {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % 8);
        return sum_by_halves(left) + sum_by_halves(right);
    }
    let (eights, rest) = values.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, value)| *sum += value);
    }
    let [a, b, c, d, e, f, g, h] = sums;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
}
