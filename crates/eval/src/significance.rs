//! Is the difference of two systems on one test set more than chance? sacrebleu's tests, on sufficient statistics.

mod paired;
mod statistics;

use serde::{Deserialize, Serialize};

pub use self::paired::{PairedSide, PairedTest, PairedTestConfig, PairedTestResult};
pub use self::statistics::{CorpusMetric, SegmentStatistics};
use crate::error::EvalError;
use crate::rng::Pcg64;

const METRIC: &str = "significance";

/// Mean and half width of the 95 % interval of resampled scores, as sacrebleu prints them: `μ = 67.34 ± 2.94`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResampledScore {
    /// Mean of the resampled scores.
    pub mean: f64,
    /// Half the distance of the score at 1/40 from the bottom and the one at 1/40 from the top.
    pub half_width: f64,
}

impl ResampledScore {
    pub(crate) fn of(mut scores: Vec<f64>) -> Self {
        let count = scores.len();
        let mean = scores.iter().sum::<f64>() / count as f64;
        scores.sort_by(f64::total_cmp);
        let low = count / 40;
        Self { mean, half_width: 0.5 * (scores[count - low - 1] - scores[low]) }
    }

    /// sacrebleu's line of a score with its interval: `chrF2 = 83.57 (μ = 83.59 ± 1.55)`.
    pub fn line<M: CorpusMetric>(&self, metric: &M, statistics: &SegmentStatistics) -> String {
        let sums = statistics.sums();
        let score = metric.score_of(&sums);
        let line = format!("{} = {score:.2} (μ = {:.2} ± {:.2})", metric.name(), self.mean, self.half_width);
        match metric.details(&sums) {
            Some(details) => format!("{line} {details}"),
            None => line,
        }
    }
}

/// The interval of one system, as `corpus_score(.., n_bootstrap=resamples)` of sacrebleu 2.6.0 with
/// `SACREBLEU_SEED=seed` (its default is 12345): the same resamples, added up in 64 bits where sacrebleu has 32.
///
/// # Errors
/// No resamples, or more than 2³² segments.
pub fn resampled_score<M: CorpusMetric>(
    metric: &M,
    statistics: &SegmentStatistics,
    resamples: usize,
    seed: u64,
) -> Result<ResampledScore, EvalError> {
    check_trials("resamples", resamples)?;
    let indices = draw(&mut Pcg64::new(seed), statistics.count()?, resamples);
    Ok(ResampledScore::of(statistics.resampled(metric, &indices)))
}

/// `choice(count, size=(resamples, count), replace=True)`.
fn draw(generator: &mut Pcg64, count: u32, resamples: usize) -> Vec<u32> {
    (0..resamples * count as usize).map(|_| generator.below(count)).collect()
}

fn check_trials(option: &'static str, trials: usize) -> Result<(), EvalError> {
    match trials {
        0 => {
            let (found, wanted) = ("0".to_owned(), "at least 1");
            Err(EvalError::Option { metric: METRIC, option, found, wanted })
        }
        _ => Ok(()),
    }
}
