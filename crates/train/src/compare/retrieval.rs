use burnisher_data::{Body, Prompt, Record, Source, TextUnit};
use burnisher_eval::{Bm25, Bm25Config, passages};

use super::config::CompareConfig;
use crate::TrainError;

/// What stands before the passages.
const INTRODUCTION: &str = "Use these passages where they help:";

/// The passages of the documents, and where their words are.
pub(super) struct Retrieval {
    passages: Vec<String>,
    index: Bm25,
    taken: usize,
}

impl Retrieval {
    /// Reads the documents. A record that asks something is a passage as a whole: the question and its answer.
    pub(super) fn read(config: &CompareConfig) -> Result<Self, TrainError> {
        let mut all = Vec::new();
        for record in Source::open_all(&config.documents)?.with_text_unit(TextUnit::File).read()? {
            let text = record.user_and_assistant_text();
            match record.body {
                Body::Text(_) => {
                    let cut = passages(&text, config.passage_words, config.passage_overlap)?;
                    all.extend(cut.into_iter().map(str::to_owned));
                }
                _ => all.push(text),
            }
        }
        let index = Bm25Config::default().index(&all)?;
        Ok(Self { passages: all, index, taken: config.passages })
    }

    pub(super) fn len(&self) -> usize {
        self.passages.len()
    }

    /// The record with the best passages before its question.
    pub(super) fn before(&self, record: &Record, prompt: &Prompt) -> Record {
        let hits = self.index.search(&prompt.question, self.taken);
        if hits.is_empty() {
            return record.clone();
        }
        let listed: Vec<String> = (1..)
            .zip(&hits)
            .map(|(number, hit)| format!("[{number}] {}", self.passages[hit.document].trim()))
            .collect();
        let block = format!("{INTRODUCTION}\n\n{}\n\n", listed.join("\n\n"));
        let mut record = record.clone();
        match &mut record.body {
            Body::Messages(messages) => {
                let answer = messages.iter().rposition(|message| message.role == "assistant");
                let asked =
                    messages[..answer.unwrap_or(0)].iter_mut().rfind(|message| message.role == "user");
                if let Some(message) = asked {
                    message.content.insert_str(0, &block);
                }
            }
            Body::Completion { prompt, .. } => prompt.insert_str(0, &block),
            Body::Alpaca { instruction, .. } => instruction.insert_str(0, &block),
            Body::Question { question, context, .. } => {
                if context.is_empty() { question } else { context }.insert_str(0, &block);
            }
            _ => {}
        }
        record
    }
}
