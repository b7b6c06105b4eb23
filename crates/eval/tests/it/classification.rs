//! Labels, probabilities and numbers against scikit-learn 1.9.1 and SciPy 1.17.1: counts and texts exact, shares
//! to 1e-9.

use burnisher_eval::{
    ClassProbabilities, ClassScore, Confusion, KappaWeights, ZeroDivision, average_precision, classify,
    classify_labels, kendall, pearson, regression, roc_auc, spearman,
};
use serde_json::{Value, json};

use crate::{close, fixture, list, number, text};

#[test]
fn labels_match() {
    let Some(data) = fixture("classification.json") else {
        return;
    };
    let cases = list(&data["classification"]);
    assert_eq!(cases.len(), 17);
    for case in cases {
        // Numbers as labels are ordered as numbers.
        if case["y_true"][0].is_number() {
            check_labels(case, |value| value.as_u64().unwrap());
        } else {
            check_labels(case, |value| text(value).to_owned());
        }
    }
}

fn check_labels<L: Ord + Clone + std::fmt::Display>(case: &Value, label: impl Fn(&Value) -> L) {
    let what = text(&case["name"]);
    let labels = |name: &str| -> Vec<L> { list(&case[name]).iter().map(&label).collect() };
    let (wanted, found) = (labels("y_true"), labels("y_pred"));
    let confusion = match case["labels_arg"].is_null() {
        true => classify(&found, &wanted).unwrap(),
        false => classify_labels(&found, &wanted, &labels("labels_arg")).unwrap(),
    };
    assert!(confusion.labels() == labels("labels"), "{what}");
    let size = confusion.labels().len();
    let rows: Vec<Vec<u64>> =
        (0..size).map(|row| (0..size).map(|column| confusion.count(row, column)).collect()).collect();
    assert_eq!(json!(rows), case["confusion"], "{what}");
    close(confusion.accuracy(), number(&case["accuracy"]), what);
    close(1.0 - confusion.accuracy(), number(&case["hamming"]), what);
    close(confusion.balanced_accuracy(), number(&case["balanced_accuracy"]), what);
    close(confusion.mcc(), number(&case["mcc"]), what);
    // The fixture has it over all labels, also where some were asked for.
    let jaccard = classify(&found, &wanted).unwrap().macro_jaccard();
    close(jaccard, number(&case["jaccard_macro"]), what);
    // Where nothing is right, scikit-learn prints the counts as `4.0`.
    let wanted_text = match confusion.accuracy() == 0.0 {
        true => text(&case["report_text"])
            .replace("       4.0\n", "         4\n")
            .replace("       0.0\n", "         0\n"),
        false => text(&case["report_text"]).to_owned(),
    };
    assert_eq!(confusion.to_text(4), wanted_text, "{what}");
    check_kappas(&confusion, case, what);
    let prf = &case["prf"];
    for (zero_division, suffix) in
        [(ZeroDivision::Zero, "zd0"), (ZeroDivision::One, "zd1"), (ZeroDivision::Ignore, "zdnan")]
    {
        let averages = confusion.averages(1.0, zero_division);
        let scores = [("macro", averages.macro_), ("micro", averages.micro), ("weighted", averages.weighted)];
        for (name, score) in scores {
            let name = format!("{name}_{suffix}");
            if let Some(row) = prf.get(&name) {
                let ClassScore { precision, recall, f, .. } = score;
                for (got, wanted) in [precision, recall, f].into_iter().zip(list(row)) {
                    same(got, wanted, &format!("{what}, {name}"));
                }
            }
        }
    }
    for (at, counts) in confusion.class_counts().into_iter().enumerate() {
        let ClassScore { precision, recall, f, support } = counts.score(1.0, ZeroDivision::Zero);
        for (got, row) in [precision, recall, f, support as f64].into_iter().zip(list(&prf["per_class"])) {
            close(got, number(&row[at]), what);
        }
    }
    let f = |beta: f64| confusion.averages(beta, ZeroDivision::Zero);
    close(f(2.0).macro_.f, number(&case["fbeta2_macro"]), what);
    close(f(0.5).weighted.f, number(&case["fbeta0.5_weighted"]), what);
}

