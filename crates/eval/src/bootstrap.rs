//! Error bars by drawing examples with replacement, for one system and for the difference of two.

mod bca;
mod stderr;

use serde::{Deserialize, Serialize};

pub use self::stderr::{bootstrap_stderr, mean_stderr, pooled_stderr};
use crate::error::{EvalError, check_systems};

const METRIC: &str = "bootstrap";

/// Which resampled values bound an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IntervalMethod {
    /// The quantiles themselves (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13).
    #[default]
    Percentile,
    /// BCa: quantiles moved for bias and acceleration (the same book, chapter 14). Better for skewed statistics;
    /// also computes the statistic once without each example.
    Bca,
}

/// How examples are drawn. The default is 1000 resamples, 95 %, percentiles, seed 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BootstrapConfig {
    /// Number of resamples, each as large as the set.
    pub resamples: usize,
    /// Share of the resamples inside the interval, 0..1 exclusive.
    pub confidence: f64,
    /// Same seed, same resamples, on every machine.
    pub seed: u64,
    /// Which resampled values bound the interval.
    pub method: IntervalMethod,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self { resamples: 1000, confidence: 0.95, seed: 0, method: IntervalMethod::Percentile }
    }
}

impl BootstrapConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws this many resamples.
    pub fn with_resamples(mut self, resamples: usize) -> Self {
        self.resamples = resamples;
        self
    }

    /// Keeps this share of the resamples inside the interval.
    pub fn with_confidence(mut self, confidence: f64) -> Self {
        self.confidence = confidence;
        self
    }

    /// Draws with this seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Bounds intervals this way.
    pub fn with_method(mut self, method: IntervalMethod) -> Self {
        self.method = method;
        self
    }

    fn check(&self) -> Result<(), EvalError> {
        let refuse = |option, found, wanted| Err(EvalError::Option { metric: METRIC, option, found, wanted });
        if self.resamples == 0 {
            return refuse("resamples", "0".to_owned(), "at least 1");
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return refuse(
                "confidence",
                self.confidence.to_string(),
                "a number between 0 and 1, both exclusive",
            );
        }
        Ok(())
    }
}

/// A statistic of a set of examples with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The statistic of the examples themselves.
    pub value: f64,
    /// Lower and upper bound.
    pub interval: [f64; 2],
}

/// A statistic of two systems on the same examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedEstimate {
    /// The statistic of the base system.
    pub base: Estimate,
    /// The statistic of the tuned system.
    pub tuned: Estimate,
    /// Tuned minus base.
    pub difference: Estimate,
    /// How often a difference at least this large, in either direction, would come of drawing examples alone,
    /// 0..1; never below 1 / (resamples + 1), and 1 for identical systems.
    pub p_value: f64,
}

/// The examples of one resample, in the order drawn; an example may come several times.
#[derive(Debug)]
pub struct Resample<'a, S> {
    examples: &'a [S],
    indices: std::slice::Iter<'a, u32>,
}

impl<S> Clone for Resample<'_, S> {
    fn clone(&self) -> Self {
        Self { examples: self.examples, indices: self.indices.clone() }
    }
}

impl<'a, S> Iterator for Resample<'a, S> {
    type Item = &'a S;

