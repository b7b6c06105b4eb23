//! Do raters agree more than chance? Kappas, alpha and Gwet's coefficients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::classification::{KappaWeights, classify};
use crate::error::{EvalError, check_pairs};

/// Cohen's kappa of two raters (Cohen 1960 and 1968), −1..1; `None` when both always give the same one rating.
/// Weights go by the position among the ratings that occur.
///
/// # Errors
/// No items, not equally many ratings of both.
pub fn cohen_kappa<L: Ord + Clone>(
    left: &[L],
    right: &[L],
    weights: KappaWeights,
) -> Result<Option<f64>, EvalError> {
    check_pairs("cohen kappa", left.len(), right.len())?;
    Ok(classify(left, right)?.kappa(weights))
}

/// Fleiss' kappa (1971, "Measuring Nominal Scale Agreement Among Many Raters"), −1..1, from how many raters put
/// each item (row) into each category (column). `None` when all ratings are one category. For two raters it is
/// Scott's pi, not Cohen's kappa.
///
/// # Errors
/// No items, fewer than two raters, items with different numbers of raters or categories.
pub fn fleiss_kappa(table: &[Vec<u64>]) -> Result<Option<f64>, EvalError> {
    let (raters, categories) = check_table(table)?;
    let chance = (0..categories).map(|at| {
        let ratings: u64 = table.iter().map(|row| row[at]).sum();
        (ratings as f64 / (table.len() as f64 * raters)).powi(2)
    });
    Ok(beyond_chance(observed(table, raters), chance.sum()))
}

/// Randolph's kappa (2005), −1..1: as [`fleiss_kappa`], but chance puts items into all categories alike.
///
/// # Errors
/// As [`fleiss_kappa`].
pub fn randolph_kappa(table: &[Vec<u64>]) -> Result<Option<f64>, EvalError> {
    let (raters, categories) = check_table(table)?;
    Ok(beyond_chance(observed(table, raters), 1.0 / categories as f64))
}

fn check_table(table: &[Vec<u64>]) -> Result<(f64, usize), EvalError> {
    const METRIC: &str = "fleiss kappa";
    let first = table.first().ok_or(EvalError::Empty { metric: METRIC })?;
    let raters: u64 = first.iter().sum();
    let refuse = |index, found, wanted| {
        Err(EvalError::Value { metric: METRIC, what: "the number of raters of item", index, found, wanted })
    };
    if raters < 2 {
        return refuse(0, raters.to_string(), "at least 2");
    }
    for (index, row) in table.iter().enumerate() {
        let found: u64 = row.iter().sum();
        if found != raters || row.len() != first.len() {
            let found = format!("{found} in {} categories", row.len());
            return refuse(index, found, "those of item 0: equally many raters and categories everywhere");
        }
    }
    Ok((raters as f64, first.len()))
}

/// Mean over the items of the share of pairs of raters that agree.
fn observed(table: &[Vec<u64>], raters: f64) -> f64 {
    let pairs = |row: &Vec<u64>| row.iter().map(|count| (count * count) as f64).sum::<f64>() - raters;
    table.iter().map(pairs).sum::<f64>() / (table.len() as f64 * raters * (raters - 1.0))
}

fn beyond_chance(observed: f64, chance: f64) -> Option<f64> {
    (chance < 1.0).then(|| (observed - chance) / (1.0 - chance))
}

/// What differences between values mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measurement {
    /// Equal or not.
    #[default]
    Nominal,
    /// By the ratings that lie between.
    Ordinal,
    /// By the difference.
    Interval,
    /// By the difference relative to the sum; values of at least 0.
    Ratio,
}

/// Krippendorff's alpha (2011, "Computing Krippendorff's Alpha-Reliability"), at most 1, of any number of raters
/// (rows) on items (columns), `None` where one did not rate. Items with fewer than two ratings say nothing and are
/// left out. `None` when the ratings left are all equal.
///
/// # Errors
/// No raters, raters with different numbers of items, no item with two ratings, a rating that is not finite.
pub fn krippendorff_alpha(
    ratings: &[Vec<Option<f64>>],
    level: Measurement,
) -> Result<Option<f64>, EvalError> {
    let units = Units::new("krippendorff alpha", ratings)?;
    let size = units.values.len();
    let mut together = vec![vec![0.0; size]; size];
    for item in units.pairable() {
        let raters: u64 = item.iter().sum();
        for (left, first) in item.iter().enumerate() {
            for (right, second) in item.iter().enumerate() {
                let pairs = if left == right { first * first.saturating_sub(1) } else { first * second };
                together[left][right] += pairs as f64 / (raters - 1) as f64;
            }
        }
    }
    let marginals: Vec<f64> = together.iter().map(|row| row.iter().sum()).collect();
    let total: f64 = marginals.iter().sum();
    let (mut seen, mut expected) = (0.0, 0.0);
    for left in 0..size {
        for right in 0..size {
            let distance = level.distance(&units.values, &marginals, left, right);
            seen += together[left][right] * distance;
            let own = if left == right { marginals[left] } else { 0.0 };
            expected += (marginals[left] * marginals[right] - own) / (total - 1.0) * distance;
        }
    }
    Ok((expected > 0.0).then(|| 1.0 - seen / expected))
}

