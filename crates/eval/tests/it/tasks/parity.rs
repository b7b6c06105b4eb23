//! Scores and answers against lm-eval 0.4.13, and against the authors of GSM8K.

use std::fs;
use std::path::Path;

use burnisher_eval::{
    Likelihood, Metric, NO_ANSWER, Task, TaskConfig, TaskItem, TaskResponse, TaskResponse::Text,
};
use serde_json::{Map, Value, json};

use super::{ask, likelihood, row, task};
use crate::{close, fixture, list, number, text};

#[test]
fn choices_match_lm_eval() {
    let Some(data) = fixture("perplexity_lm_eval.json") else {
        return;
    };
    let task = task(json!({
        "task": "choices", "output": "multiple_choice", "prompt": "Which?", "choices": "{{ choices }}",
        "target": "{{ gold }}", "metrics": ["acc", "acc_norm", "acc_bytes", "acc_mutual_info", "brier_score"],
    }));
    assert!(task.needs_unconditional());
    let rows = list(&data["multiple_choice"]);
    let items: Vec<TaskItem> = rows.iter().map(|row| ask(&task, row.clone())).collect();
    let all = |row: &Value, name: &str| list(&row[name]).iter().map(|ll| likelihood(number(ll))).collect();
    let responses: Vec<TaskResponse> = rows
        .iter()
        .map(|row| TaskResponse::Choices {
            conditional: all(row, "loglikelihoods"),
            unconditional: Some(all(row, "unconditional")),
        })
        .collect();
    let report = task.score(&items, &responses).unwrap();
    for (name, field) in [
        ("acc", "acc"),
        ("acc_norm", "acc_norm"),
        ("acc_bytes", "acc_bytes"),
        ("acc_mutual_info", "acc_mutual_info"),
        ("brier", "brier_item"),
    ] {
        for (index, (item, row)) in report.items.iter().zip(rows).enumerate() {
            close(item.scores[name], number(&row[field]), &format!("{name} of item {index}"));
        }
        let mean = rows.iter().map(|row| number(&row[field])).sum::<f64>() / rows.len() as f64;
        close(report.scores[name].value, mean, name);
        let [low, high] = report.scores[name].interval;
        assert!(low <= mean && mean <= high, "{name}: {low} to {high}");
    }
    close(report.scores["acc"].stderr.unwrap(), number(&data["stderr"]["acc_mean_stderr"]), "stderr");
    assert!(report.scores["acc"].higher_is_better && !report.scores["brier"].higher_is_better);
}

#[test]
fn whole_texts_match_lm_eval() {
    let Some(data) = fixture("perplexity_lm_eval.json") else {
        return;
    };
    let task = task(json!({
        "task": "texts", "output": "loglikelihood_rolling", "target": "{{ text }}",
        "metrics": ["word_perplexity", "byte_perplexity", "bits_per_byte", "perplexity"],
    }));
    let docs = list(&data["docs"]);
    let items: Vec<TaskItem> = docs.iter().map(|doc| ask(&task, doc.clone())).collect();
    assert!(
        items
            .iter()
            .zip(docs)
            .all(|(item, doc)| item.context.is_empty() && item.references == [text(&doc["text"])])
    );
    let response = |doc: &Value| {
        TaskResponse::Rolling(Likelihood {
            log_likelihood: number(&doc["sum"]),
            is_greedy: false,
            tokens: list(&doc["token_logprobs"]).len(),
        })
    };
    let responses: Vec<TaskResponse> = docs.iter().map(response).collect();
    let report = task.score(&items, &responses).unwrap();
    for name in ["word_perplexity", "byte_perplexity", "bits_per_byte"] {
        close(report.scores[name].value, number(&data["corpus"][name]), name);
    }
    close(report.scores["perplexity"].value, number(&data["corpus"]["token_ppl_micro"]), "perplexity");
    for (item, doc) in report.items.iter().zip(docs) {
        close(item.scores["perplexity"], number(&doc["token_ppl"]), "of one text");
    }
}

