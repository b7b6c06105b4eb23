//! Calibration against the formulas of Guo et al. in NumPy and scikit-learn 1.9.1, to 1e-9.

use burnisher_eval::{
    Calibration, CalibrationBins, ReliabilityBin, brier_score, calibration, confidence_loss, fit_temperature,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{close, fixture, list, number};

#[test]
fn errors_and_curves_match() {
    let Some(data) = fixture("calibration.json") else {
        return;
    };
    let cases = list(&data["cases"]);
    assert_eq!(cases.len(), 4);
    for (index, case) in cases.iter().enumerate() {
        let confidences: Vec<f64> = list(&case["confidence"]).iter().map(number).collect();
        let correct: Vec<bool> = list(&case["correct"]).iter().map(|c| c.as_u64() == Some(1)).collect();
        for count in [5, 10, 15] {
            let rows = [
                (CalibrationBins::EqualWidth(count), format!("width_{count}")),
                (CalibrationBins::EqualMass(count), format!("adaptive_{count}")),
            ];
            for (bins, name) in rows {
                let got = calibration(&confidences, &correct, bins).unwrap();
                check(&got, &case[&name], &format!("case {index}, {name}"));
            }
        }
        let what = format!("case {index}");
        close(brier_score(&confidences, &correct).unwrap(), number(&case["brier"]), &what);
        close(confidence_loss(&confidences, &correct).unwrap(), number(&case["nll_clip1e-12"]), &what);
        // scikit-learn's curve leaves empty bins out.
        let curve = calibration(&confidences, &correct, CalibrationBins::EqualWidth(10)).unwrap();
        let points: Vec<ReliabilityBin> = curve.bins.into_iter().flatten().collect();
        let wanted = &case["sklearn_curve_uniform10"];
        assert_eq!(points.len(), list(&wanted["prob_true"]).len(), "{what}");
        for (at, point) in points.iter().enumerate() {
            close(point.accuracy, number(&wanted["prob_true"][at]), &what);
            close(point.confidence, number(&wanted["prob_pred"][at]), &what);
        }
    }
    let error = calibration(&[0.5, 1.5], &[true, false], CalibrationBins::EqualWidth(2)).unwrap_err();
    assert_eq!(error.to_string(), "calibration: confidence 1 is 1.5, wanted 0 to 1");
}

/// SciPy's search stops at 1e-10 of T where the loss no longer tells: its T is good to about 1e-7.
#[test]
fn temperatures_match() {
    let Some(data) = fixture("calibration.json") else {
        return;
    };
    let cases = list(&data["temperature"]);
    assert_eq!(cases.len(), 2);
    for (index, case) in cases.iter().enumerate() {
        let logits: Vec<Vec<f64>> = serde_json::from_value(case["logits"].clone()).unwrap();
        let labels: Vec<usize> = serde_json::from_value(case["labels"].clone()).unwrap();
        let fit = fit_temperature(&logits, &labels).unwrap();
        let wanted = number(&case["best_T"]);
        assert!((fit.temperature - wanted).abs() <= 1e-5, "case {index}: {fit:?} instead of {wanted}");
        close(fit.loss_before, number(&case["nll_T1"]), &format!("case {index}"));
        close(fit.loss_after, number(&case["best_nll"]), &format!("case {index}"));
    }
}

fn check(got: &Calibration, wanted: &Value, what: &str) {
    close(got.ece, number(&wanted["ece"]), what);
    close(got.mce, number(&wanted["mce"]), what);
    let bins = list(&wanted["bins"]);
    assert_eq!(got.bins.len(), bins.len(), "{what}");
    for (got, wanted) in got.bins.iter().zip(bins) {
        assert_eq!(got.is_none(), wanted.is_null(), "{what}");
        if let Some(bin) = got {
            assert_eq!(Some(bin.count as u64), wanted[0].as_u64(), "{what}");
            close(bin.confidence, number(&wanted[1]), what);
            close(bin.accuracy, number(&wanted[2]), what);
        }
    }
}

proptest! {
    #[test]
    fn every_example_is_in_one_bin_and_errors_are_shares(
        rows in prop::collection::vec((0.0..=1.0f64, any::<bool>()), 1..40),
        count in 1..20usize,
    ) {
        let (confidences, correct): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
        for bins in [CalibrationBins::EqualWidth(count), CalibrationBins::EqualMass(count)] {
            let got = calibration(&confidences, &correct, bins).unwrap();
            prop_assert_eq!(got.bins.iter().flatten().map(|bin| bin.count).sum::<usize>(), confidences.len());
            prop_assert!(0.0 <= got.ece && got.ece <= got.mce + 1e-12 && got.mce <= 1.0);
        }
        let right = vec![true; confidences.len()];
        let sure = vec![1.0; confidences.len()];
        prop_assert_eq!(calibration(&sure, &right, CalibrationBins::EqualWidth(count)).unwrap().ece, 0.0);
    }
}
