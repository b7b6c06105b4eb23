//! The examples on which systems differ most.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::SystemsConfig;
use super::input::{ComparedExample, SystemResult};
use super::score::signed;
use crate::bootstrap::BootstrapConfig;
use crate::error::EvalError;
use crate::metric::Metric;

/// What one system answered to an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownAnswer {
    /// The system's name.
    pub system: String,
    /// Its answer.
    pub answer: String,
    /// The answer's score by the primary metric, as if it were the only example.
    pub score: f64,
    /// Score minus the base's, positive for better.
    pub gain: f64,
}

/// An example with the answers of all systems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DifferingExample {
    /// Its position, from 0.
    pub index: usize,
    /// The example.
    #[serde(flatten)]
    pub example: ComparedExample,
    /// Best minus worst score.
    pub spread: f64,
    /// The largest loss against the base; 0 if no system is worse.
    pub regression: f64,
    /// By system, in the report's order.
    pub answers: Vec<ShownAnswer>,
}

/// Up to `config.examples` of them: half for the worst regressions, the rest by spread, and how many do not differ.
pub(super) fn differing(
    config: &SystemsConfig,
    examples: &[ComparedExample],
    systems: &[SystemResult],
    base: usize,
) -> Result<(Vec<DifferingExample>, usize), EvalError> {
    let metric = config.primary;
    let scored = |losses: &SystemResult| losses.losses.as_ref().map(Vec::len) == Some(examples.len());
    if metric == Metric::Perplexity && !systems.iter().all(scored) {
        return Ok((Vec::new(), 0));
    }
    // Resamples of one example are all alike.
    let alone = config.metrics.only(metric).with_bootstrap(BootstrapConfig::new().with_resamples(1));
    let score = |system: &SystemResult, index: usize| match &system.losses {
        Some(losses) if metric == Metric::Perplexity => {
            Ok((losses[index].sum / losses[index].tokens as f64).exp())
        }
        _ => {
            let references = std::slice::from_ref(&examples[index].references);
            Ok(alone.evaluate(&[&system.answers[index]], references)?[&metric].value)
        }
    };
    let rows: Vec<(usize, Vec<f64>)> = (0..examples.len())
        .into_par_iter()
        .map(|index| {
            let scores = systems.iter().map(|system| score(system, index)).collect::<Result<_, _>>()?;
            Ok::<_, EvalError>((index, scores))
        })
        .collect::<Result<_, _>>()?;

    let mut shown: Vec<DifferingExample> = rows
        .into_iter()
        .map(|(index, scores)| {
            let gains: Vec<f64> = scores.iter().map(|score| signed(metric, score - scores[base])).collect();
            let (least, most) = gains
                .iter()
                .fold((0.0_f64, 0.0_f64), |(least, most), gain| (least.min(*gain), most.max(*gain)));
            let answers =
                systems.iter().zip(scores.iter().zip(&gains)).map(|(system, (score, gain))| ShownAnswer {
                    system: system.name.clone(),
                    answer: system.answers[index].clone(),
                    score: *score,
                    gain: *gain,
                });
            DifferingExample {
                index,
                example: examples[index].clone(),
                spread: most - least,
                regression: (-least).max(0.0),
                answers: answers.collect(),
            }
        })
        .filter(|example| example.spread > 0.0)
        .collect();
    let alike = examples.len() - shown.len();

    shown.sort_by(|left, right| {
        right.regression.total_cmp(&left.regression).then(right.spread.total_cmp(&left.spread))
    });
    let regressions = shown.iter().filter(|example| example.regression > 0.0).count();
    let half = regressions.min(config.examples.div_ceil(2));
    let mut rest = shown.split_off(half);
    rest.sort_by(|left, right| right.spread.total_cmp(&left.spread).then(left.index.cmp(&right.index)));
    rest.truncate(config.examples - half);
    shown.extend(rest);
    Ok((shown, alike))
}
