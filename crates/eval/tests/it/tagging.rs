//! Tagged sentences against seqeval 1.2.2: entities and counts exact, shares to 1e-9.

use burnisher_eval::{
    Averages, ClassScore, TagPosition, TagReport, TagScheme, TagSpan, TaggingConfig, ZeroDivision,
    detect_scheme,
};
use serde_json::{Value, json};

use crate::{close, fixture, list, number, text};

#[test]
fn the_lenient_reading_matches() {
    let Some(data) = fixture("seqeval.json") else {
        return;
    };
    let cases = list(&data["cases"]);
    assert_eq!(cases.len(), 67);
    for case in cases {
        let what = text(&case["name"]);
        let wanted = &case["default"];
        let config = TaggingConfig::new().with_position(position(case));
        let (references, predictions) = (tags(&case["y_true"]), tags(&case["y_pred"]));
        for (sentences, name) in [(&references, "entities_true"), (&predictions, "entities_pred")] {
            let spans = config.spans(sentences).unwrap();
            assert_eq!(concatenated(sentences, &spans), wanted[name], "{what}, {name}");
        }
        for (zero_division, suffix) in [(ZeroDivision::Zero, "zd0"), (ZeroDivision::One, "zd1")] {
            let report = config.with_zero_division(zero_division).score(&predictions, &references).unwrap();
            check_averages(&report.averages, |name| &wanted[format!("{name}_{suffix}")], what);
        }
        let report = config.score(&predictions, &references).unwrap();
        close(report.accuracy, number(&wanted["accuracy"]), what);
        check_report(&report, &wanted["report"], &wanted["report_text"], what);
    }
}

#[test]
fn the_strict_reading_matches() {
    let Some(data) = fixture("seqeval.json") else {
        return;
    };
    let mut tried = 0;
    for case in list(&data["cases"]) {
        let (references, predictions) = (tags(&case["y_true"]), tags(&case["y_pred"]));
        for (name, wanted) in case["strict"].as_object().unwrap() {
            tried += 1;
            let what = format!("{} as {name}", case["name"]);
            let scheme: TagScheme = serde_json::from_value(json!(name)).unwrap();
            let config = TaggingConfig::strict(scheme).with_position(position(case));
            if wanted.get("error").is_some() {
                // seqeval's report fails on the widest of no names; nothing is wrong with the tags.
                assert!(text(&wanted["message"]).starts_with("max()"), "{what}");
                assert!(config.spans(&references).unwrap().is_empty(), "{what}");
                assert!(config.spans(&predictions).unwrap().is_empty(), "{what}");
                continue;
            }
            for (sentences, name) in [(&references, "entities_true"), (&predictions, "entities_pred")] {
                let spans = config.spans(sentences).unwrap();
                let rows: Vec<Vec<Value>> = (0..sentences.len())
                    .map(|sentence| {
                        let of_it = spans.iter().filter(|span| span.sentence == sentence);
                        of_it.map(|span| json!([sentence, span.label, span.start, span.end])).collect()
                    })
                    .collect();
                assert_eq!(json!(rows), wanted[name], "{what}, {name}");
            }
            let report = config.score(&predictions, &references).unwrap();
            check_averages(&report.averages, |name| &wanted[name], &what);
            check_report(&report, &wanted["report"], &wanted["report_text"], &what);
        }
    }
    assert_eq!(tried, 70);
}

#[test]
fn the_scheme_is_found_where_the_letters_name_one() {
    let Some(data) = fixture("seqeval.json") else {
        return;
    };
    for case in list(&data["cases"]) {
        let found = detect_scheme(&tags(&case["y_true"]), position(case));
        assert_eq!(json!(found).as_str(), case["auto_detect"].as_str(), "{}", case["name"]);
    }
}

#[test]
fn wrong_input_is_named() {
    let Some(data) = fixture("seqeval.json") else {
        return;
    };
    for case in list(&data["errors"]) {
        assert!(TaggingConfig::new().score(&tags(&case["y_pred"]), &tags(&case["y_true"])).is_err());
    }
    let error = TaggingConfig::new().score(&[vec!["O"]], &[vec!["O", "O"]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tagging: sentence 0 has 1 predicted and 2 reference tags, wanted equally many"
    );
    let error = TaggingConfig::strict(TagScheme::Iob2).spans(&[vec!["O"], vec!["O", "S-PER"]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tagging: token 1 of sentence 1 has the tag `S-PER`, wanted one that begins with I, O or B"
    );
    let report = TaggingConfig::new().score(&[vec!["U-PER"]], &[vec!["B-PER"]]).unwrap();
    assert_eq!(report.foreign_tags, 1);
}

/// seqeval's default positions: sentences one after the other with one O behind each, ends inclusive.
fn concatenated(sentences: &[Vec<&str>], spans: &[TagSpan]) -> Value {
    let mut offsets = vec![0];
    for sentence in sentences {
        offsets.push(offsets[offsets.len() - 1] + sentence.len() + 1);
    }
    let row = |span: &TagSpan| {
        let offset = offsets[span.sentence];
        json!([span.label, offset + span.start, offset + span.end - 1])
    };
    spans.iter().map(row).collect()
}

fn check_averages<'a>(got: &Averages, wanted: impl Fn(&str) -> &'a Value, what: &str) {
    for (name, score) in [("micro", got.micro), ("macro", got.macro_), ("weighted", got.weighted)] {
        let row = list(wanted(name));
        // seqeval's mean over no type; `ZeroDivision` decides here.
        if row[0] == "NaN" {
            assert_eq!(score.support, 0, "{what}");
            continue;
        }
        let ClassScore { precision, recall, f, support } = score;
        for (got, wanted) in [precision, recall, f, support as f64].into_iter().zip(row) {
            close(got, number(wanted), &format!("{what}, {name}"));
        }
    }
}

fn check_report(report: &TagReport, wanted: &Value, wanted_text: &Value, what: &str) {
    if wanted.get("error").is_some() {
        assert!(report.types.is_empty(), "{what}");
        return;
    }
    let rows = wanted.as_object().unwrap();
    assert_eq!(rows.len(), report.types.len() + 3, "{what}");
    for (label, score) in &report.types {
        close(score.precision, number(&rows[label]["precision"]), what);
        close(score.recall, number(&rows[label]["recall"]), what);
        close(score.f, number(&rows[label]["f1-score"]), what);
        assert_eq!(json!(score.support), rows[label]["support"], "{what}");
    }
    assert_eq!(report.to_text(4), text(wanted_text), "{what}");
}

fn position(case: &Value) -> TagPosition {
    match case["suffix"].as_bool().unwrap() {
        true => TagPosition::Suffix,
        false => TagPosition::Prefix,
    }
}

fn tags(sentences: &Value) -> Vec<Vec<&str>> {
    list(sentences).iter().map(|tags| list(tags).iter().map(text).collect()).collect()
}