#[test]
fn answers_are_found_as_lm_eval_finds_them() {
    let Some(data) = fixture("qa.json") else {
        return;
    };
    for case in list(&data["answer_extraction"]) {
        let (name, options) = (text(&case["name"]), &case["options"]);
        let choose = if options["group_select"] == json!(-1) { "last" } else { "first" };
        let filter = match name {
            "multi_choice_regex" => {
                let flag = |name: &str| options.get(name).cloned().unwrap_or(json!(false));
                json!({ "choice": {
                    "pattern": options["regex_pattern"], "choose": choose,
                    "ignore_case": flag("ignore_case"), "ignore_punctuation": flag("ignore_punctuation"),
                } })
            }
            _ => json!({ "regex": options["regex_pattern"], "choose": choose }),
        };
        let mut fields = json!({
            "task": name, "prompt": "?", "target": "{{ wanted }}", "filters": [filter], "metrics": ["accuracy"],
        });
        if case.get("choices").is_some() {
            fields["choices"] = json!("{{ options }}");
        }
        let mut filtered = vec![task(fields.clone())];
        let presets = [("gsm8k strict-match", "gsm8k_strict"), ("gsm8k flexible-extract", "gsm8k_flexible")];
        if let Some((_, preset)) = presets.iter().find(|(wanted, _)| *wanted == name) {
            fields["filters"] = json!([preset]);
            filtered.push(task(fields));
        }
        for task in filtered {
            let rows: Vec<Value> = (0..list(&case["inputs"]).len())
                .map(|at| json!({ "wanted": case["outputs"][at], "options": case["choices"][at] }))
                .collect();
            let items: Vec<TaskItem> = rows.into_iter().map(|row| ask(&task, row)).collect();
            let inputs: Vec<&str> = list(&case["inputs"]).iter().map(text).collect();
            let responses: Vec<TaskResponse> = inputs.iter().map(|input| Text((*input).to_owned())).collect();
            let report = task.score(&items, &responses).unwrap();
            for ((item, wanted), input) in report.items.iter().zip(list(&case["outputs"])).zip(&inputs) {
                assert_eq!(item.answer.as_deref().unwrap_or(NO_ANSWER), text(wanted), "{name} of {input}");
            }
            let found = list(&case["outputs"]).iter().filter(|output| *output != NO_ANSWER).count();
            assert_eq!(report.not_found, items.len() - found);
            close(report.scores["accuracy"].value, 100.0 * found as f64 / items.len() as f64, name);
        }
    }
}

#[test]
fn answers_are_compared_as_lm_eval_compares_them() {
    let Some(data) = fixture("qa.json") else {
        return;
    };
    let rows = list(&data["items"]);
    let mut metrics = vec![json!("squad_f1"), json!("squad_exact_match")];
    metrics.push(json!("exact_match"));
    for case in list(&data["exact_match"]) {
        let mut metric = row(case["options"].clone());
        metric.insert("metric".to_owned(), json!("exact_match"));
        metrics[2] = Value::Object(metric);
        // The reference values are those of the first reference.
        let single = task(json!({
            "task": "qa", "prompt": "?", "target": "{{ golds[0] }}", "metrics": [metrics[2]],
        }));
        let several =
            task(json!({ "task": "qa", "prompt": "?", "target": "{{ golds }}", "metrics": metrics }));
        let responses: Vec<TaskResponse> =
            rows.iter().map(|row| Text(text(&row["prediction"]).to_owned())).collect();
        let items =
            |task: &Task| -> Vec<TaskItem> { rows.iter().map(|row| ask(task, row.clone())).collect() };
        let report = single.score(&items(&single), &responses).unwrap();
        close(report.scores["exact_match"].value, 100.0 * number(&case["score"]), "exact match");
        for (item, wanted) in report.items.iter().zip(list(&case["per_item"])) {
            close(item.scores["exact_match"], 100.0 * number(wanted), &item.prompt);
        }
        let report = several.score(&items(&several), &responses).unwrap();
        close(report.scores["squad_f1"].value, number(&data["aggregate"]["f1_v1"]), "f1");
        close(report.scores["squad_exact_match"].value, number(&data["aggregate"]["em"]), "em");
        for (item, row) in report.items.iter().zip(rows) {
            close(item.scores["squad_f1"], 100.0 * number(&row["f1_v1"]), text(&row["prediction"]));
        }
    }
}

