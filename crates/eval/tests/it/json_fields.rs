//! Structured answers, by hand and by law.

use burnisher_eval::{EntityCounts, FieldMistake, JsonFieldConfig, ListOrder};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn every_value_is_counted_and_every_mistake_has_a_place() {
    let reference = json!({
        "invoice": {"number": "A-17", "total": 120.0},
        "items": [{"name": "brake pad", "price": 40}, {"name": "door seal", "price": 80}],
        "paid": null,
    });
    let prediction = json!({
        "invoice": {"number": "a-17", "total": 120},
        "items": [{"name": "door seal", "price": 80}, {"name": "brake pad", "price": 4}],
        "note": "urgent",
    });
    let example = JsonFieldConfig::new().example(Some(&prediction), &reference);
    assert_eq!(example.counts, EntityCounts { tp: 4, fp: 3, fn_: 2 });
    assert_eq!(example.fields["items[].price"], EntityCounts { tp: 1, fp: 1, fn_: 1 });
    let mistake = |path: &str, wanted: Option<Value>, found: Option<Value>| FieldMistake {
        path: path.to_owned(),
        wanted,
        found,
    };
    assert_eq!(
        example.mistakes,
        [
            mistake("invoice.number", Some(json!("A-17")), Some(json!("a-17"))),
            mistake("items[0].price", Some(json!(40)), Some(json!(4))),
            mistake("note", None, Some(json!("urgent"))),
        ]
    );
    let forgiving = JsonFieldConfig::new().with_ignore_case(true).example(Some(&prediction), &reference);
    assert_eq!(forgiving.counts.tp, 5);
    let fixed = JsonFieldConfig::new().with_list_order(ListOrder::Fixed);
    assert_eq!(fixed.example(Some(&prediction), &reference).fields["items[].name"].tp, 0);
}

#[test]
fn a_set_has_micro_macro_and_whole_answers() {
    let references = [json!({"a": 1, "b": "x"}), json!({"a": 2})];
    let report = JsonFieldConfig::new()
        .score(&["So: ```json\n{\"a\": 1, \"b\": \"x\"}\n```", "none"], &references)
        .unwrap();
    assert_eq!(report.unparsable, [1]);
    assert_eq!(report.micro.counts, EntityCounts { tp: 2, fp: 0, fn_: 1 });
    assert_eq!((report.exact, report.fields["a"].recall, report.fields["b"].f1), (50.0, 50.0, 100.0));
    assert!((report.macro_f1 - (200.0 / 3.0 + 100.0) / 2.0).abs() < 1e-9);
    let error = JsonFieldConfig::new().with_number_tolerance(-1.0).score(&["{}"], &[json!({})]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "json fields: found number_tolerance = -1, wanted a finite number of at least 0"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equal_answers_have_no_mistakes_and_swapping_swaps_the_errors(left in value(), right in value()) {
        let config = JsonFieldConfig::new();
        let same = config.example(Some(&left), &left);
        prop_assert!(same.mistakes.is_empty() && same.counts.fp == 0 && same.counts.fn_ == 0);
        let (there, back) = (config.example(Some(&left), &right), config.example(Some(&right), &left));
        prop_assert_eq!(there.counts.fp + there.counts.tp, back.counts.fn_ + back.counts.tp);
    }

    #[test]
    fn any_text_is_an_answer(text in any::<String>()) {
        let report = JsonFieldConfig::new().score(&[text], &[json!({"a": [1, 2]})]);
        prop_assert!(report.is_ok());
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), (0..3).prop_map(|n| json!(n)), "[ab]{0,2}".prop_map(|s| json!(s))];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map("[xyz]", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
