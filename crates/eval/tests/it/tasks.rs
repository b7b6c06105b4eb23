//! Tasks from files to reports, against lm-eval 0.4.13 and by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burnisher_eval::{
    Choices, EvalError, ExactMatchConfig, Filter, Likelihood, Metric, NO_ANSWER, PromptForm, TargetTemplate,
    Task, TaskConfig, TaskItem, TaskMetric, TaskMetricName, TaskOutput, TaskReport, TaskResponse,
    TaskResponse::Text,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{close, fixture, list, number, text};

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

/// A file with this text, read as a task.
fn read(name: &str, content: &str) -> Result<TaskConfig, EvalError> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    TaskConfig::from_file(path)
}

/// What is wrong with a file, without its folder.
fn refused(name: &str, content: &str) -> String {
    let message = read(name, content).unwrap_err().to_string();
    message.replace(&format!("{}/", env!("CARGO_TARGET_TMPDIR")), "")
}

/// A row for each file of `examples/tasks`, the prompt and the references that it gives.
fn examples() -> Vec<(&'static str, Value, &'static str, Vec<&'static str>)> {
    let pubmed = json!({
        "question": "Does it help?", "context": { "contexts": ["We tried.", "It did."] }, "final_decision": "yes",
    });
    vec![
        (
            "gsm8k",
            json!({ "question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4" }),
            "Question: 2 + 2?\nAnswer:",
            vec!["2 + 2 = 4\n#### 4"],
        ),
        (
            "scitldr",
            json!({ "title": "Nets", "source": ["We do a.", "We do b.\n"], "target": ["They do a.", "And b."] }),
            "Summarize what this paper is about in one sentence of at most 25 words. Write nothing but the \
             sentence.\n\nTitle: Nets\nAbstract: We do a. We do b.",
            vec!["They do a.", "And b."],
        ),
        (
            "pubmedqa",
            pubmed.clone(),
            "We tried.\nIt did.\n\nQuestion: Does it help?\nAnswer with one word: yes, no, maybe.",
            vec!["yes"],
        ),
        (
            "pubmedqa_choice",
            pubmed,
            "Abstract: We tried.\nIt did.\nQuestion: Does it help?\nAnswer:",
            vec!["yes"],
        ),
        (
            "squad",
            json!({ "context": "Ada was here.", "question": "Who?", "answers": { "text": ["Ada", "Ada L."] } }),
            "Passage: Ada was here.\nQuestion: Who?\nAnswer:",
            vec!["Ada", "Ada L."],
        ),
        (
            "ner_wnut17",
            json!({ "tokens": ["Ada", "L.", "in", "Rome"], "tags": ["B-person", "I-person", "O", "B-location"] }),
            "Text: Ada L. in Rome\nEntities:",
            vec![r#"{"location": ["Rome"], "person": ["Ada L."]}"#],
        ),
    ]
}

#[test]
fn the_example_files_load_and_render() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tasks");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let examples = examples();
    assert_eq!(paths.len(), examples.len(), "a file without a row here, or a row without a file");
    for path in paths {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (_, value, prompt, references) = examples.iter().find(|example| example.0 == stem).unwrap();
        let config = TaskConfig::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.task, stem);
        let again: TaskConfig = serde_json::from_value(json!(config)).unwrap();
        assert_eq!(again, config, "{stem}");

        let mut alone = config.clone();
        alone.num_fewshot = 0;
        let item = ask(&alone.clone().init().unwrap(), value.clone());
        assert_eq!(
            (&item.prompt.as_str(), &item.references),
            (prompt, &references.iter().map(|r| r.to_string()).collect())
        );
        assert_eq!(item.context, format!("{}{prompt}", config.description), "{stem}");

        // As examples before itself in other words.
        let mut other = row(value.clone());
        other.insert("id".to_owned(), json!(1));
        let shots: Vec<_> = (0..config.num_fewshot)
            .map(|id| {
                let mut row = other.clone();
                row.insert("id".to_owned(), json!(id + 1));
                row
            })
            .collect();
        let task = config.clone().init().unwrap().with_fewshot(&shots).unwrap();
        let item = ask(&task, value.clone());
        let shot = format!("{prompt} {}\n\n", references[0]);
        assert_eq!(
            item.context,
            format!("{}{}{prompt}", config.description, shot.repeat(config.num_fewshot))
        );

        let response = match config.output {
            TaskOutput::MultipleChoice => TaskResponse::Choices {
                conditional: (0..item.choices.len())
                    .map(|at| likelihood(if Some(at) == item.gold { -1e-9 } else { -99.0 }))
                    .collect(),
                unconditional: None,
            },
            _ => Text(format!(" {}", item.references[0])),
        };
        let report = task.score(&[item], &[response]).unwrap();
        for (name, score) in &report.scores {
            let best = match name.as_str() {
                "acc" | "acc_norm" => 1.0,
                "brier" => 0.0,
                _ => 100.0,
            };
            close(score.value, best, &format!("{name} of {stem}"));
            assert_eq!(score.stderr, None);
        }
    }
}

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

