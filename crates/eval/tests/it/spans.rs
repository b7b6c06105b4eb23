//! Spans against nervaluate 1.2.1: counts and outcomes exact, shares to 1e-9.

use burnisher_eval::{Span, SpanConfig, SpanCounts, SpanCriterion, SpanMatching, SpanOutcomes};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{close, fixture, list, number, text};

#[test]
fn counts_and_outcomes_match() {
    let Some(data) = fixture("nervaluate.json") else {
        return;
    };
    let cases = list(&data["cases"]);
    assert_eq!(cases.len(), 45);
    for case in cases {
        let what = text(&case["name"]);
        let [wanted, found] = ["true", "pred"].map(|side| spans(&case[side]));
        let report = SpanConfig::new()
            .with_labels(list(&case["tags"]).iter().map(text))
            .with_min_overlap_percentage(number(&case["min_overlap_percentage"]))
            .score(&found, &wanted)
            .unwrap();
        assert_eq!(report.labels.len(), case["entities"].as_object().unwrap().len(), "{what}");
        for criterion in SpanCriterion::ALL {
            let name = json!(criterion);
            let name = text(&name);
            let what = format!("{what}, {name}");
            check_counts(&report.overall[&criterion], &case["overall"][name], &what);
            check_outcomes(&report.outcomes[&criterion], &case["overall_indices"][name], &what);
            for (label, counts) in &report.labels {
                check_counts(
                    &counts[&criterion],
                    &case["entities"][label][name],
                    &format!("{what}, {label}"),
                );
            }
        }
    }
}

#[test]
fn wrong_input_is_named() {
    let span = |start, end| vec![vec![Span::new("PER", start, end)]];
    let error = SpanConfig::new().score(&span(0, 2), &span(3, 3)).unwrap_err();
    assert_eq!(error.to_string(), "spans: a span of document 0 is 3..3 (PER), wanted an end above the start");
    let error =
        SpanConfig::new().with_min_overlap_percentage(0.5).score(&span(0, 2), &span(0, 2)).unwrap_err();
    assert_eq!(error.to_string(), "spans: found min_overlap_percentage = 0.5, wanted 1 to 100");
    let error = Span::from_tags(&["O", "E-PER"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tagging: token 1 of sentence 0 has the tag `E-PER`, wanted O, or one that begins with B- or I-"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_best_pairs_do_not_depend_on_the_order(
        rows in (some_spans(), some_spans()).prop_flat_map(|(found, wanted)| {
            let shuffled = (Just(found.clone()).prop_shuffle(), Just(wanted.clone()).prop_shuffle());
            ((Just(found), Just(wanted)), shuffled)
        }),
    ) {
        let score = |(found, wanted): (Vec<Span>, Vec<Span>)| {
            SpanConfig::new().with_matching(SpanMatching::BestFirst).score(&[found], &[wanted]).unwrap().overall
        };
        prop_assert_eq!(score(rows.0), score(rows.1));
    }

    #[test]
    fn every_span_has_one_outcome_and_shares_are_shares(found in some_spans(), wanted in some_spans()) {
        for matching in [SpanMatching::InOrder, SpanMatching::BestFirst] {
            let config = SpanConfig::new().with_matching(matching);
            let report = config.score(std::slice::from_ref(&found), std::slice::from_ref(&wanted)).unwrap();
            for counts in report.overall.values() {
                prop_assert_eq!(counts.actual(), found.len() as u64);
                prop_assert_eq!(counts.possible(), wanted.len() as u64);
                for share in [counts.precision(), counts.recall(), counts.f1()] {
                    prop_assert!((0.0..=1.0).contains(&share));
                }
            }
            let same = config.score(std::slice::from_ref(&wanted), std::slice::from_ref(&wanted)).unwrap();
            for counts in same.overall.values() {
                prop_assert_eq!(counts.correct, wanted.len() as u64);
            }
        }
    }
}

fn some_spans() -> impl Strategy<Value = Vec<Span>> {
    let span = (0..12usize, 1..5usize, "[AB]")
        .prop_map(|(start, length, label)| Span::new(label, start, start + length));
    prop::collection::vec(span, 0..6)
}

/// Tagged sentences, lists of spans with inclusive ends, or CoNLL's columns.
fn spans(documents: &Value) -> Vec<Vec<Span>> {
    if let Some(columns) = documents.as_str() {
        let tags = |document: &str| -> Vec<String> {
            document.lines().map(|line| line.split('\t').nth(1).unwrap().to_owned()).collect()
        };
        return columns.split("\n\n").map(|document| Span::from_tags(&tags(document)).unwrap()).collect();
    }
    list(documents)
        .iter()
        .map(|document| {
            let rows = list(document);
            if rows.iter().all(Value::is_string) {
                let tags: Vec<&str> = rows.iter().map(text).collect();
                return Span::from_tags(&tags).unwrap();
            }
            let bound = |row: &Value, name: &str| row[name].as_u64().unwrap() as usize;
            let span =
                |row: &Value| Span::new(text(&row["label"]), bound(row, "start"), bound(row, "end") + 1);
            rows.iter().map(span).collect()
        })
        .collect()
}

fn check_counts(got: &SpanCounts, wanted: &Value, what: &str) {
    let SpanCounts { correct, incorrect, partial, missed, spurious } = *got;
    let names = ["correct", "incorrect", "partial", "missed", "spurious", "actual", "possible"];
    let counts = [correct, incorrect, partial, missed, spurious, got.actual(), got.possible()];
    for (name, count) in names.into_iter().zip(counts) {
        assert_eq!(json!(count), wanted[name], "{what}: {name}");
    }
    close(got.precision(), number(&wanted["precision"]), what);
    close(got.recall(), number(&wanted["recall"]), what);
    close(got.f1(), number(&wanted["f1"]), what);
}

fn check_outcomes(got: &SpanOutcomes, wanted: &Value, what: &str) {
    let SpanOutcomes { correct, incorrect, partial, missed, spurious } = got;
    let rows = [
        ("correct_indices", correct),
        ("incorrect_indices", incorrect),
        ("partial_indices", partial),
        ("missed_indices", missed),
        ("spurious_indices", spurious),
    ];
    for (name, got) in rows {
        assert_eq!(json!(got), wanted[name], "{what}: {name}");
    }
}
