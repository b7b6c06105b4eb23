//! SQuAD and exact match against the official formulas and lm-eval 0.4.13.

use burnisher_eval::{
    ExactMatchConfig, answer_exact_match, answer_exact_match_v2, answer_f1, answer_f1_v2, normalize_answer,
    squad, squad_v2,
};
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
fn squad_v2_scores_match_item_by_item_and_together() {
    let Some(data) = fixture("qa.json") else {
        return;
    };
    let (predictions, references) = pairs(&data);
    for (index, item) in list(&data["items"]).iter().enumerate() {
        let (prediction, golds) = (predictions[index], &references[index]);
        let exact = f64::from(u8::from(answer_exact_match_v2(prediction, golds)));
        assert_eq!(exact, number(&item["em_v2"]), "item {index}: {item}");
        let (got, wanted) = (answer_f1_v2(prediction, golds), number(&item["f1_v2"]));
        assert!((got - wanted).abs() <= 1e-9, "item {index}: {got} instead of {wanted}: {item}");
    }
    let score = squad_v2(&predictions, &references).unwrap();
    let wanted = &data["aggregate"];
    assert!(
        (score.all.exact_match - number(&wanted["em_v2"])).abs() <= 1e-9,
        "{score:?} instead of {wanted}"
    );
    assert!((score.all.f1 - number(&wanted["f1_v2"])).abs() <= 1e-9, "{score:?} instead of {wanted}");
    let parts = [score.has_answer.unwrap(), score.no_answer.unwrap()];
    assert_eq!(parts[0].count + parts[1].count, predictions.len());
    let none: [&[&str]; 2] = [&[], &["tram"]];
    let score = squad_v2(&["", "bus"], &none.map(<[&str]>::to_vec)).unwrap();
    assert_eq!((score.no_answer.unwrap().f1, score.has_answer.unwrap().f1), (100.0, 0.0));
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
