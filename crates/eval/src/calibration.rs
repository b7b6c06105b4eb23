//! Do confidences mean what they say?

use serde::{Deserialize, Serialize};

use crate::error::{EvalError, check_pairs};

const METRIC: &str = "calibration";

/// How confidences are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CalibrationBins {
    /// This many bins of equal width, (low, high], the first with 0.
    EqualWidth(usize),
    /// This many bins of equally many examples by confidence, the first ones with one more where it does not
    /// come out even.
    EqualMass(usize),
}

/// One point of the reliability curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Examples.
    pub count: usize,
    /// Their mean confidence, 0..1.
    pub confidence: f64,
    /// Share of them that is right, 0..1.
    pub accuracy: f64,
}

/// The reliability curve and its errors. ECE depends on the bins: name them with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error, 0..1: |accuracy − confidence| of the bins by their examples (Guo et al. 2017,
    /// "On Calibration of Modern Neural Networks").
    pub ece: f64,
    /// Largest |accuracy − confidence| of a bin, 0..1.
    pub mce: f64,
    /// The bins from low to high; `None` for those without examples.
    pub bins: Vec<Option<ReliabilityBin>>,
}

/// The calibration of confidences 0..1 of answers that are right or wrong.
///
/// # Errors
/// No examples, not equally many of both, a confidence outside 0..1, no bins.
pub fn calibration(
    confidences: &[f64],
    correct: &[bool],
    bins: CalibrationBins,
) -> Result<Calibration, EvalError> {
    check(confidences, correct)?;
    let groups = match bins {
        CalibrationBins::EqualWidth(0) | CalibrationBins::EqualMass(0) => {
            let (option, found, wanted) = ("bins", "0".to_owned(), "at least 1");
            return Err(EvalError::Option { metric: METRIC, option, found, wanted });
        }
        CalibrationBins::EqualWidth(count) => {
            let step = 1.0 / count as f64;
            let mut groups = vec![Vec::new(); count];
            for (example, confidence) in confidences.iter().enumerate() {
                // The bound counts as often as NumPy's linspace and searchsorted put it below.
                let mut bin = ((confidence / step) as usize).min(count - 1);
                while bin > 0 && bin as f64 * step >= *confidence {
                    bin -= 1;
                }
                while bin + 1 < count && ((bin + 1) as f64 * step) < *confidence {
                    bin += 1;
                }
                groups[bin].push(example);
            }
            groups
        }
        CalibrationBins::EqualMass(count) => {
            let mut order: Vec<usize> = (0..confidences.len()).collect();
            order.sort_by(|left, right| confidences[*left].total_cmp(&confidences[*right]));
            let (size, more) = (order.len() / count, order.len() % count);
            let mut rest = order.as_slice();
            (0..count)
                .map(|bin| {
                    let (group, behind) = rest.split_at(size + usize::from(bin < more));
                    rest = behind;
                    group.to_vec()
                })
                .collect()
        }
    };
    let total = confidences.len() as f64;
    let (mut ece, mut mce) = (0.0, 0.0f64);
    let bins = groups
        .into_iter()
        .map(|group| {
            if group.is_empty() {
                return None;
            }
            let count = group.len() as f64;
            let confidence = group.iter().map(|example| confidences[*example]).sum::<f64>() / count;
            let accuracy = group.iter().filter(|example| correct[**example]).count() as f64 / count;
            let gap = (accuracy - confidence).abs();
            ece += count / total * gap;
            mce = mce.max(gap);
            Some(ReliabilityBin { count: group.len(), confidence, accuracy })
        })
        .collect();
    Ok(Calibration { ece, mce, bins })
}

/// Brier's score of confidences: mean (confidence − right)², 0..1, lower is better.
///
/// # Errors
/// As [`calibration`].
pub fn brier_score(confidences: &[f64], correct: &[bool]) -> Result<f64, EvalError> {
    check(confidences, correct)?;
    let square = |(confidence, right): (&f64, &bool)| (confidence - f64::from(u8::from(*right))).powi(2);
    Ok(confidences.iter().zip(correct).map(square).sum::<f64>() / confidences.len() as f64)
}

/// Mean negative log likelihood of confidences, in nats, with confidences kept 10⁻¹² away from 0 and 1.
///
/// # Errors
/// As [`calibration`].
pub fn confidence_loss(confidences: &[f64], correct: &[bool]) -> Result<f64, EvalError> {
    check(confidences, correct)?;
    let loss = |(confidence, right): (&f64, &bool)| {
        let confidence = confidence.clamp(1e-12, 1.0 - 1e-12);
        if *right { -confidence.ln() } else { -(1.0 - confidence).ln() }
    };
    Ok(confidences.iter().zip(correct).map(loss).sum::<f64>() / confidences.len() as f64)
}

fn check(confidences: &[f64], correct: &[bool]) -> Result<(), EvalError> {
    check_pairs(METRIC, confidences.len(), correct.len())?;
    match confidences.iter().position(|confidence| !(0.0..=1.0).contains(confidence)) {
        Some(index) => Err(EvalError::Value {
            metric: METRIC,
            what: "confidence",
            index,
            found: confidences[index].to_string(),
            wanted: "0 to 1",
        }),
        None => Ok(()),
    }
}

/// The temperature that fits best, and what it gains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TemperatureFit {
    /// Logits over this are calibrated best; above 1 for a model too sure of itself. 0.05..20.
    pub temperature: f64,
    /// Mean negative log likelihood as it is, in nats.
    pub loss_before: f64,
    /// The same at the temperature.
    pub loss_after: f64,
}

/// Temperature scaling (Guo et al. 2017, section 4.2): the T in 0.05..20 with the least mean negative log
/// likelihood of softmax(logits / T), found to 10⁻¹².
///
/// # Errors
/// No examples, not equally many of both, a label without a logit, a logit that is not finite.
pub fn fit_temperature(logits: &[Vec<f64>], labels: &[usize]) -> Result<TemperatureFit, EvalError> {
    check_pairs(METRIC, logits.len(), labels.len())?;
    for (index, (row, label)) in logits.iter().zip(labels).enumerate() {
        let refuse =
            |what, found, wanted| Err(EvalError::Value { metric: METRIC, what, index, found, wanted });
        if *label >= row.len() {
            return refuse("the label of example", label.to_string(), "below the number of its logits");
        }
        if let Some(logit) = row.iter().find(|logit| !logit.is_finite()) {
            return refuse("a logit of example", logit.to_string(), "a finite number");
        }
    }
    // The loss is convex in 1/T, so its slope changes sign once.
    let (mut low, mut high) = (1.0 / 20.0, 1.0 / 0.05);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if loss_and_slope(logits, labels, middle).1 > 0.0 {
            high = middle;
        } else {
            low = middle;
        }
    }
    let inverse = (low + high) / 2.0;
    Ok(TemperatureFit {
        temperature: 1.0 / inverse,
        loss_before: loss_and_slope(logits, labels, 1.0).0,
        loss_after: loss_and_slope(logits, labels, inverse).0,
    })
}

fn loss_and_slope(logits: &[Vec<f64>], labels: &[usize], inverse: f64) -> (f64, f64) {
    let (mut loss, mut slope) = (0.0, 0.0);
    for (row, label) in logits.iter().zip(labels) {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = row.iter().map(|logit| ((logit - most) * inverse).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mean = weights.iter().zip(row).map(|(weight, logit)| weight * logit).sum::<f64>() / total;
        loss += total.ln() - (row[*label] - most) * inverse;
        slope += mean - row[*label];
    }
    (loss / labels.len() as f64, slope / labels.len() as f64)
}