#[test]
fn corpus_metrics_are_those_of_the_corpus() {
    let metrics = ["bleu", "chrf", "chrf++", "ter", "rougeL", "f1_macro", "accuracy"];
    let task = task(json!({ "task": "t", "prompt": "?", "target": "{{ t }}", "metrics": metrics }));
    let references = ["the cat sat on the mat", "yes", "no", "no"];
    let outputs = ["the cat sat on a mat", "yes", "yes", "perhaps"];
    let items: Vec<TaskItem> =
        references.iter().map(|reference| ask(&task, json!({ "t": reference }))).collect();
    let report = task.score(&items, &outputs.map(|output| Text(output.to_owned()))).unwrap();
    let lists: Vec<Vec<&str>> = references.iter().map(|reference| vec![*reference]).collect();
    let score = |name: &str| report.scores[name].value;
    close(
        score("bleu"),
        burnisher_eval::evaluate(&[Metric::Bleu], &outputs, &lists).unwrap()[&Metric::Bleu].value,
        "bleu",
    );
    let chrf = burnisher_eval::ChrfConfig::new().init().unwrap();
    close(score("chrf"), chrf.corpus(&outputs, &lists).unwrap(), "chrf");
    let ter = burnisher_eval::TerConfig::new().init();
    close(score("ter"), ter.score(&ter.corpus(&outputs, &lists).unwrap()), "ter");
    assert!(!report.scores["ter"].higher_is_better);
    // Labels: the sentence (never found), yes (one of two found is right), no (never found).
    close(score("f1_macro"), 100.0 * (0.0 + 2.0 / 3.0 + 0.0) / 3.0, "f1");
    close(score("accuracy"), 25.0, "accuracy");
    assert_eq!(report.items[2].scores["f1_macro"], 0.0);
    assert!(report.scores.values().all(|score| score.stderr.is_some_and(|stderr| stderr >= 0.0)));
}

/// Rows of a file of real data beside the checkout, if it is there.
fn real(name: &str) -> Option<Vec<Map<String, Value>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    let Ok(content) = fs::read_to_string(path) else {
        println!("skipped: no ../shared/data/{name}");
        return None;
    };
    Some(content.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn example(name: &str) -> TaskConfig {
    TaskConfig::from_file(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tasks").join(name))
        .unwrap()
}

#[test]
fn solutions_of_gsm8k_are_graded_as_by_its_authors() {
    let names = ["test", "train", "example_model_solutions"];
    let [Some(test), Some(train), Some(solutions)] = names.map(|name| real(&format!("gsm8k/{name}.jsonl")))
    else {
        return;
    };
    let task = example("gsm8k.yaml").init().unwrap().with_fewshot(&train).unwrap();
    let items: Vec<TaskItem> = test
        .iter()
        .zip(1..)
        .map(|(row, line)| task.item(row, &format!("test.jsonl:{line}")).unwrap())
        .collect();
    assert!(items.iter().all(|item| item.context.matches("Question: ").count() == 6));
    for system in ["6b_finetuning", "175b_verification"] {
        let responses: Vec<TaskResponse> =
            solutions.iter().map(|row| Text(text(&row[system]["solution"]).to_owned())).collect();
        let report = task.score(&items, &responses).unwrap();
        let different: Vec<&str> = report
            .items
            .iter()
            .zip(&solutions)
            .filter(|(item, row)| {
                (item.scores["exact_match"] == 100.0) != (row[system]["is_correct"] == true)
            })
            .map(|(item, _)| item.place.as_str())
            .collect();
        assert_eq!(different, [""; 0], "{system}");
    }
}

#[test]
fn summaries_of_scitldr_have_several_references() {
    let Some(rows) = real("scitldr/test.jsonl") else {
        return;
    };
    let task = example("scitldr.yaml").init().unwrap();
    let items: Vec<TaskItem> = rows.iter().map(|row| task.item(row, "x").unwrap()).collect();
    let last = |item: &TaskItem| {
        Text(format!("\n {}\nAnd so on.", item.references[item.references.len() - 1].trim()))
    };
    let report = task.score(&items, &items.iter().map(last).collect::<Vec<_>>()).unwrap();
    assert!(items.iter().any(|item| item.references.len() > 1));
    assert!(report.scores["rougeL"].value > 99.9, "{:?}", report.scores);
}