#[test]
fn examples_come_first_and_are_never_the_row_itself() {
    let mut config = TaskConfig::new("t", "Q: {{ q }}", "{{ a }}")
        .with_metrics([TaskMetric::from(Metric::ExactMatch)])
        .with_description("Add one.\n")
        .with_num_fewshot(2)
        .with_seed(7);
    config.fewshot_delimiter = "\n--\n".to_owned();
    config.target_delimiter = " A: ".to_owned();
    let rows: Vec<_> = (0..5).map(|n| row(json!({ "q": n, "a": [n + 1, "or so"] }))).collect();
    let task = config.clone().init().unwrap();
    let error = task.item(&rows[0], "x:1").unwrap_err().to_string();
    assert_eq!(
        error,
        "task `t`, x:1: num_fewshot: found 0 examples as no rows were given for them, wanted 2"
    );

    let task = task.with_fewshot(&rows).unwrap();
    let contexts: Vec<String> = rows.iter().map(|row| task.item(row, "x").unwrap().context).collect();
    for (n, context) in contexts.iter().enumerate() {
        let parts: Vec<&str> = context.strip_prefix("Add one.\n").unwrap().split("\n--\n").collect();
        assert_eq!((parts.len(), parts[2]), (3, format!("Q: {n}").as_str()));
        for part in &parts[..2] {
            let (q, a) = part.strip_prefix("Q: ").unwrap().split_once(" A: ").unwrap();
            let [q, a] = [q, a].map(|number| number.parse::<usize>().unwrap());
            assert!(a == q + 1 && q != n, "{context}");
        }
    }
    let again = config.clone().init().unwrap().with_fewshot(&rows).unwrap();
    assert_eq!(again.item(&rows[3], "x").unwrap().context, contexts[3]);
    let seeds: std::collections::BTreeSet<String> = (0..8)
        .map(|seed| {
            let task = config.clone().with_seed(seed).init().unwrap().with_fewshot(&rows).unwrap();
            task.item(&row(json!({ "q": 9, "a": 10 })), "x").unwrap().context
        })
        .collect();
    assert!(seeds.len() > 2, "every seed draws the same examples");

    let twins = [rows[0].clone(), rows[0].clone()];
    let error = config.clone().init().unwrap().with_fewshot(&twins).unwrap_err().to_string();
    assert_eq!(error, "task `t`, few-shot rows: num_fewshot: found 1 different rows, wanted at least 2");
    let two = config.init().unwrap().with_fewshot(&rows[..2]).unwrap();
    let error = two.item(&rows[0], "x:1").unwrap_err().to_string();
    assert_eq!(error, "task `t`, x:1: num_fewshot: found 1 examples beside the row itself, wanted 2");
}

