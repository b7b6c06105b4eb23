//! Ratings that explain all battles at once.

use serde::{Deserialize, Serialize};

use super::{Battle, Field, SCALE, START};
use crate::bootstrap::quantile;
use crate::error::EvalError;
use crate::rng::Pcg64;

const METRIC: &str = "bradley-terry";

/// Bradley and Terry's model (1952, "Rank Analysis of Incomplete Block Designs"): 400 points are odds of 10 to 1,
/// a tie is half a win for both, and the mean rating is 1000. The ratings do not depend on the order of battles.
///
/// Where a system only wins or only loses, or two groups never met, the likelihood has no maximum. Then every
/// system gets ties against an imaginary opponent of rating 1000 ([`prior_ties`](Self::prior_ties)), and
/// [`Ratings::regularized`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BradleyTerryConfig {
    /// Resamples of the battles for the intervals; 0 for none. Default 100, as FastChat.
    pub resamples: usize,
    /// Seed of the resamples: NumPy's `default_rng(seed)`, one `choice` per resample.
    pub seed: u64,
    /// Ties of every system against an imaginary opponent, only where ratings would be infinite. Default 1.
    pub prior_ties: f64,
}

impl Default for BradleyTerryConfig {
    fn default() -> Self {
        Self { resamples: 100, seed: 0, prior_ties: 1.0 }
    }
}

/// Why ratings were held back from infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regularized {
    /// Some systems never met some others, not even through third ones.
    Disconnected,
    /// Some systems only won against all others, or only lost.
    OneSided,
}

/// A system with its rating.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RatedSystem {
    /// Its name.
    pub name: String,
    /// Its rating.
    pub rating: f64,
    /// 2.5 %, 50 % and 97.5 % of its ratings on resamples.
    pub quantiles: Option<[f64; 3]>,
    /// 1 + the number of systems whose 2.5 % lies above the 97.5 % of this one; without resamples, whose rating
    /// is higher.
    pub rank: usize,
}

/// Systems by rating, the highest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratings {
    /// The systems.
    pub systems: Vec<RatedSystem>,
    /// Why the ratings were held back, when they were.
    pub regularized: Option<Regularized>,
    /// Resamples on which they had to be held back.
    pub regularized_resamples: usize,
}

impl BradleyTerryConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
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

    /// Holds infinite ratings back with this many ties per system.
    pub fn with_prior_ties(mut self, ties: f64) -> Self {
        self.prior_ties = ties;
        self
    }

    /// The ratings that make the outcomes of the battles most likely.
    ///
    /// # Errors
    /// No battles or more than 2³², a prior that is not above 0 and finite.
    pub fn rate(&self, battles: &[Battle]) -> Result<Ratings, EvalError> {
        let count = check(battles.len(), self.resamples.max(1))?;
        if !(self.prior_ties > 0.0 && self.prior_ties.is_finite()) {
            let (option, found) = ("prior_ties", self.prior_ties.to_string());
            return Err(EvalError::Option { metric: METRIC, option, found, wanted: "a number above 0" });
        }
        let field = Field::new(battles);
        let mut weights = vec![1.0; battles.len()];
        let (ratings, regularized) = self.fit(&field, &weights);

        let mut generator = Pcg64::new(self.seed);
        let mut drawn = vec![Vec::with_capacity(self.resamples); field.names.len()];
        let mut regularized_resamples = 0;
        for _ in 0..self.resamples {
            weights.fill(0.0);
            for _ in 0..count {
                weights[generator.below(count) as usize] += 1.0;
            }
            let (sample, regularized) = self.fit(&field, &weights);
            regularized_resamples += usize::from(regularized.is_some());
            for (values, rating) in drawn.iter_mut().zip(sample) {
                values.push(rating);
            }
        }
        let quantiles: Vec<Option<[f64; 3]>> = drawn
            .into_iter()
            .map(|mut values| {
                values.sort_by(f64::total_cmp);
                (!values.is_empty()).then(|| [0.025, 0.5, 0.975].map(|level| quantile(&values, level)))
            })
            .collect();
        let bounds: Vec<[f64; 2]> = ratings
            .iter()
            .zip(&quantiles)
            .map(|(rating, quantiles)| quantiles.map_or([*rating; 2], |[low, _, high]| [low, high]))
            .collect();
        let mut systems: Vec<RatedSystem> = field
            .names
            .into_iter()
            .enumerate()
            .map(|(at, name)| RatedSystem {
                name,
                rating: ratings[at],
                quantiles: quantiles[at],
                rank: 1 + bounds.iter().filter(|[low, _]| *low > bounds[at][1]).count(),
            })
            .collect();
        systems.sort_by(|left, right| right.rating.total_cmp(&left.rating));
        Ok(Ratings { systems, regularized, regularized_resamples })
    }

    /// Newton's method on the log likelihood, which is concave.
    fn fit(&self, field: &Field, weights: &[f64]) -> (Vec<f64>, Option<Regularized>) {
        let systems = field.names.len();
        let pairs = Pairs::new(field, weights);
        let regularized = pairs.problem();
        // A tie against 0 adds ln 2cosh(t/2) to the loss; without one the common shift has to be held instead.
        let prior = if regularized.is_some() { self.prior_ties } else { 0.0 };
        let loss = |t: &[f64]| {
            let battles: f64 = pairs.rows.iter().map(|row| row.loss(t[row.first] - t[row.second])).sum();
            battles + prior * t.iter().map(|t| soft_plus(*t) - t / 2.0).sum::<f64>()
        };
        let mut t = vec![0.0; systems];
        let mut before = loss(&t);
        for _ in 0..200 {
            let mut gradient = vec![0.0; systems];
            let hold = if prior > 0.0 { 0.0 } else { 1.0 / systems as f64 };
            let mut hessian = vec![vec![hold; systems]; systems];
            for row in &pairs.rows {
                let p = sigmoid(t[row.first] - t[row.second]);
                let (slope, curve) = (row.weight * p - row.won, row.weight * p * (1.0 - p));
                gradient[row.first] += slope;
                gradient[row.second] -= slope;
                for (i, j, sign) in [
                    (row.first, row.first, 1.0),
                    (row.second, row.second, 1.0),
                    (row.first, row.second, -1.0),
                    (row.second, row.first, -1.0),
                ] {
                    hessian[i][j] += sign * curve;
                }
            }
            for (at, t) in t.iter().enumerate() {
                let p = sigmoid(*t);
                gradient[at] += prior * (p - 0.5);
                hessian[at][at] += prior * p * (1.0 - p);
            }
            let step = solve(hessian, gradient);
            let largest = step.iter().fold(0.0f64, |largest, step| largest.max(step.abs()));
            let mut length = 1.0;
            loop {
                let next: Vec<f64> = t.iter().zip(&step).map(|(t, step)| t - length * step).collect();
                let after = loss(&next);
                if after <= before + 1e-12 * before.abs() || length < 1e-6 {
                    (t, before) = (next, after);
                    break;
                }
                length /= 2.0;
            }
            if largest < 1e-12 {
                break;
            }
        }
        let points = SCALE / std::f64::consts::LN_10;
        let mean = t.iter().sum::<f64>() / systems as f64;
        (t.iter().map(|t| (t - mean) * points + START).collect(), regularized)
    }
}

