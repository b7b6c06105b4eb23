//! Bounds corrected for bias and for a spread that changes with the value.

use statrs::distribution::{ContinuousCDF, Normal};

/// Which two quantiles of the resampled values bound the interval.
///
/// Efron 1987, "Better Bootstrap Confidence Intervals"; Efron and Tibshirani 1993, equations 14.9 to 14.15, with
/// half of the resamples that equal the value counted as below it, as SciPy does. `left_out` holds the statistic
/// without each example in turn. Where neither bias nor acceleration exists (all values on one side, no
/// variation), the share is kept half a resample inside 0..1 and the acceleration is 0.
pub(super) fn levels(value: f64, resampled: &[f64], left_out: &[f64], tail: f64) -> [f64; 2] {
    let normal = Normal::standard();
    let count = resampled.len() as f64;
    let below = resampled.iter().filter(|other| **other < value).count() as f64;
    let equal = resampled.iter().filter(|other| **other == value).count() as f64;
    let share = ((below + equal / 2.0) / count).clamp(0.5 / count, 1.0 - 0.5 / count);
    let bias = normal.inverse_cdf(share);

    let mean = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let moment = |power: i32| left_out.iter().map(|other| (mean - other).powi(power)).sum::<f64>();
    let spread = moment(2);
    let acceleration = if spread > 0.0 { moment(3) / (6.0 * spread.powf(1.5)) } else { 0.0 };
    [tail, 1.0 - tail].map(|level| {
        let z = bias + normal.inverse_cdf(level);
        normal.cdf(bias + z / (1.0 - acceleration * z))
    })
}