    fn next(&mut self) -> Option<&'a S> {
        self.indices.next().map(|index| &self.examples[*index as usize])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl<S> ExactSizeIterator for Resample<'_, S> {}

/// The mean of numbers, as a statistic for [`bootstrap`] and [`paired_bootstrap`].
pub fn mean(values: Resample<'_, f64>) -> f64 {
    let count = values.len();
    values.sum::<f64>() / count as f64
}

/// The value of a statistic and its interval.
///
/// `examples` holds what the statistic needs of each example: numbers for a mean,
/// [`EntityCounts`](crate::EntityCounts) for F1, [`BleuCounts`](crate::BleuCounts) for BLEU,
/// [`TextLoss`](crate::TextLoss) for perplexity. The interval is that of
/// [`IntervalMethod`], with linear interpolation. It is too narrow for few examples (below about 30) and has no
/// width for one.
///
/// # Errors
/// No examples or more than 2³², no resamples, a confidence outside 0..1, a statistic that is not finite.
pub fn bootstrap<S>(
    examples: &[S],
    config: &BootstrapConfig,
    statistic: impl Fn(Resample<'_, S>) -> f64,
) -> Result<Estimate, EvalError> {
    let mut values = Vec::new();
    let value = draw(examples.len(), config, |indices, place| {
        let value = finite(statistic(Resample { examples, indices: indices.iter() }), place)?;
        if place.is_some() {
            values.push(value);
        }
        Ok(value)
    })?;
    let left_out = leave_one_out(examples.len(), config, |indices| {
        finite(statistic(Resample { examples, indices: indices.iter() }), None)
    })?;
    Ok(estimate(value, values, &left_out, config))
}

/// The values of a statistic for two systems, the difference, their intervals, and a two-sided p-value.
///
/// Both systems are measured on the same resamples, so what examples have in common cancels in the
/// difference. As in [`bootstrap`] for the rest. The p-value is (1 + number of resamples with |d − mean of d|
/// ≥ |observed d|) / (1 + resamples): Riezler and Maxwell 2005, "On Some Pitfalls in Automatic Evaluation and
/// Significance Testing for MT", figure 2. sacrebleu 2.6.0 centres |d| instead of d and counts with `>`, by
/// which two identical systems differ significantly.
///
/// # Errors
/// As [`bootstrap`]; not equally many examples of both systems.
pub fn paired_bootstrap<S>(
    base: &[S],
    tuned: &[S],
    config: &BootstrapConfig,
    statistic: impl Fn(Resample<'_, S>) -> f64,
) -> Result<PairedEstimate, EvalError> {
    check_systems(METRIC, base.len(), tuned.len())?;
    let (mut bases, mut tuneds) = (Vec::new(), Vec::new());
    let (base_value, tuned_value) = draw(base.len(), config, |indices, place| {
        let measure = |examples| finite(statistic(Resample { examples, indices: indices.iter() }), place);
        let values = (measure(base)?, measure(tuned)?);
        if place.is_some() {
            bases.push(values.0);
            tuneds.push(values.1);
        }
        Ok(values)
    })?;
    let observed = tuned_value - base_value;
    let differences: Vec<f64> = tuneds.iter().zip(&bases).map(|(tuned, base)| tuned - base).collect();
    let middle = differences.iter().sum::<f64>() / differences.len() as f64;
    let extreme = differences.iter().filter(|d| (*d - middle).abs() >= observed.abs()).count();
    let [base_without, tuned_without] = [base, tuned].map(|examples| {
        leave_one_out(examples.len(), config, |indices| {
            finite(statistic(Resample { examples, indices: indices.iter() }), None)
        })
    });
    let (base_without, tuned_without) = (base_without?, tuned_without?);
    let without: Vec<f64> =
        tuned_without.iter().zip(&base_without).map(|(tuned, base)| tuned - base).collect();
    Ok(PairedEstimate {
        base: estimate(base_value, bases, &base_without, config),
        tuned: estimate(tuned_value, tuneds, &tuned_without, config),
        p_value: (extreme + 1) as f64 / (differences.len() + 1) as f64,
        difference: estimate(observed, differences, &without, config),
    })
}

/// The statistic without each example in turn, where the method asks for it and there are two examples.
fn leave_one_out(
    examples: usize,
    config: &BootstrapConfig,
    measure: impl Fn(&[u32]) -> Result<f64, EvalError>,
) -> Result<Vec<f64>, EvalError> {
    if config.method != IntervalMethod::Bca || examples < 2 {
        return Ok(Vec::new());
    }
    let mut indices: Vec<u32> = (1..examples as u32).collect();
    let mut values = Vec::with_capacity(examples);
    for left_out in 0..examples {
        values.push(measure(&indices)?);
        // Behind `left_out` the next one is missing, and this one comes in.
        if let Some(index) = indices.get_mut(left_out) {
            *index = left_out as u32;
        }
    }
    Ok(values)
}

/// The mean of numbers and its interval.
///
/// # Errors
/// As [`bootstrap`].
pub fn mean_interval(values: &[f64], config: &BootstrapConfig) -> Result<Estimate, EvalError> {
    bootstrap(values, config, mean)
}

/// Calls `measure` with the examples as they are (place `None`) and with every resample; gives the first
/// result.
fn draw<T>(
    examples: usize,
    config: &BootstrapConfig,
    mut measure: impl FnMut(&[u32], Option<usize>) -> Result<T, EvalError>,
) -> Result<T, EvalError> {
    config.check()?;
    if examples == 0 {
        return Err(EvalError::Empty { metric: METRIC });
    }
    let Ok(count) = u32::try_from(examples) else {
        let (option, found, wanted) = ("examples", examples.to_string(), "fewer than 4294967296");
        return Err(EvalError::Option { metric: METRIC, option, found, wanted });
    };
    let mut indices: Vec<u32> = (0..count).collect();
    let value = measure(&indices, None)?;
    for resample in 0..config.resamples {
        let stream = split_mix(config.seed, resample as u64);
        for (position, index) in indices.iter_mut().enumerate() {
            let draw = u128::from(split_mix(stream, position as u64));
            *index = ((draw * u128::from(count)) >> 64) as u32;
        }
        measure(&indices, Some(resample))?;
    }
    Ok(value)
}

/// Output number `position` of the SplitMix64 stream that starts at `seed` (Steele, Lea, Flood 2014, "Fast
/// Splittable Pseudorandom Number Generators").
fn split_mix(seed: u64, position: u64) -> u64 {
    let mut z = seed.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn finite(value: f64, place: Option<usize>) -> Result<f64, EvalError> {
    if value.is_finite() {
        return Ok(value);
    }
    let place = place.map_or_else(|| "the examples".to_owned(), |resample| format!("resample {resample}"));
    Err(EvalError::Statistic { place, value })
}

fn estimate(value: f64, mut values: Vec<f64>, left_out: &[f64], config: &BootstrapConfig) -> Estimate {
    values.sort_by(f64::total_cmp);
    let tail = (1.0 - config.confidence) / 2.0;
    let levels = match config.method {
        IntervalMethod::Bca if !left_out.is_empty() => bca::levels(value, &values, left_out, tail),
        _ => [tail, 1.0 - tail],
    };
    Estimate { value, interval: levels.map(|level| quantile(&values, level)) }
}

/// Linear interpolation between the two nearest ranks, NumPy's default.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    low + (high - low) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // Vigna's splitmix64.c for seed 1234567, first five outputs.
        let wanted = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!([0, 1, 2, 3, 4].map(|position| split_mix(1_234_567, position)), wanted);
    }

    #[test]
    fn quantiles_interpolate() {
        let sorted = [1.0, 2.0, 4.0];
        let rows = [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)];
        for (q, wanted) in rows {
            assert_eq!(quantile(&sorted, q), wanted, "at {q}");
        }
    }

    #[test]
    fn bad_input_says_what_and_where() {
        let config = BootstrapConfig::new();
        let negative_root = |sample: Resample<'_, f64>| (1.0 - sample.copied().fold(0.0, f64::max)).ln();
        let rows = [
            (mean_interval(&[], &config), "bootstrap: found no examples, wanted at least one"),
            (
                mean_interval(&[1.0], &config.with_resamples(0)),
                "bootstrap: found resamples = 0, wanted at least 1",
            ),
            (
                mean_interval(&[1.0], &config.with_confidence(1.0)),
                "bootstrap: found confidence = 1, wanted a number between 0 and 1, both exclusive",
            ),
            (
                bootstrap(&[1.0], &config, negative_root),
                "bootstrap: the statistic is -inf on the examples, wanted a finite number",
            ),
        ];
        for (got, wanted) in rows {
            assert_eq!(got.unwrap_err().to_string(), wanted);
        }
    }
}
