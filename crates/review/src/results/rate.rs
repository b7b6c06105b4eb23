//! A share with its interval.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

/// A share of comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rate {
    /// The share, 0..1; `None` of nothing.
    pub value: Option<f64>,
    /// Lower and upper bound of Wilson's interval.
    pub interval: Option<[f64; 2]>,
    /// What it is a share of.
    pub of: usize,
}

impl Rate {
    /// `successes` of `of`, where halves are allowed.
    ///
    /// The interval is that of Wilson 1927, "Probable Inference", which stays within 0..1; for half successes it
    /// is an approximation.
    pub(super) fn new(successes: f64, of: usize, confidence: f64) -> Self {
        if of == 0 {
            return Self { value: None, interval: None, of };
        }
        let (n, share) = (of as f64, successes / of as f64);
        // Infinite for a confidence of 1, where the interval is everything.
        let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
        let interval = if z.is_finite() {
            let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
            let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
            [(middle - half).max(0.0), (middle + half).min(1.0)]
        } else {
            [0.0, 1.0]
        };
        Self { value: Some(share), interval: Some(interval), of }
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    /// statsmodels 0.14 `proportion_confint(k, n, 0.05, "wilson")`, which is the closed formula.
    #[test]
    fn wilson_stays_within_zero_and_one() {
        let rows = [
            (0.0, 10, [0.0, 0.277_532_799_862_889_3]),
            (10.0, 10, [0.722_467_200_137_110_8, 1.0]),
            (5.0, 10, [0.236_593_090_512_564_2, 0.763_406_909_487_435_8]),
        ];
        for (successes, of, wanted) in rows {
            let rate = Rate::new(successes, of, 0.95);
            let found = rate.interval.expect("not of nothing");
            for (found, wanted) in found.into_iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-9, "{successes} of {of}: {found} instead of {wanted}");
            }
        }
        assert_eq!(Rate::new(0.0, 0, 0.95).interval, None);
    }
}
