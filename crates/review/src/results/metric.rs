//! Whether an automatic metric prefers what people prefer.

use std::collections::BTreeMap;

use burnisher_eval::{BootstrapConfig, EvalError};
use serde::Serialize;

use super::{ItemVotes, Rate, Vote};
use crate::{ReviewError, Study};

/// Scores that a metric gave to outputs; higher is better (negate a loss).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct MetricScores {
    /// Name of the metric.
    pub name: String,
    /// Score by id of the item and name of the system. Outputs may lack one.
    pub scores: BTreeMap<(String, String), f64>,
}

impl MetricScores {
    /// Scores by (id of the item, name of the system).
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        scores: impl IntoIterator<Item = ((S, S), f64)>,
    ) -> Self {
        let scores = scores.into_iter().map(|((item, system), score)| ((item.into(), system.into()), score));
        Self { name: name.into(), scores: scores.collect() }
    }
}

/// Agreement of a metric with people, over pairs of outputs of the same item.
///
/// People prefer what more judges chose. A pair is concordant where the metric scores that output higher.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricAgreement {
    /// Name of the metric.
    pub metric: String,
    /// Pairs in which people and metric prefer the same output.
    pub concordant: usize,
    /// Pairs in which they prefer different ones.
    pub discordant: usize,
    /// Pairs that only the metric scores equally.
    pub metric_ties: usize,
    /// Pairs about which only people are undecided.
    pub people_ties: usize,
    /// Pairs that tie for both.
    pub both_tie: usize,
    /// Pairs of which the metric did not score both outputs.
    pub missing: usize,
    /// Concordant among concordant and discordant.
    pub agreement: Rate,
    /// Kendall's tau-b (1945, "The Treatment of Ties in Ranking Problems") over these pairs, −1..1: only outputs of
    /// the same item are compared. `None` where one side only ties.
    pub kendall_tau_b: Option<f64>,
}

pub(super) fn agreement(
    study: &Study,
    votes: &[Vote<'_>],
    metric: &MetricScores,
    config: &BootstrapConfig,
) -> Result<MetricAgreement, ReviewError> {
    check(study, metric)?;
    let mut people: BTreeMap<(usize, &str, &str), f64> = BTreeMap::new();
    for vote in votes {
        *people.entry((vote.item, vote.first, vote.second)).or_default() += vote.outcome.points() - 0.5;
    }
    let mut result = MetricAgreement {
        metric: metric.name.clone(),
        concordant: 0,
        discordant: 0,
        metric_ties: 0,
        people_ties: 0,
        both_tie: 0,
        missing: 0,
        agreement: ItemVotes::default().rate(config)?,
        kendall_tau_b: None,
    };
    let mut agreement = ItemVotes::default();
    for ((item, first, second), preference) in people {
        let score = |system: &str| metric.scores.get(&(study.items[item].id.clone(), system.to_owned()));
        let count = match (score(first), score(second)) {
            (Some(first), Some(second)) => match (first == second, preference == 0.0) {
                (true, true) => &mut result.both_tie,
                (true, false) => &mut result.metric_ties,
                (false, true) => &mut result.people_ties,
                (false, false) if (first > second) == (preference > 0.0) => {
                    agreement.add(item, 1.0);
                    &mut result.concordant
                }
                (false, false) => {
                    agreement.add(item, 0.0);
                    &mut result.discordant
                }
            },
            _ => &mut result.missing,
        };
        *count += 1;
    }
    let (same, other) = (result.concordant as f64, result.discordant as f64);
    result.agreement = agreement.rate(config)?;
    let scale = (same + other + result.metric_ties as f64) * (same + other + result.people_ties as f64);
    result.kendall_tau_b = (scale > 0.0).then(|| (same - other) / scale.sqrt());
    Ok(result)
}

fn check(study: &Study, metric: &MetricScores) -> Result<(), ReviewError> {
    let outputs: BTreeMap<&str, _> =
        study.items.iter().map(|item| (item.id.as_str(), &item.outputs)).collect();
    for ((item, system), score) in &metric.scores {
        let place = || format!("metric `{}`, item `{item}`", metric.name);
        if !outputs.get(item.as_str()).is_some_and(|outputs| outputs.contains_key(system)) {
            let found = format!("a score of system `{system}`");
            return Err(ReviewError::study(place(), found, "items and systems of the study"));
        }
        if !score.is_finite() {
            return Err(EvalError::Statistic { place: place(), value: *score }.into());
        }
    }
    Ok(())
}
