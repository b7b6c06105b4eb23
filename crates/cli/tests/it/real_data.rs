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
fn a_killed_run_loses_nothing() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let with_checkpoints = |dir: &std::path::Path| {
        let config = run_file(dir, "  quant: nf4\n")?;
        let text =
            fs::read_to_string(&config).unwrap().replace("max_steps: 2", "max_steps: 5\n  save_every: 1");
        fs::write(&config, text).unwrap();
        Some(config)
    };
    let Some(config) = with_checkpoints(whole.path()) else { return };
    succeed(&["train", config.to_str().unwrap()]);
    let config = with_checkpoints(killed.path()).unwrap();
    for step in [1, 3] {
        crate::kill::kill_after(&config, &killed.path().join("out"), step);
    }
    let (_, err) = succeed(&["train", config.to_str().unwrap()]);
    assert!(err.contains("resumed at step"), "{err}");
    let adapter =
        |dir: &std::path::Path| fs::read(dir.join("out/adapter/adapter_model.safetensors")).unwrap();
    assert!(adapter(whole.path()) == adapter(killed.path()), "adapters differ");
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