#[test]
fn a_target_names_a_choice() {
    let choose = |choices: Value, target: Value| {
        let task = task(json!({
            "task": "t", "output": "multiple_choice", "prompt": "{% for c in choices %}{{ c }};{% endfor %}",
            "choices": choices, "target": "{{ target }}", "metrics": ["acc"],
        }));
        task.item(&row(json!({ "target": target, "options": { "text": ["x", "y"] } })), "x:1")
    };
    let texts = || json!(["yes", "no", "{{ 'maybe' }}"]);
    for (target, gold) in [
        (json!(2), 2),
        (json!("1"), 1),
        (json!("maybe"), 2),
        (json!(" no "), 1),
        (json!("B"), 1),
        (json!("(A)"), 0),
    ] {
        let item = choose(texts(), target.clone()).unwrap();
        assert_eq!((item.gold, &item.references[0]), (Some(gold), &item.choices[gold]), "{target}");
        assert_eq!(item.prompt, "yes;no;maybe;");
    }
    // Choices that are numbers are named by their texts, or by a number that is an index.
    assert_eq!(choose(json!(["1", "2", "3"]), json!("2")).unwrap().gold, Some(1));
    assert_eq!(choose(json!(["1", "2", "3"]), json!(2)).unwrap().gold, Some(2));
    assert_eq!(choose(json!("{{ options.text }}"), json!("y")).unwrap().gold, Some(1));
    let message = |choices, target| choose(choices, target).unwrap_err().to_string();
    assert_eq!(
        message(texts(), json!("D")),
        r#"task `t`, x:1: target: found "D", wanted an index, a letter or the text of one of ["yes","no","maybe"]"#
    );
    assert!(message(texts(), json!(3)).contains("target: found 3, wanted an index"));
    assert_eq!(
        message(json!("{{ options.text[:1] }}"), json!(0)),
        "task `t`, x:1: choices: found 1 choices, wanted at least 2"
    );
    assert_eq!(
        message(json!("{{ options }}"), json!(0)),
        "task `t`, x:1: choices: the expression gives no list of choices"
    );

    let plain = task(json!({
        "task": "t", "output": "multiple_choice", "prompt": "?", "choices": ["a", "b"], "target": "0", "metrics": ["acc"],
    }));
    assert_eq!((plain.continuation("a").as_str(), plain.needs_unconditional()), (" a", false));
    let chat = plain.config().clone().with_form(PromptForm::Chat).init().unwrap();
    assert_eq!(chat.continuation("a"), "a");

    // Written answers: an index stands for the text, and a filter can give texts too.
    let written = task(json!({
        "task": "t", "prompt": "?", "choices": ["red", "blue"], "target": "{{ label }}", "metrics": ["accuracy"],
        "filters": [{ "choice": { "gives": "text" } }],
    }));
    let item = ask(&written, json!({ "label": 1 }));
    assert_eq!((item.gold, item.references[0].as_str()), (Some(1), "blue"));
    let report = written
        .score(&[item.clone(), item], &[Text("It is (B).".to_owned()), Text("(C)".to_owned())])
        .unwrap();
    assert_eq!(report.scores["accuracy"].value, 50.0);
    assert_eq!((report.items[0].answer.as_deref(), report.not_found), (Some("blue"), 1));
}

