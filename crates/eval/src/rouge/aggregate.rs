//! rouge_score's error bars.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{METRIC, Rouge, RougeScore, RougeType};
use crate::bootstrap::quantile;
use crate::error::EvalError;
use crate::rng::Mt19937;

/// How scores are resampled. The default is that of rouge_score 0.1.2, 1000 resamples and 95 %, and seed 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RougeAggregation {
    /// Number of resamples.
    pub resamples: usize,
    /// Share of the resampled means between the bounds, 0..1 exclusive.
    pub confidence: f64,
    /// What `numpy.random.seed` would be given. rouge_score draws from NumPy's global generator, so without a
    /// seed two runs of it differ.
    pub seed: u32,
}

impl Default for RougeAggregation {
    fn default() -> Self {
        Self { resamples: 1000, confidence: 0.95, seed: 0 }
    }
}

impl RougeAggregation {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws this many resamples.
    pub fn with_resamples(mut self, resamples: usize) -> Self {
        self.resamples = resamples;
        self
    }

    /// Keeps this share of the resampled means between the bounds.
    pub fn with_confidence(mut self, confidence: f64) -> Self {
        self.confidence = confidence;
        self
    }

    /// Draws with this seed.
    pub fn with_seed(mut self, seed: u32) -> Self {
        self.seed = seed;
        self
    }
}

/// Bounds and middle of resampled means. `mid` is a median of means, not the mean of the scores
/// ([`Rouge::corpus`]); it is what `rouge` of Hugging Face evaluate reports.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RougeInterval {
    /// Lower bound.
    pub low: RougeScore,
    /// Median.
    pub mid: RougeScore,
    /// Upper bound.
    pub high: RougeScore,
}

impl Rouge {
    /// The scores of many examples with error bars, as rouge_score's `BootstrapAggregator` computes them: all
    /// measures from one stream of random numbers, in the order of the configuration.
    ///
    /// # Errors
    /// No scores, an example without one of the measures, no resamples, a confidence outside 0..1.
    pub fn aggregate(
        &self,
        scores: &[BTreeMap<RougeType, RougeScore>],
        aggregation: &RougeAggregation,
    ) -> Result<BTreeMap<RougeType, RougeInterval>, EvalError> {
        let RougeAggregation { resamples, confidence, seed } = *aggregation;
        let refuse = |option, found, wanted| Err(EvalError::Option { metric: METRIC, option, found, wanted });
        if resamples == 0 {
            return refuse("resamples", "0".to_owned(), "at least 1");
        }
        if !(confidence > 0.0 && confidence < 1.0) {
            let wanted = "a number between 0 and 1, both exclusive";
            return refuse("confidence", confidence.to_string(), wanted);
        }
        let Ok(count) = u32::try_from(scores.len()) else {
            return refuse("scores", scores.len().to_string(), "fewer than 4294967296");
        };
        if count == 0 {
            return Err(EvalError::Empty { metric: METRIC });
        }
        let mut generator = Mt19937::numpy(seed);
        let mut intervals = BTreeMap::new();
        for rouge in &self.config.types {
            let rows: Vec<[f64; 3]> = scores
                .iter()
                .enumerate()
                .map(|(index, scores)| match scores.get(rouge) {
                    Some(score) => Ok([score.precision, score.recall, score.fmeasure]),
                    None => Err(EvalError::Value {
                        metric: METRIC,
                        what: "the score of example",
                        index,
                        found: format!("without {rouge}"),
                        wanted: "one with all measures of the configuration",
                    }),
                })
                .collect::<Result<_, _>>()?;
            let mut means = [const { Vec::new() }; 3];
            for _ in 0..resamples {
                let mut sums = [0.0; 3];
                for _ in 0..count {
                    let row = rows[generator.masked_below(count) as usize];
                    sums.iter_mut().zip(row).for_each(|(sum, part)| *sum += part);
                }
                means.iter_mut().zip(sums).for_each(|(means, sum)| means.push(sum / f64::from(count)));
            }
            for means in &mut means {
                means.sort_by(f64::total_cmp);
            }
            let tail = (1.0 - confidence) / 2.0;
            let at = |level: f64| {
                let [precision, recall, fmeasure] = [0, 1, 2].map(|part| quantile(&means[part], level));
                RougeScore { precision, recall, fmeasure }
            };
            intervals.insert(*rouge, RougeInterval { low: at(tail), mid: at(0.5), high: at(1.0 - tail) });
        }
        Ok(intervals)
    }
}
