//! `burnisher task`: files with tasks, asked of the embedded model.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{base, fail, shared, succeed};

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn report(path: &str) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn choices_texts_and_perplexity_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: usize| json!({ "thing": format!("box {i}"), "colour": if i.is_multiple_of(2) { "red" } else { "blue" } });
    let data = write(dir.path(), "rows.jsonl", &(0..4).map(|i| format!("{}\n", row(i))).collect::<String>());
    let (base, out) =
        (base().display().to_string(), dir.path().join("new/report.json").display().to_string());
    let run = |text: &str, more: &[&str]| {
        let task = write(dir.path(), "task.yaml", text);
        let args = ["task", &task, "--model", &base, "--data", &data, "--out", &out];
        let (printed, said) = succeed(&[&args[..], more].concat());
        assert!(dir.path().join("new/report.md").is_file());
        (printed, said, report(&out))
    };
    let choice = "task: colours\noutput: multiple_choice\nprompt: 'What colour has {{ thing }}?'\n\
                  choices: [red, blue]\ntarget: '{{ colour }}'\nnum_fewshot: 1\nmetrics: [acc, acc_norm, brier]\n";
    let (printed, said, found) = run(choice, &["--limit", "3"]);
    assert!(said.contains("colours: 3 of 4 rows"), "{said}");
    assert!(printed.contains("acc_norm"), "{printed}");
    assert_eq!(found["examples"], 3);
    assert_eq!(found["truncated"], 0);
    let acc = found["scores"]["acc"]["value"].as_f64().unwrap();
    let items = found["items"].as_array().unwrap();
    let hits = items.iter().filter(|item| {
        let likelihoods = item["response"]["choices"]["conditional"].as_array().unwrap();
        let value = |at: usize| likelihoods[at]["log_likelihood"].as_f64().unwrap();
        let chosen = if value(1) > value(0) { "blue" } else { "red" };
        item["references"][0] == chosen
    });
    assert!((acc - hits.count() as f64 / 3.0).abs() < 1e-12);

    let text = "task: say\nprompt: 'Colour of {{ thing }}:'\ntarget: '{{ colour }}'\n\
                generation: { until: [e], max_new_tokens: 6 }\nfilters: [strip]\nmetrics: [exact_match, rouge1]\n";
    let (_, _, found) = run(text, &[]);
    assert_eq!(found["examples"], 4);
    for item in found["items"].as_array().unwrap() {
        assert!(!item["response"]["text"].as_str().unwrap().contains('e'), "{item}");
    }

    let text = "task: read\noutput: loglikelihood_rolling\ntarget: '{{ thing }} is {{ colour }}'\n\
                metrics: [word_perplexity, bits_per_byte]\n";
    let (_, _, found) = run(text, &[]);
    assert!(found["scores"]["word_perplexity"]["value"].as_f64().unwrap() > 1.0);

    let task = write(
        dir.path(),
        "bad.yaml",
        "task: bad\nprompt: '{{ thing'\ntarget: x\nmetrics: [exact_match, acc]\n",
    );
    let error = fail(&["task", &task, "--model", &base, "--data", &data]);
    assert!(
        error.contains("2 problems") && error.contains("metrics[1]") && error.contains("prompt"),
        "{error}"
    );
    let task = write(
        dir.path(),
        "none.yaml",
        "task: t\nprompt: '{{ nothing }}'\ntarget: x\nmetrics: [exact_match]\n",
    );
    let error = fail(&["task", &task, "--model", &base, "--data", &data]);
    assert!(error.contains("rows.jsonl:1") && error.contains("`nothing`"), "{error}");
    let error = fail(&["task", &task, "--model", &base]);
    assert!(error.contains("--data"), "{error}");
    let copy = write(dir.path(), "copy.json", "[{\"thing\": \"box\"}]");
    let error = fail(&["task", &task, "--model", &base, "--data", &copy, "--out", &copy]);
    assert!(error.contains("which is read"), "{error}");
    assert!(fs::read_to_string(&copy).unwrap().contains("box"));
}

/// The task files of the sets that are there, but for the folder of the data, over two rows of each: the embedded model
/// cannot answer them, so what is shown is that they run, examples before the question included.
#[test]
fn the_example_tasks_run_over_the_real_sets() {
    let Some(data) = shared("data") else { return };
    let dir = tempfile::tempdir().unwrap();
    let tasks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tasks");
    let (base, out) = (base().display().to_string(), dir.path().join("report.json").display().to_string());
    for (task, file, metric) in
        [("gsm8k", "gsm8k/test.jsonl", "exact_match"), ("scitldr", "scitldr/test.jsonl", "rougeL")]
    {
        let text = fs::read_to_string(tasks.join(format!("{task}.yaml"))).unwrap();
        assert!(text.contains(&format!("data: data/{file}")), "{text}");
        let folder = format!(": {}/", data.display());
        let task = write(dir.path(), "real.yaml", &text.replace(": data/", &folder));
        let args = ["task", &task, "--model", &base, "--limit", "2", "--out", &out];
        succeed(&args);
        let found = report(&out);
        assert_eq!(found["examples"], 2, "{task}");
        assert!(found["scores"][metric]["value"].is_number(), "{task}: {}", found["scores"]);
    }
}
