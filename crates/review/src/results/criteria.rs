//! Scores by criterion and system.

use std::collections::BTreeMap;

use burnisher_eval::{BootstrapConfig, Estimate, Resample, bootstrap};
use serde::Serialize;

use super::Vote;
use crate::{ReviewError, Study};

/// What the outputs of a system scored on a criterion.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CriterionScore {
    /// Name of the criterion.
    pub criterion: String,
    /// Name of the system.
    pub system: String,
    /// Scores given; an output counts once for each comparison in which it was scored.
    pub scores: usize,
    /// The mean of the scores, with the interval of drawing items with all their scores.
    pub mean: Estimate,
}

pub(super) fn scores(
    study: &Study,
    votes: &[Vote<'_>],
    config: &BootstrapConfig,
) -> Result<Vec<CriterionScore>, ReviewError> {
    let mut results = Vec::new();
    for criterion in &study.criteria {
        // By system, then by item: sum and number of scores.
        let mut systems: BTreeMap<&str, BTreeMap<usize, (f64, usize)>> = BTreeMap::new();
        for vote in votes {
            let Some(scores) = vote.scores.get(&criterion.name) else { continue };
            for (system, score) in [(vote.left, scores.left), (vote.right, scores.right)] {
                let Some(score) = score else { continue };
                let item = systems.entry(system).or_default().entry(vote.item).or_default();
                item.0 += score as f64;
                item.1 += 1;
            }
        }
        for (system, items) in systems {
            let items: Vec<(f64, usize)> = items.into_values().collect();
            let mean = bootstrap(&items, config, |sample: Resample<'_, (f64, usize)>| {
                let (sum, count) = sample.fold((0.0, 0), |(sum, count), item| (sum + item.0, count + item.1));
                sum / count as f64
            })?;
            results.push(CriterionScore {
                criterion: criterion.name.clone(),
                system: system.to_owned(),
                scores: items.iter().map(|item| item.1).sum(),
                mean,
            });
        }
    }
    Ok(results)
}
