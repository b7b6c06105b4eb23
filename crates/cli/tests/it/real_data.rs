//! GSM8K (../shared): counts, LoRA and QLoRA, the leak check.

use std::fs;

use crate::support::{base, fail, shared, succeed};

fn run_file(dir: &std::path::Path, extra: &str) -> Option<std::path::PathBuf> {
    let data = shared("data/gsm8k")?;
    let text = format!(
        "model:\n  path: {}\n{extra}data:\n  train: {}\n  columns: {{prompt: question, completion: answer}}\n  \
         validation_fraction: 0.01\n  max_length: 768\nlora:\n  r: 4\ntrain:\n  output_dir: {}\n  max_steps: 2\n  \
         batch_size: 2\n",
        base().display(),
        data.join("train.jsonl").display(),
        dir.join("out").display(),
    );
    let path = dir.join("run.yaml");
    fs::write(&path, text).unwrap();
    Some(path)
}

#[test]
fn lora_and_qlora_run_and_report_counts() {
    for extra in ["", "  quant: nf4\n"] {
        let dir = tempfile::tempdir().unwrap();
        let Some(config) = run_file(dir.path(), extra) else { return };
        let (out, err) = succeed(&["train", config.to_str().unwrap()]);
        assert!(out.contains("done after 2 steps"), "{out}");
        assert!(err.contains("7473 records"), "{err}");
        assert!(dir.path().join("out/adapter/adapter_model.safetensors").exists());
    }
}

#[test]
fn the_three_shared_questions_stop_the_run_until_leaks_are_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let Some(config) = run_file(dir.path(), "") else { return };
    let test = format!("data.test={}", shared("data/gsm8k/test.jsonl").unwrap().display());
    let args = ["train", config.to_str().unwrap(), "--set", &test, "--set", "data.validation_fraction=0"];
    let error = fail(&args);
    for line in ["test.jsonl:582", "test.jsonl:603", "test.jsonl:633"] {
        assert!(error.contains(line), "{line} in {error}");
    }
    assert!(error.contains("allow"), "{error}");
    assert!(!dir.path().join("out/adapter").exists());
    succeed(&[&args[..], &["--set", "data.leaks=allow"]].concat());
}
