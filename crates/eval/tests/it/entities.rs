//! Entity scores of cases counted by hand.

use burnisher_eval::{EntityConfig, EntityCounts};

use crate::close;

#[test]
fn counts_by_hand() {
    let rows: [(&str, &str, [usize; 3]); 12] = [
        // Prediction, reference, [true positives, false positives, false negatives].
        (r#"{"a": "x"}"#, r#"{"a": "x"}"#, [1, 0, 0]),
        (r#"{"a": "y"}"#, r#"{"a": "x"}"#, [0, 1, 1]),
        (r#"{"b": "x"}"#, r#"{"a": "x"}"#, [0, 1, 1]),
        (r#"{"a": 12.0, "b": "1  2 "}"#, r#"{"a": 12, "b": "1 2"}"#, [2, 0, 0]),
        (r#"{"a": ["x", "x", "y"]}"#, r#"{"a": ["y", "x", "z"]}"#, [2, 1, 1]),
        (r#"{"a": "x"}"#, r#"{"a": ["x", "x"]}"#, [1, 0, 1]),
        (r#"{"p": {"age": 4, "sex": "f"}}"#, r#"{"p": {"age": 5, "sex": "f"}}"#, [1, 1, 1]),
        (r#"{"a": "X"}"#, r#"{"a": "x"}"#, [0, 1, 1]),
        (r#"{"a": null, "b": "", "c": []}"#, r#"{"a": "x"}"#, [0, 0, 1]),
        ("no JSON here", r#"{"a": "x", "b": ["y", "z"]}"#, [0, 0, 3]),
        (r#"{"a": "x", "b": "#, r#"{"a": "x"}"#, [0, 0, 1]),
        ("Here:\n```json\n{\"a\": \"x\"}\n```\nDone.", r#"{"a": "x"}"#, [1, 0, 0]),
    ];
    for (prediction, reference, [tp, fp, fn_]) in rows {
        let example = EntityConfig::new().example(prediction, &[reference], 0).unwrap();
        let wanted = EntityCounts { tp, fp, fn_ };
        assert_eq!(example.counts, wanted, "{prediction} against {reference}");
        assert_eq!(example.fields.values().sum::<EntityCounts>(), wanted, "{prediction} against {reference}");
    }
}

#[test]
fn a_set_is_scored_over_all_pairs_and_by_field() {
    let predictions = [
        r#"{"drug": "Ibuprofen", "dose": "200 mg"}"#,
        "I cannot tell.",
        r#"{"drug": "ASPIRIN", "dose": "1 g", "route": "oral"}"#,
    ];
    let references = [
        vec![r#"{"drug": "ibuprofen", "dose": "400 mg"}"#],
        vec![r#"{"drug": "Paracetamol"}"#],
        // The second reference fits better: 3 of 3 instead of 1 of 2.
        vec![
            r#"{"drug": "aspirin", "dose": "2 g"}"#,
            r#"{"drug": "aspirin", "dose": "1 g", "route": "Oral"}"#,
        ],
    ];
    let report = EntityConfig::new().with_ignore_case(true).score(&predictions, &references).unwrap();
    let wanted = [
        EntityCounts { tp: 1, fp: 1, fn_: 1 },
        EntityCounts { tp: 0, fp: 0, fn_: 1 },
        EntityCounts { tp: 3, fp: 0, fn_: 0 },
    ];
    assert_eq!(report.examples, wanted);
    assert_eq!(report.unparsable, 1);
    // 4 right of 5 predicted and 6 wanted.
    close(report.micro.precision, 80.0, "precision");
    close(report.micro.recall, 200.0 / 3.0, "recall");
    close(report.micro.f1, 800.0 / 11.0, "f1");
    let fields: Vec<_> = report.fields.iter().map(|(name, score)| (name.as_str(), score.counts)).collect();
    let wanted = [
        ("dose", EntityCounts { tp: 1, fp: 1, fn_: 1 }),
        ("drug", EntityCounts { tp: 2, fp: 0, fn_: 1 }),
        ("route", EntityCounts { tp: 1, fp: 0, fn_: 0 }),
    ];
    assert_eq!(fields, wanted);

    let json = serde_json::to_value(report.micro).unwrap();
    assert_eq!([&json["tp"], &json["fp"], &json["fn"]].map(|n| n.as_u64().unwrap()), [4, 1, 2]);
    assert_eq!(serde_json::from_value::<burnisher_eval::EntityScore>(json).unwrap(), report.micro);
}

#[test]
fn scores_without_pairs() {
    let rows = [
        (EntityCounts::default(), [100.0, 100.0, 100.0]),
        (EntityCounts { fp: 2, ..EntityCounts::default() }, [0.0, 0.0, 0.0]),
        (EntityCounts { fn_: 2, ..EntityCounts::default() }, [0.0, 0.0, 0.0]),
    ];
    for (counts, wanted) in rows {
        assert_eq!([counts.precision(), counts.recall(), counts.f1()], wanted, "{counts:?}");
    }
}

#[test]
fn a_reference_that_is_no_json_is_named() {
    let error = EntityConfig::new().score(&["{}", "{}"], &[vec!["{}"], vec!["{}", "the dose"]]).unwrap_err();
    assert_eq!(error.to_string(), "entities: reference 1 of example 1 holds no JSON object: `the dose`");
}
