//! How many examples it takes to see a difference.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::error::EvalError;

const METRIC: &str = "power";

/// The chances a two-sided paired test should have. The default is 5 % for a false alarm and 80 % to see a
/// difference that is there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PowerConfig {
    /// Chance of calling chance a difference, 0..1 exclusive.
    pub alpha: f64,
    /// Chance of seeing the difference, 0..1 exclusive.
    pub power: f64,
}

impl Default for PowerConfig {
    fn default() -> Self {
        Self { alpha: 0.05, power: 0.8 }
    }
}

impl PowerConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows this chance of a false alarm.
    pub fn with_alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Asks for this chance of seeing the difference.
    pub fn with_power(mut self, power: f64) -> Self {
        self.power = power;
        self
    }

    /// Examples needed to see a difference of two means, when the difference on single examples has this standard
    /// deviation: ((z₁₋α/₂ + z_power) · deviation / difference)², rounded up.
    ///
    /// # Errors
    /// Chances outside 0..1, a difference of 0, numbers that are not finite.
    pub fn examples_for_mean(&self, difference: f64, deviation: f64) -> Result<u64, EvalError> {
        let (alarm, seen) = self.quantiles()?;
        check("deviation", deviation, deviation >= 0.0, "a finite number of at least 0")?;
        check("difference", difference, difference != 0.0, "a finite number other than 0")?;
        Ok((((alarm + seen) * deviation / difference).powi(2)).ceil().max(1.0) as u64)
    }

    /// Examples needed to see a difference of two accuracies (0..1) by McNemar's test, when the systems differ on
    /// this share of the examples: Connor 1987, "Sample Size for Testing Differences in Proportions for the
    /// Paired-Sample Design", rounded up.
    ///
    /// # Errors
    /// Chances outside 0..1, a difference of 0 or above the share of differing examples, a share above 1.
    pub fn examples_for_accuracy(&self, difference: f64, differing: f64) -> Result<u64, EvalError> {
        let (alarm, seen) = self.quantiles()?;
        check("differing", differing, differing > 0.0 && differing <= 1.0, "above 0, at most 1")?;
        let fits = difference != 0.0 && difference.abs() <= differing;
        check("difference", difference, fits, "other than 0, at most the share of differing examples")?;
        let root = alarm * differing.sqrt() + seen * (differing - difference * difference).max(0.0).sqrt();
        Ok((root / difference).powi(2).ceil().max(1.0) as u64)
    }

    /// The smallest difference of two means that this many examples let see; the inverse of
    /// [`examples_for_mean`](Self::examples_for_mean).
    ///
    /// # Errors
    /// Chances outside 0..1, no examples, numbers that are not finite.
    pub fn smallest_difference(&self, examples: u64, deviation: f64) -> Result<f64, EvalError> {
        let (alarm, seen) = self.quantiles()?;
        check("deviation", deviation, deviation >= 0.0, "a finite number of at least 0")?;
        check("examples", examples as f64, examples > 0, "at least 1")?;
        Ok((alarm + seen) * deviation / (examples as f64).sqrt())
    }

    fn quantiles(&self) -> Result<(f64, f64), EvalError> {
        let inside = |chance: f64| chance > 0.0 && chance < 1.0;
        check("alpha", self.alpha, inside(self.alpha), "a number between 0 and 1, both exclusive")?;
        check("power", self.power, inside(self.power), "a number between 0 and 1, both exclusive")?;
        let normal = Normal::standard();
        Ok((normal.inverse_cdf(1.0 - self.alpha / 2.0), normal.inverse_cdf(self.power)))
    }
}

fn check(option: &'static str, value: f64, fits: bool, wanted: &'static str) -> Result<(), EvalError> {
    match fits && value.is_finite() {
        true => Ok(()),
        false => Err(EvalError::Option { metric: METRIC, option, found: value.to_string(), wanted }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sizes() {
        let config = PowerConfig::new();
        // (1.959964 + 0.841621)² = 7.8489; 5 points of a deviation of 40: 502.3.
        assert_eq!(config.examples_for_mean(5.0, 40.0).unwrap(), 503);
        // 0.1 more right at 0.3 differing: (1.959964·√0.3 + 0.841621·√0.29)² / 0.01 = 233.1.
        assert_eq!(config.examples_for_accuracy(0.1, 0.3).unwrap(), 234);
        let seen = config.smallest_difference(503, 40.0).unwrap();
        assert!(seen <= 5.0 && seen > 4.99, "{seen}");
        let error = config.examples_for_accuracy(0.4, 0.3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "power: found difference = 0.4, wanted other than 0, at most the share of differing examples"
        );
    }
}
