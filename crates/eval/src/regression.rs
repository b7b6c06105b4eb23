//! Numbers against numbers: errors and correlations.

use statrs::function::beta::beta_reg;

use crate::error::{EvalError, check_pairs};

const METRIC: &str = "regression";

/// Errors of predicted numbers.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RegressionScore {
    /// Mean squared error.
    pub mse: f64,
    /// Its root.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Median absolute error.
    pub median_absolute_error: f64,
    /// Explained share of the variance, at most 1; `None` when all wanted numbers are equal.
    pub r2: Option<f64>,
}

/// The errors of predicted numbers.
///
/// # Errors
/// No numbers, not equally many of both, one that is not finite.
pub fn regression(predictions: &[f64], references: &[f64]) -> Result<RegressionScore, EvalError> {
    check(predictions, references)?;
    let count = references.len() as f64;
    let mut errors: Vec<f64> =
        predictions.iter().zip(references).map(|(found, wanted)| (found - wanted).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let squares: f64 = errors.iter().map(|error| error * error).sum();
    let mean = references.iter().sum::<f64>() / count;
    let variance: f64 = references.iter().map(|wanted| (wanted - mean).powi(2)).sum();
    let middle = errors.len() / 2;
    let median =
        if errors.len() % 2 == 1 { errors[middle] } else { (errors[middle - 1] + errors[middle]) / 2.0 };
    Ok(RegressionScore {
        mse: squares / count,
        rmse: (squares / count).sqrt(),
        mae: errors.iter().sum::<f64>() / count,
        median_absolute_error: median,
        r2: (variance > 0.0).then(|| 1.0 - squares / variance),
    })
}

/// Pearson's correlation, −1..1, `None` when one side is constant, and the chance of one at least this far from
/// 0 between independent normal numbers (two-sided; 1 for two numbers).
///
/// # Errors
/// As [`regression`].
pub fn pearson(left: &[f64], right: &[f64]) -> Result<Option<(f64, f64)>, EvalError> {
    check(left, right)?;
    let Some(r) = correlation(left, right) else {
        return Ok(None);
    };
    let freedom = left.len() as f64 - 2.0;
    let p = if freedom < 1.0 {
        1.0
    } else if r.abs() >= 1.0 {
        0.0
    } else {
        // Student's t of r is √(f·r² / (1 − r²)); its tail is this beta integral.
        beta_reg(freedom / 2.0, 0.5, 1.0 - r * r)
    };
    Ok(Some((r, p)))
}

/// Spearman's rank correlation, −1..1, equal numbers sharing their mean rank; `None` when one side is constant.
///
/// # Errors
/// As [`regression`].
pub fn spearman(left: &[f64], right: &[f64]) -> Result<Option<f64>, EvalError> {
    check(left, right)?;
    Ok(correlation(&ranks(left), &ranks(right)))
}

/// Kendall's τ-b, −1..1, which allows for ties; `None` when one side is constant.
///
/// # Errors
/// As [`regression`].
pub fn kendall(left: &[f64], right: &[f64]) -> Result<Option<f64>, EvalError> {
    check(left, right)?;
    let (mut balance, mut left_differs, mut right_differs) = (0i64, 0i64, 0i64);
    for i in 0..left.len() {
        for j in 0..i {
            let sign = |values: &[f64]| i64::from(values[i] > values[j]) - i64::from(values[i] < values[j]);
            let (a, b) = (sign(left), sign(right));
            balance += a * b;
            left_differs += a.abs();
            right_differs += b.abs();
        }
    }
    let product = left_differs as f64 * right_differs as f64;
    Ok((product > 0.0).then(|| balance as f64 / product.sqrt()))
}

fn correlation(left: &[f64], right: &[f64]) -> Option<f64> {
    let count = left.len() as f64;
    let (a, b) = (left.iter().sum::<f64>() / count, right.iter().sum::<f64>() / count);
    let (mut both, mut of_left, mut of_right) = (0.0, 0.0, 0.0);
    for (x, y) in left.iter().zip(right) {
        both += (x - a) * (y - b);
        of_left += (x - a).powi(2);
        of_right += (y - b).powi(2);
    }
    let spread = of_left.sqrt() * of_right.sqrt();
    (spread > 0.0).then(|| (both / spread).clamp(-1.0, 1.0))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tie in order.chunk_by(|left, right| values[*left] == values[*right]) {
        for index in tie {
            ranks[*index] = first as f64 + (tie.len() + 1) as f64 / 2.0;
        }
        first += tie.len();
    }
    ranks
}

fn check(left: &[f64], right: &[f64]) -> Result<(), EvalError> {
    check_pairs(METRIC, left.len(), right.len())?;
    match left.iter().zip(right).position(|(a, b)| !a.is_finite() || !b.is_finite()) {
        Some(index) => Err(EvalError::Value {
            metric: METRIC,
            what: "a number of pair",
            index,
            found: format!("{} beside {}", left[index], right[index]),
            wanted: "finite numbers",
        }),
        None => Ok(()),
    }
}
