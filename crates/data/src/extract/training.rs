//! Grounded extractions as something to fine-tune on.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde_json::json;

use super::chunk::{ChunkConfig, chunk_text};
use super::document::Extracted;
use super::extraction::{Extraction, Status};
use super::format::AnswerFormat;
use super::output::write_whole;
use super::task::Task;
use super::tokenize::WordTokenizer;
use crate::error::DataError;
use crate::record::{Body, Message, Origin, Record};

/// Conversations to fine-tune an extractor on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TrainingSet {
    /// One record of messages a chunk: the instructions, the chunk, the answer.
    pub records: Vec<Record>,
    /// Extractions in the records.
    pub extractions: usize,
    /// Extractions left out because the source does not have them.
    pub ungrounded: usize,
    /// Extractions left out because they have flags.
    pub flagged: usize,
    /// Extractions left out because they stand in no single chunk.
    pub straddling: usize,
    /// Chunks left out because a part of them has no answer.
    pub failed_chunks: usize,
}

impl fmt::Display for TrainingSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records with {} extractions; left out: {} ungrounded, {} flagged, {} across chunks, and {} chunks without \
             an answer",
            self.records.len(),
            self.extractions,
            self.ungrounded,
            self.flagged,
            self.straddling,
            self.failed_chunks
        )
    }
}

impl TrainingSet {
    /// Makes records of documents: each chunk is a question, and its answer holds what is grounded in it and has no
    /// flag, in the source's own words and order. A chunk in which nothing was found answers with an empty list.
    pub fn new(task: &Task, format: &AnswerFormat, chunks: ChunkConfig, documents: &[Extracted]) -> Self {
        let mut set = Self {
            records: Vec::new(),
            extractions: 0,
            ungrounded: 0,
            flagged: 0,
            straddling: 0,
            failed_chunks: 0,
        };
        for document in documents {
            set.add(task, format, chunks, document);
        }
        set
    }

    fn add(&mut self, task: &Task, format: &AnswerFormat, config: ChunkConfig, document: &Extracted) {
        let bytes: Vec<usize> =
            document.text.char_indices().map(|(at, _)| at).chain([document.text.len()]).collect();
        let mut usable: Vec<(Range<usize>, Extraction)> = Vec::new();
        for extraction in &document.extractions {
            match &extraction.chars {
                Some(chars) if extraction.flags.is_empty() && extraction.status != Status::Ungrounded => {
                    let text = &document.text[bytes[chars.start]..bytes[chars.end]];
                    let own = Extraction {
                        attributes: extraction.attributes.clone(),
                        ..Extraction::new(extraction.class.clone(), text)
                    };
                    usable.push((chars.clone(), own));
                }
                Some(_) => self.flagged += 1,
                None => self.ungrounded += 1,
            }
        }
        usable.sort_by_key(|(chars, _)| (chars.start, chars.end));
        let mut placed = vec![false; usable.len()];
        for (number, chunk) in chunk_text(&document.text, WordTokenizer::Unicode, config).iter().enumerate() {
            let meets = |at: &Range<usize>| at.start < chunk.chars.end && chunk.chars.start < at.end;
            if document.failures.iter().any(|failure| meets(&failure.chars)) {
                self.failed_chunks += 1;
                continue;
            }
            let within = |at: &Range<usize>| chunk.chars.start <= at.start && at.end <= chunk.chars.end;
            let mut answer = Vec::new();
            for ((at, extraction), placed) in usable.iter().zip(&mut placed) {
                if within(at) {
                    answer.push(extraction.clone());
                    *placed = true;
                }
            }
            self.extractions += answer.len();
            let messages = vec![
                Message::new("system", task.instructions.clone()),
                Message::new("user", &document.text[chunk.bytes.clone()]),
                Message::new("assistant", format.render(&answer)),
            ];
            self.records
                .push(Record::new(Body::Messages(messages), Origin::new(document.id.as_str(), number + 1)));
        }
        self.straddling += placed.iter().filter(|placed| !**placed).count();
    }

    /// Writes the records as JSON lines with the column `messages`.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`].
    pub fn write_jsonl(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let mut text = String::new();
        for record in &self.records {
            if let Body::Messages(messages) = &record.body {
                let message = |m: &Message| json!({"role": m.role, "content": m.content});
                let messages: Vec<_> = messages.iter().map(message).collect();
                text.push_str(&json!({ "messages": messages }).to_string());
                text.push('\n');
            }
        }
        write_whole(path.as_ref(), &text)
    }
}