#[test]
fn python_in_templates() {
    for (template, wanted) in [
        ("{{ answer.split('### ')[-1].strip() }}", "7"),
        ("{{ choices.label.index(key) }}", "1"),
        ("{{ choices | tojson }}", r#"{"label": ["A", "B"], "text": ["it's <b>", "é"]}"#),
        ("{{ choices.label | tojson(indent=2) }}", "[\n  \"A\",\n  \"B\"\n]"),
        ("{{ tokens | entities(tags) | tojson }}", r#"{"LOC": ["Rome"], "PER": ["Ada L"]}"#),
        ("{{ tokens | entities(tags, scheme='bilou') | tojson }}", r#"{"LOC": ["Rome"], "PER": ["Ada L"]}"#),
        ("{{ none_here | default('-') }} {{ empty or '' }}\n", "- \n"),
    ] {
        let task = task(json!({ "task": "t", "prompt": template, "target": "x", "metrics": ["bleu"] }));
        let item = ask(
            &task,
            json!({
                "answer": "3 + 4\n#### 7 ", "key": "B", "choices": { "label": ["A", "B"], "text": ["it's <b>", "é"] },
                "tokens": ["Ada", "L", "in", "Rome"], "tags": ["B-PER", "L-PER", "O", "U-LOC"], "empty": null,
            }),
        );
        assert_eq!(item.prompt, wanted, "{template}");
    }
}

#[test]
fn filters_in_order() {
    let found = |filters: Value, response: &str| {
        let task = task(json!({
            "task": "t", "prompt": "?", "target": "x", "metrics": ["accuracy"], "filters": filters,
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
    assert_eq!(found(json!([{ "regex": "[0-9]+", "choose": "last" }]), "1, 2 and 3!"), some("3"));
    assert_eq!(found(json!(["json"]), "So: ```json\n{\"a\": [1]}\n```"), some(r#"{"a":[1]}"#));
    assert_eq!(found(json!(["json", "lowercase"]), "none"), None);
    // lm-eval looks for the longest text first.
    assert_eq!(found(json!(["choice"]), "It is guilty of romance"), some("(B)"));
    assert_eq!(found(json!(["gsm8k_strict"]), "#### 1,200."), some("1,200."));
    assert_eq!(burnisher_eval::GenerationOptions::new().with_until(["\n\n", "Q:"]).cut("a Q: b\n\nc"), "a ");
}

#[test]
fn wrong_files_say_all_that_is_wrong() {
    assert_eq!(
        refused(
            "unknown.yaml",
            "task: t\npromt: hi\ndoc_to_target: x\nlimit: few\nmetrics: [rouge, bleu]\ncolour: 1\n"
        ),
        "unknown.yaml has 7 problems:\n  \
         promt: unknown field; the nearest known one is prompt\n  \
         doc_to_target: unknown field; lm-eval's doc_to_target is called target here\n  \
         limit: invalid type: string \"few\", expected a whole number of at least 0\n  \
         metrics[0]: found metric `rouge`, wanted one of exact_match, squad_exact_match, squad_f1, \
         entity_precision, entity_recall, entity_f1, rouge1, rouge2, rougeL, rougeLsum, bleu, perplexity, chrf, \
         chrf++, ter, accuracy, f1_macro, acc, acc_norm, acc_bytes, acc_mutual_info, brier, word_perplexity, \
         byte_perplexity, bits_per_byte\n  \
         colour: unknown field; wanted one of task, data, examples_data, num_fewshot, fewshot_delimiter, \
         target_delimiter, description, prompt, target, choices, output, form, generation, filters, metrics, limit, \
         seed\n  \
         prompt: found none; wanted a template\n  \
         target: found none; wanted a template, or a list of them"
    );
    assert_eq!(
        refused(
            "values.yaml",
            "task: t\noutput: multiple_choice\nprompt: '{{ question '\ntarget: ['{{ a }}', '{% if %}']\n\
             filters: [strip, {regex: '('}]\nmetrics: [acc, rouge1, acc]\ngeneration: {max_new_tokens: 0}\n"
        ),
        "values.yaml has 9 problems:\n  \
         choices: found none; wanted a list for multiple_choice\n  \
         filters[0]: found strip; wanted none for multiple_choice, which writes no answer\n  \
         filters[1]: found regex; wanted none for multiple_choice, which writes no answer\n  \
         metrics[1]: found rouge1; wanted one of acc, acc_norm, acc_bytes, acc_mutual_info, brier for \
         multiple_choice\n  \
         metrics[2]: found acc again; wanted each metric once\n  \
         generation.max_new_tokens: found 0; wanted at least 1\n  \
         prompt: not a Jinja template: unexpected end of input, expected end of variable block; the template is \
         \"{{ question \"\n  \
         target[1]: not a Jinja template: unexpected end of block; the template is \"{% if %}\"\n  \
         filters[1]: answer filter: pattern `(` is not a regular expression: unclosed group"
    );
    assert_eq!(
        refused(
            "choices.toml",
            "task = \"t\"\nprompt = \"?\"\ntarget = \"0\"\nchoices = \"a, b\"\nmetrics = [\"bleu\"]\n"
        ),
        "choices.toml has 1 problem:\n  choices: found a text; wanted a list, or one expression that gives a list such \
         as {{ options }}"
    );
    assert_eq!(
        refused(
            "rolling.yaml",
            "task: t\noutput: loglikelihood_rolling\nprompt: hi\ntarget: '{{ text }}'\nmetrics: [bits_per_byte]\n\
             num_fewshot: 2\nform: chat\n"
        ),
        "rolling.yaml has 3 problems:\n  \
         prompt: found one; wanted none: loglikelihood_rolling scores the target as a whole text\n  \
         num_fewshot: found 2; wanted 0 for loglikelihood_rolling\n  \
         form: found chat; wanted plain for loglikelihood_rolling"
    );
    assert_eq!(
        refused("empty.yaml", "seed: 1\n"),
        "empty.yaml has 4 problems:\n  task: missing; wanted the name of the task\n  \
         prompt: found none; wanted a template\n  target: found none; wanted a template, or a list of them\n  \
         metrics: found none; wanted at least one"
    );
    let unquoted = refused("unquoted.yaml", "task: t\nprompt: {{ q }}\ntarget: b\n");
    assert!(unquoted.starts_with("unquoted.yaml: not valid YAML: error: line 2 column 10"), "{unquoted}");
    assert!(unquoted.ends_with("\nA template that begins with {{ needs quotes."), "{unquoted}");
    assert_eq!(
        refused("table.yaml", "task: t\nprompt: hi\ntarget: {a: b}\nmetrics: [bleu]\n"),
        "table.yaml has 1 problem:\n  target: found {\"a\":\"b\"}, wanted a text"
    );
    assert_eq!(
        refused("filter.yaml", "task: t\nprompt: q\ntarget: x\nfilters: [strip, upper]\nmetrics: [bleu]\n"),
        "filter.yaml has 1 problem:\n  filters[1]: found filter `upper`, wanted one of strip, lowercase, first_line, \
         gsm8k_strict, gsm8k_flexible, json, choice, {regex: PATTERN, choose: first|last}, {choice: {..}}"
    );
    assert_eq!(
        refused(
            "options.yaml",
            "task: t\nprompt: q\ntarget: x\nmetrics: [{metric: rougeL, ignore_case: true}]\n"
        ),
        "options.yaml has 1 problem:\n  metrics[0]: found options of rougeL: ignore_case; only exact_match has any"
    );
    assert_eq!(
        refused("task.json", "{}"),
        "task.json: found the ending \"json\"; wanted .toml, .yaml or .yml"
    );
    assert!(refused("broken.yaml", "task: [").starts_with("broken.yaml: not valid YAML: "));
    assert!(refused("broken.toml", "task = ").starts_with("broken.toml: not valid TOML: "));
    assert_eq!(
        refused("list.yaml", "- task"),
        "list.yaml: found YAML that is a list, wanted the fields of a task"
    );
    let missing = TaskConfig::from_file("nowhere.yaml").unwrap_err().to_string();
    assert!(missing.starts_with("nowhere.yaml: cannot be read: "), "{missing}");
    let deep = TaskConfig::new("t", format!("{{{{ {}1 }}}}", "1+".repeat(30_000)), "x")
        .with_metrics([TaskMetric::from(Metric::Bleu)]);
    assert!(deep.validate().is_ok());
    let long = TaskConfig::new("t", "x".repeat(70_000), "x").with_metrics([TaskMetric::from(Metric::Bleu)]);
    assert_eq!(
        long.validate().unwrap_err().to_string(),
        "task `t` has 1 problem:\n  prompt: found 70000 bytes, wanted at most 65536"
    );
}

#[test]
fn toml_and_yaml_say_the_same() {
    let yaml = read(
        "same.yaml",
        "task: t\ndata: a.jsonl\nexamples_data: [b.jsonl, c]\nprompt: |\n  {{ q }}\ntarget: ['{{ a }}', '{{ b }}']\n\
         choices: [yes, no]\nmetrics: [{metric: exact_match, ignore_case: true}, f1_macro]\n\
         filters: [strip, {regex: x, choose: last}]\n",
    );
    let toml = read(
        "same.toml",
        "task = 't'\ndata = ['a.jsonl']\nexamples_data = ['b.jsonl', 'c']\nprompt = \"{{ q }}\\n\"\n\
         target = ['{{ a }}', '{{ b }}']\nchoices = ['yes', 'no']\n\
         metrics = [{ metric = 'exact_match', ignore_case = true }, 'f1_macro']\n\
         filters = ['strip', { regex = 'x', choose = 'last' }]\n",
    );
    let (yaml, toml) = (yaml.unwrap(), toml.unwrap());
    assert_eq!(yaml, toml);
    assert_eq!(yaml.choices, Some(Choices::List(vec!["yes".to_owned(), "no".to_owned()])));
    assert_eq!(yaml.target, TargetTemplate::Several(vec!["{{ a }}".to_owned(), "{{ b }}".to_owned()]));
    assert_eq!(yaml.metrics[0], TaskMetric::exact_match(ExactMatchConfig::new().with_ignore_case(true)));
    assert_eq!((yaml.data.len(), yaml.examples_data.unwrap().len()), (1, 2));
    assert_eq!(yaml.filters[0], Filter::Strip);
}

#[test]
fn wrong_rows_say_where() {
    let message = |prompt: &str, target: &str, value: Value| {
        let task = task(json!({ "task": "t", "prompt": prompt, "target": target, "metrics": ["entity_f1"] }));
        task.item(&row(value), "test.jsonl:3").unwrap_err().to_string()
    };
    let target = "{{ a }}";
    let a = json!({ "a": "{}", "list": [1], "none": null, "object": { "x": 1 } });
    assert_eq!(
        message("{{ question }}", target, a.clone()),
        "task `t`, test.jsonl:3: prompt: the column `question` is not there; the row has `a`, `list`, `none`, \
         `object`; the template is \"{{ question }}\""
    );
    assert_eq!(
        message("{{ object.y }}", target, a.clone()),
        "task `t`, test.jsonl:3: prompt: `object.y` is undefined; the template is \"{{ object.y }}\""
    );
    for (prompt, wanted) in [
        ("{{ none }}", "prompt: a null is no text; give one for it: {{ column or \"\" }}"),
        ("{{ list }}", "prompt: a list is no text; join its items"),
        ("{{ object }}", "prompt: an object is no text; join its items"),
        ("{{ list | entities(list) }}", "prompt: entities: item 0 of tokens is 1, wanted a text"),
        ("{{ ['a'] | entities(tags) }}", "prompt: the column `tags` is not there"),
        ("{{ ['a'] | entities([]) }}", "prompt: entities: found 1 tokens and 0 tags"),
        (
            "{{ ['a'] | entities(['X-a'], scheme='IOB2') }}",
            "prompt: entities: tagging: token 0 of sentence 0",
        ),
        ("{{ ['a'] | entities(['O'], scheme='IOB') }}", "prompt: entities: found scheme `IOB`, wanted IOB1"),
        (
            "{% set x = [list] %}{% for i in range(9) %}{% set x = [x, x] %}{% endfor %}{{ a.nope() }}",
            "prompt: ",
        ),
        ("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}", "prompt: "),
    ] {
        let message = message(prompt, target, a.clone());
        assert!(message.contains(wanted), "{message} instead of {wanted}");
    }
    assert_eq!(
        message("?", "{{ x }}", json!({ "x": "none" })),
        "task `t`, test.jsonl:3: target: found \"none\", wanted a JSON object for the entity metrics"
    );
    assert_eq!(
        message("?", "{{ x }}", json!({ "x": [] })),
        "task `t`, test.jsonl:3: target: found an empty list, wanted at least one reference"
    );
    assert_eq!(
        message("?", "{{ x }}", json!({ "x": [null] })),
        "task `t`, test.jsonl:3: target: found null, wanted a text; | tojson makes one of it"
    );
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
