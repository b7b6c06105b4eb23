//! Extractions that come from the prompt instead of the text.

use std::collections::HashMap;

use super::extraction::{Extraction, Flag, Status};
use super::task::Task;

/// The texts of a task's few-shot extractions, and the example of each.
#[derive(Debug)]
pub(super) struct Copied(HashMap<String, usize>);

impl Copied {
    pub(super) fn new(task: &Task) -> Self {
        let mut texts = HashMap::new();
        for (number, example) in task.examples.iter().enumerate() {
            for extraction in &example.extractions {
                texts.entry(folded(&extraction.text)).or_insert(number);
            }
        }
        Self(texts)
    }

    /// A flag if an example has this text and the source does not have it word for word.
    pub(super) fn check(&self, extraction: &Extraction) -> Option<Flag> {
        if extraction.status == Status::MatchExact {
            return None;
        }
        self.0.get(&folded(&extraction.text)).map(|example| Flag::CopiedFromExample { example: *example })
    }
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
