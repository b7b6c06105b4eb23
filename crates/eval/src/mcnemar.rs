//! McNemar's test: do two systems get different examples right?

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};
use statrs::function::erf::erfc;

use crate::error::{EvalError, check_systems};

/// McNemar 1947, "Note on the Sampling Error of the Difference between Correlated Proportions or Percentages".
/// Only examples that one system gets right and the other wrong speak; without any, all p-values are 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Examples only the base system gets right.
    pub only_base: u64,
    /// Examples only the tuned system gets right.
    pub only_tuned: u64,
    /// Two-sided p-value of the exact binomial test. Right for any number of examples.
    pub exact_p: f64,
    /// (|b − c| − 1)² / (b + c), with Edwards' correction for continuity.
    pub chi2_continuity: f64,
    /// Its p-value.
    pub chi2_continuity_p: f64,
    /// (b − c)² / (b + c). For 25 differing examples and more.
    pub chi2: f64,
    /// Its p-value.
    pub chi2_p: f64,
}

/// McNemar's test of two systems' right and wrong answers to the same examples.
///
/// # Errors
/// No examples, not equally many for both.
pub fn mcnemar(base: &[bool], tuned: &[bool]) -> Result<McNemar, EvalError> {
    check_systems("mcnemar", base.len(), tuned.len())?;
    let count =
        |wanted: (bool, bool)| base.iter().zip(tuned).filter(|(b, t)| (**b, **t) == wanted).count() as u64;
    Ok(McNemar::of_counts(count((true, false)), count((false, true))))
}

impl McNemar {
    /// From the numbers of examples that only one of the two gets right.
    pub fn of_counts(only_base: u64, only_tuned: u64) -> Self {
        let (sum, difference) = ((only_base + only_tuned) as f64, only_base.abs_diff(only_tuned) as f64);
        let chi2 = |difference: f64| if sum > 0.0 { difference * difference / sum } else { 0.0 };
        // The upper tail of chi-squared with one degree of freedom.
        let tail = |chi2: f64| erfc((chi2 / 2.0).sqrt());
        let (corrected, plain) = (chi2(difference - 1.0), chi2(difference));
        let exact = Binomial::new(0.5, only_base + only_tuned)
            .map_or(1.0, |coin| 2.0 * coin.cdf(only_base.min(only_tuned)));
        Self {
            only_base,
            only_tuned,
            exact_p: exact.min(1.0),
            chi2_continuity: corrected,
            chi2_continuity_p: tail(corrected),
            chi2: plain,
            chi2_p: tail(plain),
        }
    }
}

/// Holm's correction of the p-values of several tests (Holm 1979, "A Simple Sequentially Rejective Multiple Test
/// Procedure"), in the order given. A test is significant at level α when its corrected p is at most α; then the
/// chance of any false one among all tests is at most α.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut largest = 0.0f64;
    for (rank, index) in order.into_iter().enumerate() {
        largest = largest.max((p_values[index] * (p_values.len() - rank) as f64).min(1.0));
        corrected[index] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holms_steps_by_hand() {
        // Sorted: 0.005·4, 0.01·3, 0.03·2, 0.04·1, each at least the one before.
        let got = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, wanted) in got.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((got - wanted).abs() < 1e-12, "{got} instead of {wanted}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
