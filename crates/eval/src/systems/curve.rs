//! What the losses of a training say.

use serde::{Deserialize, Serialize};

use super::input::CurvePoint;

/// How a training went, by its validation loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CurveVerdict {
    /// Fewer than three validation losses: no verdict.
    TooShort,
    /// A loss was infinite or not a number.
    Diverged,
    /// The loss was least earlier than at the end and rose beyond the allowance since.
    OverFitted,
    /// The last validation loss is the least, and its last fall is beyond the allowance.
    StillFalling,
    /// None of these.
    Settled,
}

/// A training's curve and what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurveSummary {
    /// How it went.
    pub verdict: CurveVerdict,
    /// The step of the least validation loss (the first such).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_step: Option<u64>,
    /// The least validation loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_validation: Option<f64>,
    /// The last validation loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_validation: Option<f64>,
    /// Rise from the least to the last validation loss, per cent of the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<f64>,
    /// Last validation loss minus last training loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<f64>,
    /// Losses that were infinite or not a number; they are left out of `points`.
    pub not_finite: usize,
    /// The curve, in order of steps.
    pub points: Vec<CurvePoint>,
}

impl CurveSummary {
    /// Reads a curve; `allowance` is the change in per cent that counts as none. `None` for an empty curve.
    pub(super) fn of(curve: &[CurvePoint], allowance: f64) -> Option<Self> {
        if curve.is_empty() {
            return None;
        }
        let mut points = curve.to_vec();
        points.sort_by_key(|point| point.step);
        let mut not_finite = 0;
        for point in &mut points {
            for loss in [&mut point.train_loss, &mut point.validation_loss] {
                if loss.is_some_and(|loss| !loss.is_finite()) {
                    (*loss, not_finite) = (None, not_finite + 1);
                }
            }
        }
        let validation: Vec<(u64, f64)> =
            points.iter().filter_map(|point| Some((point.step, point.validation_loss?))).collect();
        let best = validation.iter().copied().min_by(|left, right| left.1.total_cmp(&right.1));
        let last = validation.last().copied();
        let change = |from: f64, to: f64| (from > 0.0).then(|| 100.0 * (to / from - 1.0));
        let rise = best.zip(last).and_then(|(best, last)| change(best.1, last.1));
        let before_last = validation.len().checked_sub(2).map(|index| validation[index].1);
        let fall = before_last.zip(last).and_then(|(before, last)| change(last.1, before));
        let verdict = match () {
            () if not_finite > 0 => CurveVerdict::Diverged,
            () if validation.len() < 3 => CurveVerdict::TooShort,
            () if rise.is_some_and(|rise| rise > allowance) => CurveVerdict::OverFitted,
            () if rise == Some(0.0) && fall.is_some_and(|fall| fall > allowance) => {
                CurveVerdict::StillFalling
            }
            () => CurveVerdict::Settled,
        };
        let trained = points.iter().rev().find_map(|point| point.train_loss);
        Some(Self {
            verdict,
            best_step: best.map(|best| best.0),
            best_validation: best.map(|best| best.1),
            last_validation: last.map(|last| last.1),
            rise,
            gap: last.zip(trained).map(|(last, trained)| last.1 - trained),
            not_finite,
            points,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(validation: &[f64]) -> Vec<CurvePoint> {
        let point = |(index, loss): (usize, &f64)| CurvePoint {
            step: 10 * index as u64,
            train_loss: Some(1.0),
            validation_loss: Some(*loss),
        };
        validation.iter().enumerate().map(point).collect()
    }

    #[test]
    fn verdicts_by_table() {
        let rows: [(&[f64], CurveVerdict); 6] = [
            (&[2.0, 1.9], CurveVerdict::TooShort),
            (&[2.0, 1.5, 1.6], CurveVerdict::OverFitted),
            (&[2.0, 1.5, 1.51], CurveVerdict::Settled),
            (&[2.0, 1.5, 1.4], CurveVerdict::StillFalling),
            (&[2.0, 1.5, 1.49], CurveVerdict::Settled),
            (&[2.0, 1.5, f64::NAN], CurveVerdict::Diverged),
        ];
        for (losses, wanted) in rows {
            assert_eq!(CurveSummary::of(&curve(losses), 2.0).unwrap().verdict, wanted, "{losses:?}");
        }
        assert_eq!(CurveSummary::of(&[], 2.0), None);
    }

    #[test]
    fn the_numbers_of_an_over_fitted_curve() {
        let mut points = curve(&[2.0, 1.5, 1.8]);
        points.reverse();
        let summary = CurveSummary::of(&points, 2.0).unwrap();
        assert_eq!(
            (summary.best_step, summary.best_validation, summary.last_validation),
            (Some(10), Some(1.5), Some(1.8))
        );
        assert!((summary.rise.unwrap() - 20.0).abs() < 1e-9 && (summary.gap.unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(summary.points[0].step, 0);
        let infinite = CurveSummary::of(&curve(&[2.0, f64::INFINITY]), 2.0).unwrap();
        assert_eq!((infinite.not_finite, infinite.last_validation), (1, Some(2.0)));
    }
}
