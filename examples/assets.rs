//! The files under `examples/assets`: the base model and the data of the finance task, written by
//! `cargo run --release --example make_data` and `… --example pretrain_base`.

use std::{collections::HashSet, path::PathBuf};

use serde_json::Value;

use crate::generate::{FinanceExample, Split, chat_row, finance_examples, general_instructions};

/// The directory of the embedded base model.
pub const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/base");

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
/// The seed of the pre-training text.
pub const PRETRAINING_SEED: u64 = 2026;
/// Tasks that pre-training shows.
pub const PRETRAINING_TASKS: usize = 130_000;
const SEED: u64 = 7;
/// Not the seed of the pre-training text nor of its held-out part.
const GENERAL_SEED: u64 = 4_000;

/// The finance task's set of this name: `train`, `validation` or `test`.
pub fn finance(name: &str) -> PathBuf {
    PathBuf::from(FOLDER).join("finance").join(format!("{name}.jsonl"))
}

/// General tasks that neither pre-training nor fine-tuning has seen, to measure forgetting on.
pub fn general() -> PathBuf {
    PathBuf::from(FOLDER).join("general.jsonl")
}

/// General tasks that pre-training showed, to rehearse them while fine-tuning; none of them is in [`general`].
pub fn replay() -> PathBuf {
    PathBuf::from(FOLDER).join("replay.jsonl")
}

/// Every data file with the rows that belong in it.
pub fn data_files() -> Vec<(PathBuf, Vec<Value>)> {
    let finance_rows = |count, split| {
        let examples = finance_examples(SEED, count, split);
        examples.iter().map(FinanceExample::to_messages).collect()
    };
    let known: HashSet<_> = general_instructions(PRETRAINING_SEED, PRETRAINING_TASKS).into_iter().collect();
    let mut tasks = general_instructions(GENERAL_SEED, 300);
    tasks.retain(|task| !known.contains(task));
    tasks.truncate(150);
    let rehearsed = general_instructions(PRETRAINING_SEED, 500);
    vec![
        (finance("train"), finance_rows(1500, Split::Train)),
        (finance("validation"), finance_rows(100, Split::Validation)),
        (finance("test"), finance_rows(300, Split::Test)),
        (general(), tasks.iter().map(|(user, answer)| chat_row(user, answer)).collect()),
        (replay(), rehearsed.iter().map(|(user, answer)| chat_row(user, answer)).collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_what_the_generators_write() {
        for (path, rows) in data_files() {
            let text = std::fs::read_to_string(&path).expect("the file is in the repository");
            let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
            assert!(text.lines().eq(lines.iter().map(String::as_str)), "run make_data: {}", path.display());
        }
    }

    #[test]
    fn the_base_model_is_small() {
        let files = std::fs::read_dir(BASE).expect("the base model is in the repository");
        let bytes: u64 = files.map(|file| file.expect("a file").metadata().expect("a size").len()).sum();
        assert!(bytes <= 8 << 20, "{bytes} bytes");
    }
}
