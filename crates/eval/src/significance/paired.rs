//! Two systems on the same segments.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CorpusMetric, METRIC, ResampledScore, SegmentStatistics, check_trials, draw, resampled_score};
use crate::error::{EvalError, check_systems};
use crate::rng::Pcg64;

/// How chance is imitated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PairedTest {
    /// Segments are drawn with replacement, the same for both systems (Koehn 2004, "Statistical Significance
    /// Tests for Machine Translation Evaluation").
    #[default]
    Bootstrap,
    /// The systems swap segments at random (Riezler and Maxwell 2005, "On Some Pitfalls in Automatic Evaluation
    /// and Significance Testing for MT").
    ApproximateRandomization,
}

/// Options of a paired test. The default is sacrebleu 2.6.0's paired bootstrap: 1000 resamples, seed 12345.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PairedTestConfig {
    /// How chance is imitated.
    pub test: PairedTest,
    /// Resamples or swaps. sacrebleu's defaults are 1000 and 10,000.
    pub trials: usize,
    /// Resamples for the interval that [`PairedTest::ApproximateRandomization`] does not bring along; 0 for none.
    pub confidence_resamples: usize,
    /// Seed of NumPy's generator.
    pub seed: u64,
}

impl Default for PairedTestConfig {
    fn default() -> Self {
        Self { test: PairedTest::Bootstrap, trials: 1000, confidence_resamples: 0, seed: 12345 }
    }
}

impl PairedTestConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// sacrebleu's approximate randomisation: 10,000 swaps, seed 12345.
    pub fn approximate_randomization() -> Self {
        Self { test: PairedTest::ApproximateRandomization, trials: 10_000, ..Self::default() }
    }

    /// Makes this many trials.
    pub fn with_trials(mut self, trials: usize) -> Self {
        self.trials = trials;
        self
    }

    /// Draws this many resamples for the interval.
    pub fn with_confidence_resamples(mut self, resamples: usize) -> Self {
        self.confidence_resamples = resamples;
        self
    }

    /// Draws with this seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Compares a system to a baseline on the same segments.
    ///
    /// p is (1 + trials with a larger difference) / (1 + trials), as sacrebleu's, whose count of differences
    /// *strictly* larger makes identical systems "significant": see [`PairedTestResult::identical`].
    ///
    /// # Errors
    /// No trials, not equally many segments, rows of different metrics.
    pub fn run<M: CorpusMetric>(
        &self,
        metric: &M,
        baseline: &SegmentStatistics,
        system: &SegmentStatistics,
    ) -> Result<PairedTestResult, EvalError> {
        check_trials("trials", self.trials)?;
        let count = baseline.count()?;
        check_systems(METRIC, count as usize, system.count()? as usize)?;
        let (wanted, found) = (baseline.row(0).len(), system.row(0).len());
        if wanted != found {
            return Err(EvalError::Option {
                metric: METRIC,
                option: "statistics per segment",
                found: format!("{found} beside {wanted}"),
                wanted: "those of the same metric for both systems",
            });
        }
        let scores = [baseline, system].map(|rows| metric.score_of(&rows.sums()));
        let observed = (scores[0] - scores[1]).abs();
        let mut generator = Pcg64::new(self.seed);
        let (differences, intervals) = match self.test {
            PairedTest::Bootstrap => {
                let indices = draw(&mut generator, count, self.trials);
                let drawn = [baseline, system].map(|rows| rows.resampled(metric, &indices));
                let differences: Vec<f64> =
                    drawn[0].iter().zip(&drawn[1]).map(|(left, right)| (left - right).abs()).collect();
                let mean = differences.iter().sum::<f64>() / differences.len() as f64;
                let centred = differences.iter().map(|difference| difference - mean).collect();
                (centred, drawn.map(|scores| Some(ResampledScore::of(scores))))
            }
            PairedTest::ApproximateRandomization => {
                let swaps = generator.bools(self.trials * count as usize);
                let differences: Vec<f64> = swaps
                    .par_chunks(count as usize)
                    .map(|mine| {
                        let left = metric.score_of(&baseline.mixed(system, mine));
                        (left - metric.score_of(&system.mixed(baseline, mine))).abs()
                    })
                    .collect();
                let mut intervals = [None; 2];
                if self.confidence_resamples > 0 {
                    // The baseline's interval is that of a fresh generator, the system's goes on with this one.
                    let resamples = self.confidence_resamples;
                    let indices = draw(&mut generator, count, resamples);
                    intervals = [
                        Some(resampled_score(metric, baseline, resamples, self.seed)?),
                        Some(ResampledScore::of(system.resampled(metric, &indices))),
                    ];
                }
                (differences, intervals)
            }
        };
        let larger = differences.iter().filter(|difference| **difference > observed).count();
        let side = |index: usize| PairedSide { score: scores[index], resampled: intervals[index] };
        Ok(PairedTestResult {
            baseline: side(0),
            system: side(1),
            p_value: (larger + 1) as f64 / (self.trials + 1) as f64,
            identical: baseline == system,
        })
    }
}

/// One system of a paired test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedSide {
    /// The score of its segments.
    pub score: f64,
    /// Its interval, when resamples were drawn.
    pub resampled: Option<ResampledScore>,
}

/// What a paired test says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedTestResult {
    /// The baseline.
    pub baseline: PairedSide,
    /// The system compared to it.
    pub system: PairedSide,
    /// How often chance alone gives a larger difference, above 0, at most 1.
    pub p_value: f64,
    /// Whether all segments have the same statistics in both systems: then the p-value means nothing.
    pub identical: bool,
}