pub(super) fn check(battles: usize, resamples: usize) -> Result<u32, EvalError> {
    if battles == 0 {
        return Err(EvalError::Empty { metric: METRIC });
    }
    let refuse = |option, found: usize, wanted| EvalError::Option {
        metric: METRIC,
        option,
        found: found.to_string(),
        wanted,
    };
    if resamples == 0 {
        return Err(refuse("resamples", 0, "at least 1"));
    }
    u32::try_from(battles).map_err(|_| refuse("battles", battles, "fewer than 4294967296"))
}

/// All battles of two systems.
struct Row {
    first: usize,
    second: usize,
    /// How many.
    weight: f64,
    /// How many the first won, ties as halves.
    won: f64,
}

impl Row {
    fn loss(&self, difference: f64) -> f64 {
        self.weight * soft_plus(difference) - self.won * difference
    }
}

struct Pairs {
    systems: usize,
    rows: Vec<Row>,
}

impl Pairs {
    fn new(field: &Field, weights: &[f64]) -> Self {
        let systems = field.names.len();
        let mut sums = std::collections::BTreeMap::<(usize, usize), (f64, f64)>::new();
        for ((first, second, score), weight) in field.battles.iter().zip(weights) {
            // A system against itself says nothing.
            if *weight == 0.0 || first == second {
                continue;
            }
            let (key, score) =
                if first < second { ((*first, *second), *score) } else { ((*second, *first), 1.0 - score) };
            let sum = sums.entry(key).or_default();
            sum.0 += weight;
            sum.1 += weight * score;
        }
        let row = |((first, second), (weight, won))| Row { first, second, weight, won };
        Self { systems, rows: sums.into_iter().map(row).collect() }
    }

    /// Ratings are finite exactly when every system reaches every other along wins (Ford 1957, "Solution of a
    /// Ranking Problem from Binary Comparisons"); a tie is a win both ways.
    fn problem(&self) -> Option<Regularized> {
        let reached = |forward: bool, backward: bool| {
            let mut seen = vec![false; self.systems];
            let mut open = vec![0];
            while let Some(system) = open.pop() {
                if std::mem::replace(&mut seen[system], true) {
                    continue;
                }
                for row in &self.rows {
                    let (won, lost) = (row.won > 0.0, row.won < row.weight);
                    if row.first == system && ((forward && won) || (backward && lost)) {
                        open.push(row.second);
                    }
                    if row.second == system && ((forward && lost) || (backward && won)) {
                        open.push(row.first);
                    }
                }
            }
            seen.into_iter().all(|seen| seen)
        };
        if !reached(true, true) {
            Some(Regularized::Disconnected)
        } else if !reached(true, false) || !reached(false, true) {
            Some(Regularized::OneSided)
        } else {
            None
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + eˣ), without overflow.
fn soft_plus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Solves a symmetric positive definite system by Gaussian elimination.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for pivot in 0..size {
        let (above, below) = matrix.split_at_mut(pivot + 1);
        let row = &above[pivot];
        for (offset, other) in below.iter_mut().enumerate() {
            let factor = other[pivot] / row[pivot];
            if factor != 0.0 {
                for (cell, top) in other.iter_mut().zip(row).skip(pivot) {
                    *cell -= factor * top;
                }
                right[pivot + 1 + offset] -= factor * right[pivot];
            }
        }
    }
    for pivot in (0..size).rev() {
        let known: f64 = (pivot + 1..size).map(|at| matrix[pivot][at] * right[at]).sum();
        right[pivot] = (right[pivot] - known) / matrix[pivot][pivot];
    }
    right
}