impl Measurement {
    /// The squared difference of two values by their positions.
    fn distance(self, values: &[f64], marginals: &[f64], left: usize, right: usize) -> f64 {
        if left == right {
            return 0.0;
        }
        let (a, b) = (values[left], values[right]);
        match self {
            Self::Nominal => 1.0,
            Self::Ordinal => {
                let between: f64 = marginals[left.min(right)..=left.max(right)].iter().sum();
                (between - (marginals[left] + marginals[right]) / 2.0).powi(2)
            }
            Self::Interval => (a - b).powi(2),
            Self::Ratio => ((a - b) / (a + b)).powi(2),
        }
    }
}

/// Gwet's AC1 (2008, "Computing Inter-Rater Reliability and Its Variance in the Presence of High Agreement"), or
/// AC2 with weights, at most 1; raters and items as in [`krippendorff_alpha`]. Stays sensible where nearly all
/// ratings are one category, where kappa falls to 0. `None` when all ratings are equal.
///
/// # Errors
/// As [`krippendorff_alpha`].
pub fn gwet_ac(ratings: &[Vec<Option<f64>>], weights: KappaWeights) -> Result<Option<f64>, EvalError> {
    let units = Units::new("gwet", ratings)?;
    let size = units.values.len();
    if size < 2 {
        return Ok(None);
    }
    let weight = |left, right| 1.0 - weights.disagreement(left, right, size);
    let (mut agreed, mut pairable) = (0.0, 0.0);
    for item in units.pairable() {
        let raters = item.iter().sum::<u64>() as f64;
        let own = |at: usize| {
            let near: f64 = item.iter().enumerate().map(|(other, n)| weight(at, other) * *n as f64).sum();
            item[at] as f64 * (near - 1.0)
        };
        agreed += (0..size).map(own).sum::<f64>() / (raters * (raters - 1.0));
        pairable += 1.0;
    }
    let rated: Vec<&Vec<u64>> = units.items.iter().filter(|item| item.iter().any(|n| *n > 0)).collect();
    let share = |at: usize| {
        let of_item = |item: &&Vec<u64>| item[at] as f64 / item.iter().sum::<u64>() as f64;
        rated.iter().map(of_item).sum::<f64>() / rated.len() as f64
    };
    let all: f64 = (0..size).flat_map(|left| (0..size).map(move |right| weight(left, right))).sum();
    let chance =
        all / (size * (size - 1)) as f64 * (0..size).map(|at| share(at) * (1.0 - share(at))).sum::<f64>();
    Ok(beyond_chance(agreed / pairable, chance))
}

/// Per item, how many raters gave each value.
struct Units {
    values: Vec<f64>,
    items: Vec<Vec<u64>>,
}

impl Units {
    fn new(metric: &'static str, ratings: &[Vec<Option<f64>>]) -> Result<Self, EvalError> {
        let count = ratings.first().ok_or(EvalError::Empty { metric })?.len();
        for (index, of_rater) in ratings.iter().enumerate() {
            let refuse = |found, wanted| {
                Err(EvalError::Value { metric, what: "a rating of rater", index, found, wanted })
            };
            if of_rater.len() != count {
                return refuse(format!("one of {}", of_rater.len()), "equally many items for all raters");
            }
            if let Some(value) = of_rater.iter().flatten().find(|value| !value.is_finite()) {
                return refuse(value.to_string(), "a finite number");
            }
        }
        // Adding 0 makes one value of 0 and −0.
        let key = |value: f64| (value + 0.0).to_bits();
        let mut values: Vec<f64> = ratings.iter().flatten().flatten().copied().collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let positions: BTreeMap<u64, usize> =
            values.iter().enumerate().map(|(at, value)| (key(*value), at)).collect();
        let mut items = vec![vec![0; values.len()]; count];
        for of_rater in ratings {
            for (item, value) in items.iter_mut().zip(of_rater) {
                if let Some(value) = value {
                    item[positions[&key(*value)]] += 1;
                }
            }
        }
        let units = Self { values, items };
        if units.pairable().next().is_none() {
            return Err(EvalError::Empty { metric });
        }
        Ok(units)
    }

    fn pairable(&self) -> impl Iterator<Item = &Vec<u64>> {
        self.items.iter().filter(|item| item.iter().sum::<u64>() > 1)
    }
}
