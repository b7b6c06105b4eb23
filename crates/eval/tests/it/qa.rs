//! SQuAD v1.1 and exact match against the official formulas and lm-eval 0.4.13.

use burnisher_eval::{ExactMatchConfig, answer_exact_match, answer_f1, normalize_answer, squad};
use serde_json::Value;

use crate::{fixture, list, number, text};

#[test]
fn answers_normalise_as_the_official_script_does() {
    let Some(data) = fixture("qa.json") else {
        return;
    };
    let rows = list(&data["normalize"]);
    assert!(!rows.is_empty());
    for row in rows {
        assert_eq!(normalize_answer(text(&row[0])), text(&row[1]), "of {}", row[0]);
    }
}

#[test]
fn squad_scores_match_item_by_item_and_together() {
    let Some(data) = fixture("qa.json") else {
        return;
    };
    let (predictions, references) = pairs(&data);
    for (index, item) in list(&data["items"]).iter().enumerate() {
        let (prediction, golds) = (predictions[index], &references[index]);
        assert_eq!(Some(answer_exact_match(prediction, golds)), item["em"].as_bool(), "item {index}: {item}");
        let (got, wanted) = (answer_f1(prediction, golds), number(&item["f1_v1"]));
        assert!((got - wanted).abs() <= 1e-9, "item {index}: {got} instead of {wanted}: {item}");
    }
    let score = squad(&predictions, &references).unwrap();
    let wanted = &data["aggregate"];
    assert!((score.exact_match - number(&wanted["em"])).abs() <= 1e-9, "{score:?} instead of {wanted}");
    assert!((score.f1 - number(&wanted["f1_v1"])).abs() <= 1e-9, "{score:?} instead of {wanted}");
    assert_eq!(score.count, predictions.len());
}

#[test]
fn exact_match_options_match_item_by_item_and_together() {
    let Some(data) = fixture("qa.json") else {
        return;
    };
    let (predictions, references) = pairs(&data);
    let references: Vec<&str> = references.iter().map(|golds| golds[0]).collect();
    let cases = list(&data["exact_match"]);
    assert!(!cases.is_empty());
    for case in cases {
        let config: ExactMatchConfig = serde_json::from_value(case["options"].clone()).unwrap();
        let metric = config.init().unwrap();
        let score = metric.score(&predictions, &references).unwrap();
        assert!(
            (score - number(&case["score"])).abs() <= 1e-9,
            "{score} instead of {}: {config:?}",
            case["score"]
        );
        for (index, wanted) in list(&case["per_item"]).iter().enumerate() {
            let got = metric.matches(predictions[index], references[index]);
            assert_eq!(f64::from(u8::from(got)), number(wanted), "item {index}: {config:?}");
        }
    }
}

fn pairs(data: &Value) -> (Vec<&str>, Vec<Vec<&str>>) {
    let items = list(&data["items"]);
    let predictions = items.iter().map(|item| text(&item["prediction"])).collect();
    let references = items.iter().map(|item| list(&item["golds"]).iter().map(text).collect()).collect();
    (predictions, references)
}
