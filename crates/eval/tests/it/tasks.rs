//! Tasks from files to reports, against lm-eval 0.4.13 and by hand.

mod files;
mod parity;
mod responses;
mod rows;

use std::collections::BTreeMap;

use burnisher_eval::{
    Likelihood, Metric, Task, TaskConfig, TaskItem, TaskMetric, TaskMetricName, TaskResponse,
    TaskResponse::Text,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn task(fields: Value) -> Task {
    let config: TaskConfig = serde_json::from_value(fields).unwrap();
    config.init().unwrap()
}

fn row(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn ask(task: &Task, value: Value) -> TaskItem {
    task.item(&row(value), "test.jsonl:1").unwrap()
}

fn likelihood(log_likelihood: f64) -> Likelihood {
    Likelihood { log_likelihood, is_greedy: false, tokens: 1 }
}

#[test]
fn names_go_both_ways() {
    for name in TaskMetricName::all() {
        assert_eq!(name.to_string().to_uppercase().parse::<TaskMetricName>().unwrap(), name);
        assert_eq!(serde_json::from_value::<TaskMetricName>(json!(name)).unwrap(), name);
    }
    let names: BTreeMap<&str, ()> = TaskMetricName::all().map(|name| (name.name(), ())).collect();
    assert_eq!(names.len(), 25);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_row_makes_a_panic(q in any_value(), a in any_value(), options in any_value(), response in any::<String>()) {
        let value = row(json!({ "q": q, "a": a, "options": options }));
        for fields in [
            json!({ "task": "t", "prompt": "{{ q }}", "target": "{{ a }}", "filters": ["gsm8k_strict"],
                "metrics": ["exact_match", "squad_f1", "rougeL", "bleu", "chrf", "ter", "f1_macro"] }),
            json!({ "task": "t", "prompt": "{{ q | tojson }}", "target": "{{ a | tojson }}", "choices": "{{ options }}",
                "filters": ["choice", "json"], "metrics": ["entity_f1"] }),
            json!({ "task": "t", "prompt": "{{ q | entities(a) | tojson }}", "target": ["{{ a }}", "{{ q }}"],
                "metrics": ["rougeLsum", "accuracy"] }),
            json!({ "task": "t", "prompt": "{{ choices }}", "choices": ["{{ q }}", "{{ a }}"], "target": "{{ a }}",
                "output": "multiple_choice", "metrics": ["acc"] }),
            json!({ "task": "t", "target": "{{ q }}", "output": "loglikelihood_rolling", "metrics": ["bits_per_byte"] }),
        ] {
            let task = task(fields);
            if let Ok(item) = task.item(&value, "x") {
                prop_assert!(!item.references.is_empty());
                let _ = task.score(&[item], &[Text(response.clone())]);
            }
        }
    }

    #[test]
    fn no_template_makes_a_panic(template in "[ -~{}%|()\\[\\]é\n]{0,40}", inner in "[ a-z.|()'0-9+~-]{0,20}") {
        for source in [template, format!("{{{{{inner}}}}}")] {
            let config = TaskConfig::new("t", source.clone(), source.as_str())
                .with_metrics([TaskMetric::from(Metric::ExactMatch)]);
            if let Ok(task) = config.init() {
                let _ = task.item(&row(json!({ "a": "x", "b": [1, 2] })), "x");
            }
        }
    }

    #[test]
    fn what_is_wanted_scores_in_full(answers in prop::collection::vec("[a-z]{1,8}( [a-zé0-9]{1,6}){0,6}", 1..6)) {
        let metrics = ["exact_match", "rouge1", "rougeL", "rougeLsum", "chrf", "accuracy", "f1_macro"];
        let task = task(json!({ "task": "t", "prompt": "?", "target": "{{ a }}", "metrics": metrics }));
        let items: Vec<TaskItem> = answers.iter().map(|a| ask(&task, json!({ "a": ["other", a] }))).collect();
        let responses: Vec<TaskResponse> = answers.iter().map(|a| Text(a.clone())).collect();
        let report = task.score(&items, &responses).unwrap();
        for (name, score) in &report.scores {
            // ROUGE has no tokens in words without a letter of ASCII.
            prop_assert!((score.value - 100.0).abs() < 1e-9, "{}: {}", name, score.value);
            prop_assert_eq!(score.stderr.unwrap_or(0.0).abs() < 1e-9, true);
        }
    }
}