fn check_kappas<L>(confusion: &Confusion<L>, case: &Value, what: &str) {
    let weighted = [
        (KappaWeights::Unweighted, "kappa"),
        (KappaWeights::Linear, "kappa_linear"),
        (KappaWeights::Quadratic, "kappa_quadratic"),
    ];
    for (weights, name) in weighted {
        if let Some(wanted) = case.get(name) {
            same(confusion.kappa(weights).unwrap_or(f64::NAN), wanted, &format!("{what}, {name}"));
        }
    }
}

#[test]
fn probabilities_match() {
    let Some(data) = fixture("classification.json") else {
        return;
    };
    let cases = list(&data["probabilistic"]);
    assert_eq!(cases.len(), 4);
    for (index, case) in cases.iter().enumerate() {
        let what = format!("case {index}");
        let wanted: Vec<usize> = list(&case["y_true"]).iter().map(|y| y.as_u64().unwrap() as usize).collect();
        let positive: Vec<bool> = wanted.iter().map(|class| *class == 1).collect();
        let scores: Vec<f64> = match case.get("proba") {
            None => list(&case["scores"]).iter().map(number).collect(),
            Some(rows) => list(rows).iter().map(|row| number(&row[1])).collect(),
        };
        if case.get("roc_auc").is_some() {
            close(roc_auc(&scores, &positive).unwrap().unwrap(), number(&case["roc_auc"]), &what);
            let precision = average_precision(&scores, &positive).unwrap().unwrap();
            close(precision, number(&case["average_precision"]), &what);
        }
        let Some(rows) = case.get("proba") else {
            continue;
        };
        let rows: Vec<Vec<f64>> =
            list(rows).iter().map(|row| list(row).iter().map(number).collect()).collect();
        let probabilities = ClassProbabilities::new(&rows, &wanted).unwrap();
        close(probabilities.log_loss(), number(&case["log_loss"]), &what);
        close(probabilities.brier(), number(&case["brier_multiclass_sum"]), &what);
        if case["top2"].is_number() {
            close(probabilities.top_k_accuracy(2), number(&case["top2"]), &what);
            close(probabilities.auc_one_vs_rest().unwrap(), number(&case["roc_auc_ovr_macro"]), &what);
            close(probabilities.auc_one_vs_one().unwrap(), number(&case["roc_auc_ovo_macro"]), &what);
        } else {
            let brier = burnisher_eval::brier_score(&scores, &positive).unwrap();
            close(brier, number(&case["brier_binary"]), &what);
        }
    }
}

#[test]
fn numbers_match() {
    let Some(data) = fixture("classification.json") else {
        return;
    };
    let cases = list(&data["regression"]);
    assert_eq!(cases.len(), 3);
    for (index, case) in cases.iter().enumerate() {
        let what = format!("case {index}");
        let numbers = |name: &str| -> Vec<f64> { list(&case[name]).iter().map(number).collect() };
        let (wanted, found) = (numbers("y_true"), numbers("y_pred"));
        let score = regression(&found, &wanted).unwrap();
        let (r, p) = pearson(&wanted, &found).unwrap().unwrap();
        let rows = [
            ("mse", score.mse),
            ("rmse", score.rmse),
            ("mae", score.mae),
            ("medae", score.median_absolute_error),
            ("r2", score.r2.unwrap()),
            ("pearson", r),
            ("pearson_p", p),
            ("spearman", spearman(&wanted, &found).unwrap().unwrap()),
            ("kendall_tau_b", kendall(&wanted, &found).unwrap().unwrap()),
        ];
        for (name, got) in rows {
            close(got, number(&case[name]), &format!("{what}, {name}"));
        }
    }
    assert_eq!(pearson(&[1.0, 1.0], &[2.0, 3.0]).unwrap(), None);
    assert!(regression(&[f64::NAN], &[1.0]).is_err());
}

/// As `close`, where NaN equals NaN.
#[track_caller]
fn same(got: f64, wanted: &Value, what: &str) {
    match wanted.as_str() {
        Some("NaN") => assert!(got.is_nan(), "{what}: {got} instead of NaN"),
        _ => close(got, number(wanted), what),
    }
}
