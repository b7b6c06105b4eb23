//! Laws of the metrics of answers and lists: order, equality, bounds, and any text.

use burnisher_eval::{
    EntityConfig, ErrorUnit, ExactMatchConfig, JsonFieldConfig, RougeConfig, Span, SpanConfig, TaggingConfig,
    answer_exact_match_v2, answer_f1_v2, corpus_errors, distinct_n, normalize_answer, squad, squad_v2,
    text_errors,
};
use proptest::prelude::*;
use serde_json::Value;

/// Any characters, and few of them, so that texts share some.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[abß電ñ .,'\n\u{3000}]{0,16}"]
}

/// Pairs, and the same pairs in another order.
fn pairs() -> impl Strategy<Value = (Vec<(String, String)>, Vec<(String, String)>)> {
    prop::collection::vec((any_text(), any_text()), 1..8)
        .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
}

fn split(rows: &[(String, String)]) -> (Vec<&str>, Vec<Vec<&str>>) {
    rows.iter().map(|(found, wanted)| (found.as_str(), vec![wanted.as_str()])).unzip()
}

fn object() -> impl Strategy<Value = String> {
    prop::collection::btree_map(
        "[abß]",
        prop_oneof![
            Just(Value::Null),
            any::<i8>().prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ],
        0..4,
    )
    .prop_map(|fields| Value::Object(fields.into_iter().collect()).to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sets_of_answers_have_shares_and_heed_no_order((rows, turned) in pairs()) {
        let scores = |rows: &[(String, String)]| {
            let (found, wanted) = split(rows);
            let (one, two) = (squad(&found, &wanted).unwrap(), squad_v2(&found, &wanted).unwrap().all);
            let exact = ExactMatchConfig::new().init().unwrap();
            let matches = rows.iter().filter(|(found, wanted)| exact.matches(found, wanted)).count();
            [one.exact_match, one.f1, two.exact_match, two.f1, matches as f64]
        };
        for (here, turned) in scores(&rows).into_iter().zip(scores(&turned)) {
            prop_assert!((0.0..=100.0 + 1e-9).contains(&here) && (here - turned).abs() < 1e-9);
        }
        let (_, wanted) = split(&rows);
        let found: Vec<&str> = wanted.iter().map(|texts| texts[0]).collect();
        let same = squad_v2(&found, &wanted).unwrap();
        prop_assert_eq!((same.all.exact_match, same.all.f1), (100.0, 100.0));
        prop_assert_eq!(squad(&found, &wanted).unwrap().exact_match, 100.0);
    }

    #[test]
    fn an_answer_of_squad_2_matches_itself_and_f1_is_symmetric(left in any_text(), right in any_text()) {
        prop_assert!(answer_exact_match_v2(&left, &[&left]));
        prop_assert_eq!(answer_f1_v2(&left, &[&left]), 1.0);
        let (there, back) = (answer_f1_v2(&left, &[&right]), answer_f1_v2(&right, &[&left]));
        prop_assert!((0.0..=1.0).contains(&there) && (there - back).abs() < 1e-12);
        let normal = normalize_answer(&left);
        prop_assert_eq!(normal.split_whitespace().collect::<Vec<_>>().join(" "), normal);
    }

    #[test]
    fn rouge_of_a_set_is_a_share_and_heeds_no_order((rows, turned) in pairs()) {
        let rouge = RougeConfig::new().init().unwrap();
        let score = |rows: &[(String, String)]| {
            let (found, wanted) = split(rows);
            rouge.corpus(&found, &wanted).unwrap()
        };
        let other = score(&turned);
        for (name, score) in score(&rows) {
            for (here, turned) in [
                (score.precision, other[&name].precision),
                (score.recall, other[&name].recall),
                (score.fmeasure, other[&name].fmeasure),
            ] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&here) && (here - turned).abs() < 1e-12, "{}", name);
            }
        }
    }

    #[test]
    fn edits_are_a_metric_and_add_up((rows, turned) in pairs(), third in any_text()) {
        for unit in [ErrorUnit::Words, ErrorUnit::Characters] {
            let total = |rows: &[(String, String)]| {
                let (found, wanted): (Vec<&str>, Vec<&str>) =
                    rows.iter().map(|(found, wanted)| (found.as_str(), wanted.as_str())).unzip();
                corpus_errors(&found, &wanted, unit).unwrap()
            };
            prop_assert_eq!(total(&rows), total(&turned));
            let edits = |left: &str, right: &str| text_errors(left, right, unit).edits;
            let sum: u64 = rows.iter().map(|(found, wanted)| edits(found, wanted)).sum();
            prop_assert_eq!(total(&rows).edits, sum);
            prop_assert!(total(&rows).rate() >= 0.0);
            let (left, right) = &rows[0];
            prop_assert!(edits(left, right) <= edits(left, &third) + edits(&third, right));
        }
    }

    #[test]
    fn distinct_n_is_a_share_and_heeds_no_order((rows, turned) in pairs(), n in 1..4usize) {
        let share = |rows: &[(String, String)]| {
            let texts: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
            distinct_n(&texts, n).ok()
        };
        prop_assert_eq!(share(&rows), share(&turned));
        if let Some(share) = share(&rows) {
            prop_assert!(share > 0.0 && share <= 1.0);
        }
    }

    #[test]
    fn fields_have_shares_and_heed_no_order(
        (rows, turned) in prop::collection::vec((prop_oneof![object(), any::<String>()], object()), 1..6)
            .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
    ) {
        let entities = |rows: &[(String, String)]| {
            let (found, wanted) = split(rows);
            EntityConfig::new().score(&found, &wanted).unwrap()
        };
        let fields = |rows: &[(String, String)]| {
            let found: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
            let wanted: Vec<Value> = rows.iter().map(|row| serde_json::from_str(&row.1).unwrap()).collect();
            JsonFieldConfig::new().score(&found, &wanted).unwrap()
        };
        let (here, other) = (entities(&rows), entities(&turned));
        prop_assert_eq!((&here.micro, &here.fields), (&other.micro, &other.fields));
        let (json, json_other) = (fields(&rows), fields(&turned));
        prop_assert_eq!((&json.micro, json.exact), (&json_other.micro, json_other.exact));
        prop_assert!((json.macro_f1 - json_other.macro_f1).abs() < 1e-9);
        for score in [&here.micro, &json.micro] {
            for share in [score.precision, score.recall, score.f1] {
                prop_assert!((0.0..=100.0).contains(&share));
            }
        }
        prop_assert!((0.0..=100.0 + 1e-9).contains(&json.macro_f1) && (0.0..=100.0).contains(&json.exact));
        let same: Vec<(String, String)> = rows.iter().map(|row| (row.1.clone(), row.1.clone())).collect();
        prop_assert_eq!((entities(&same).micro.f1, fields(&same).micro.f1, fields(&same).exact), (100.0, 100.0, 100.0));
    }

    #[test]
    fn tags_and_spans_have_shares_that_swap_with_the_sides(
        rows in prop::collection::vec(prop::collection::vec(("(O|[BI]-[XY])", "(O|[BI]-[XY])"), 0..8), 1..5),
    ) {
        let side = |part: fn(&(String, String)) -> &String| -> Vec<Vec<String>> {
            rows.iter().map(|row| row.iter().map(part).cloned().collect()).collect()
        };
        let (left, right) = (side(|row| &row.0), side(|row| &row.1));
        let (there, back) =
            (TaggingConfig::new().score(&left, &right).unwrap(), TaggingConfig::new().score(&right, &left).unwrap());
        let (micro, other) = (there.averages.micro, back.averages.micro);
        for share in [micro.precision, micro.recall, micro.f] {
            prop_assert!((0.0..=1.0).contains(&share));
        }
        prop_assert_eq!((micro.precision, micro.recall), (other.recall, other.precision));
        prop_assert_eq!(there.accuracy, back.accuracy);

        let spans = |tags: &[Vec<String>]| -> Vec<Vec<Span>> {
            tags.iter().map(|tags| Span::from_tags(tags).unwrap()).collect()
        };
        let config = SpanConfig::new();
        let (found, wanted) = (spans(&left), spans(&right));
        let (there, turned) = (
            config.score(&found, &wanted).unwrap().overall,
            config
                .score(
                    &found.iter().rev().cloned().collect::<Vec<_>>(),
                    &wanted.iter().rev().cloned().collect::<Vec<_>>(),
                )
                .unwrap()
                .overall,
        );
        prop_assert_eq!(there, turned);
    }
}
