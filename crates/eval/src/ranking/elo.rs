//! Elo's ratings, battle after battle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Battle, Field, SCALE, START};
use crate::bootstrap::{Estimate, quantile};
use crate::error::EvalError;
use crate::rng::Pcg64;

/// Elo's rating system. Ratings start at 1000; 400 points are odds of 10 to 1.
///
/// The result depends on the order of the battles: take
/// [`BradleyTerryConfig`](crate::BradleyTerryConfig) unless systems change over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EloConfig {
    /// Largest change by one battle. Default 4, as FastChat.
    pub k: f64,
    /// Resamples of the battles for [`intervals`](Self::intervals). Default 100.
    pub resamples: usize,
    /// Seed of the resamples.
    pub seed: u64,
}

impl Default for EloConfig {
    fn default() -> Self {
        Self { k: 4.0, resamples: 100, seed: 0 }
    }
}

impl EloConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes ratings by at most this much per battle.
    pub fn with_k(mut self, k: f64) -> Self {
        self.k = k;
        self
    }

    /// Draws this many resamples.
    pub fn with_resamples(mut self, resamples: usize) -> Self {
        self.resamples = resamples;
        self
    }

    /// Draws with this seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The ratings after the battles in the order given; FastChat's `compute_elo`.
    pub fn rate(&self, battles: &[Battle]) -> BTreeMap<String, f64> {
        let field = Field::new(battles);
        let ratings = self.run(&field, field.battles.iter());
        field.names.into_iter().zip(ratings).collect()
    }

    /// The ratings with the middle 95 % of those after battles drawn with replacement, in the order drawn.
    ///
    /// # Errors
    /// No battles or more than 2³², no resamples.
    pub fn intervals(&self, battles: &[Battle]) -> Result<BTreeMap<String, Estimate>, EvalError> {
        let field = Field::new(battles);
        let mut generator = Pcg64::new(self.seed);
        let count = super::bradley_terry::check(battles.len(), self.resamples)?;
        let mut drawn = vec![Vec::with_capacity(self.resamples); field.names.len()];
        for _ in 0..self.resamples {
            let sample: Vec<_> =
                (0..count).map(|_| &field.battles[generator.below(count) as usize]).collect();
            for (values, rating) in drawn.iter_mut().zip(self.run(&field, sample.into_iter())) {
                values.push(rating);
            }
        }
        let ratings = self.run(&field, field.battles.iter());
        let estimate = |(value, mut values): (f64, Vec<f64>)| {
            values.sort_by(f64::total_cmp);
            Estimate { value, interval: [quantile(&values, 0.025), quantile(&values, 0.975)] }
        };
        Ok(field.names.into_iter().zip(ratings.into_iter().zip(drawn).map(estimate)).collect())
    }

    fn run<'a>(&self, field: &Field, battles: impl Iterator<Item = &'a (usize, usize, f64)>) -> Vec<f64> {
        let mut ratings = vec![START; field.names.len()];
        for (first, second, score) in battles {
            let odds = ((ratings[*second] - ratings[*first]) * std::f64::consts::LN_10 / SCALE).exp();
            let change = self.k * (score - 1.0 / (1.0 + odds));
            ratings[*first] += change;
            ratings[*second] -= change;
        }
        ratings
    }
}
