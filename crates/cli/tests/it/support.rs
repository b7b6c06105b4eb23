//! Running the program, and the files it runs on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burnisher"));
    command.env("BURN_DEVICE", "flex");
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    program().args(args).output().expect("the program starts")
}

#[track_caller]
pub(crate) fn succeed(args: &[&str]) -> (String, String) {
    let output = run(args);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{args:?}\n{out}\n{err}");
    (out, err)
}

/// Runs what must end with status 1, and gives its message.
#[track_caller]
pub(crate) fn fail(args: &[&str]) -> String {
    let output = run(args);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}\n{out}\n{err}");
    err
}

pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures").join(path)
}

/// The embedded base model.
pub(crate) fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/assets/base")
}

/// A path below `../shared`; `None`, with a message, where it is absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if shared.exists() {
        return Some(shared.join(path));
    }
    assert!(std::env::var_os("CI").is_none(), "no ../shared in CI");
    println!("skipped: no ../shared");
    None
}

/// Writes questions with answers, and a run file over them; further fields go below `train`.
pub(crate) fn small_run(dir: &Path, records: usize, train: &str) -> PathBuf {
    let colours = ["red", "green", "blue", "amber", "violet"];
    let lines: String = (0..records)
        .map(|i| {
            let colour = colours[i % colours.len()];
            format!(
                "{{\"prompt\": \"What colour has box {i}?\", \"completion\": \" Box {i} is {colour}.\"}}\n"
            )
        })
        .collect();
    fs::write(dir.join("train.jsonl"), lines).expect("writes");
    let run = format!(
        "[model]\npath = {:?}\n[data]\ntrain = {:?}\nvalidation_fraction = 0.2\nmax_length = 64\n[lora]\nr = 4\n\
         [train]\noutput_dir = {:?}\nbatch_size = 2\nlearning_rate = 1e-3\n{train}\n",
        base(),
        dir.join("train.jsonl"),
        dir.join("out"),
    );
    let path = dir.join("run.toml");
    fs::write(&path, run).expect("writes");
    path
}
