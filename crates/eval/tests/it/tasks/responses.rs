//! From responses to answers and reports.

use burnisher_eval::{Likelihood, Task, TaskItem, TaskReport, TaskResponse, TaskResponse::Text};
use serde_json::{Value, json};

use super::{ask, likelihood, task};
use crate::close;

#[test]
fn filters_in_order() {
    let found = |filters: Value, response: &str| {
        let task = task(json!({
            "task": "t", "prompt": "?", "target": "x", "metrics": ["accuracy"], "filters": filters,
            "generation": { "until": ["STOP"] },
            "choices": ["guilty", "guilty of romance"],
        }));
        let item = ask(&task, json!({}));
        let report = task.score(&[item], &[Text(response.to_owned())]).unwrap();
        report.items[0].answer.clone()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(found(json!(["strip"]), " \u{1f}Yes \n"), some("Yes"));
    assert_eq!(found(json!(["first_line", "lowercase"]), "\n \n Yes. \nNo."), some("yes."));
    assert_eq!(found(json!(["first_line"]), " \n"), None);
    assert_eq!(found(json!([]), "yes STOP no"), some("yes "));
    assert_eq!(found(json!([{ "regex": "[0-9]+", "choose": "last" }]), "1, 2 and 3!"), some("3"));
    assert_eq!(found(json!(["json"]), "So: ```json\n{\"a\": [1]}\n```"), some(r#"{"a":[1]}"#));
    assert_eq!(found(json!(["json", "lowercase"]), "none"), None);
    // lm-eval looks for the longest text first.
    assert_eq!(found(json!(["choice"]), "It is guilty of romance"), some("(B)"));
    assert_eq!(found(json!(["gsm8k_strict"]), "#### 1,200."), some("1,200."));
    assert_eq!(burnisher_eval::GenerationOptions::new().with_until(["\n\n", "Q:"]).cut("a Q: b\n\nc"), "a ");
}

#[test]
fn wrong_responses_say_where() {
    let choose = task(json!({
        "task": "t", "output": "multiple_choice", "prompt": "?", "choices": ["a", "b"], "target": "0",
        "metrics": ["acc_mutual_info"],
    }));
    let item = ask(&choose, json!({}));
    let message = |task: &Task, item: &TaskItem, response: TaskResponse| {
        task.score(std::slice::from_ref(item), &[response]).unwrap_err().to_string()
    };
    let choices = |conditional: &[f64], unconditional: Option<&[f64]>| {
        let all = |values: &[f64]| values.iter().map(|value| likelihood(*value)).collect();
        TaskResponse::Choices { conditional: all(conditional), unconditional: unconditional.map(all) }
    };
    for (response, wanted) in [
        (Text("a".to_owned()), "found a text, which does not answer multiple_choice"),
        (choices(&[-1.0], None), "found 1 likelihoods, wanted one for each of 2 choices"),
        (
            choices(&[-1.0, -2.0], None),
            "found no likelihoods without the context, which acc_mutual_info needs",
        ),
        (choices(&[-1.0, -2.0], Some(&[-1.0])), "found 1 likelihoods, wanted one for each of 2 choices"),
        (
            choices(&[-1.0, f64::NAN], Some(&[-1.0, -1.0])),
            "multiple choice: a log-likelihood of question 0 is NaN, wanted a number",
        ),
    ] {
        assert_eq!(message(&choose, &item, response), format!("task `t`, test.jsonl:1: response: {wanted}"));
    }
    let rolling = task(json!({
        "task": "t", "output": "loglikelihood_rolling", "target": "x", "metrics": ["perplexity"],
    }));
    let item = ask(&rolling, json!({}));
    let none = TaskResponse::Rolling(Likelihood { tokens: 0, ..likelihood(-1.0) });
    assert!(message(&rolling, &item, none).ends_with("found 0 tokens, wanted at least 1 for perplexity"));
    let infinite = TaskResponse::Rolling(likelihood(f64::NEG_INFINITY));
    assert!(
        message(&rolling, &item, infinite)
            .ends_with("found a log-likelihood of -inf, wanted a finite number")
    );
    assert_eq!(
        rolling.score(&[], &[]).unwrap_err().to_string(),
        "task: found no examples, wanted at least one"
    );
    assert_eq!(
        rolling.score(&[item], &[]).unwrap_err().to_string(),
        "task: found 0 predictions and 1 references, wanted equally many"
    );
}

#[test]
fn reports_are_read_again_and_printed() {
    let task = task(json!({
        "task": "sums", "prompt": "{{ q }}", "target": "{{ a }}", "filters": ["gsm8k_flexible"],
        "metrics": ["exact_match", "rouge1"], "limit": 3,
    }));
    let rows = [("1+1", "2"), ("2+2", "4"), ("3+3", "6")];
    let items: Vec<TaskItem> = rows.iter().map(|(q, a)| ask(&task, json!({ "q": q, "a": a }))).collect();
    let responses = ["It is 2", "5", "I do not know"].map(|answer| Text(answer.to_owned()));
    let report = task.score(&items, &responses).unwrap();
    let again: TaskReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(again, report);
    assert_eq!(report.not_found, 1);
    close(report.scores["exact_match"].value, 100.0 / 3.0, "exact match");
    close(report.scores["exact_match"].stderr.unwrap(), 100.0 / 3.0, "stderr: deviation √(1/3) over √3");
    let page = report.to_markdown();
    for part in [
        "# sums\n",
        "| exact_match | 33.33 | 33.33 | 0.00 to 100.00 | higher |\n",
        "Without an answer that the filters find: 1.\n",
        "Settings: `output:generate_until|form:plain|shots:0|seed:0|limit:3|filters:gsm8k_flexible|decoding:greedy|\
         tokens:256|version:",
        "## Lowest scores\n",
        "Answer:\n\n```text\n(none found)\n```\n",
        "Scores: exact_match 0.00, rouge1 0.00\n",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    let response =
        TaskResponse::Choices { conditional: vec![likelihood(f64::NEG_INFINITY)], unconditional: None };
    let again: TaskResponse = serde_json::from_value(json!(response)).unwrap();
    assert_eq!(again, response);
}

/// A text of one word and a thousand tokens: its perplexity by words is beyond all numbers, and takes nothing with it.
#[test]
fn a_perplexity_beyond_all_numbers_takes_nothing_with_it() {
    let task = task(json!({
        "task": "t", "output": "loglikelihood_rolling", "target": "{{ text }}",
        "metrics": ["word_perplexity", "bits_per_byte"],
    }));
    let rows = [json!({ "text": "x".repeat(3000) }), json!({ "text": "a b c" })];
    let items: Vec<TaskItem> = rows.into_iter().map(|row| ask(&task, row)).collect();
    let responses = [-4000.0, -6.0].map(|value| TaskResponse::Rolling(likelihood(value)));
    let report = task.score(&items, &responses).unwrap();
    let words = &report.scores["word_perplexity"];
    assert!(words.value.is_finite() && words.stderr.is_none() && words.interval[1] == f64::MAX);
    assert!(!report.items[0].scores.contains_key("word_perplexity"));
    assert!((report.items[1].scores["word_perplexity"] - 2.0_f64.exp()).abs() < 1e-9);
    assert!(report.scores["bits_per_byte"].stderr.is_some_and(f64::is_finite));
    assert!(serde_json::to_string(&report).unwrap().parse::<Value>().is_ok());
}
