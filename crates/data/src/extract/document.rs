//! Texts before and after.

use std::ops::Range;

use super::extraction::Extraction;

/// A text to extract from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Document {
    /// Its name in results.
    pub id: String,
    /// The text.
    pub text: String,
    /// What the model is told about it besides the text.
    pub context: Option<String>,
}

impl Document {
    /// A document without context.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), text: text.into(), context: None }
    }

    /// Sets the context.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }
}

/// A part of a document that has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChunkFailure {
    /// The chunk, counted from 0.
    pub chunk: usize,
    /// The pass, counted from 0.
    pub pass: u32,
    /// The chunk's place in code points.
    pub chars: Range<usize>,
    /// Why.
    pub reason: String,
}

/// A text and what was found in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extracted {
    /// The document's name.
    pub id: String,
    /// Its text.
    pub text: String,
    /// What was found, in the order of chunks and answers.
    pub extractions: Vec<Extraction>,
    /// The parts without an answer.
    pub failures: Vec<ChunkFailure>,
}

impl Extracted {
    /// A document with its extractions.
    pub fn new(
        id: impl Into<String>,
        text: impl Into<String>,
        extractions: impl IntoIterator<Item = Extraction>,
    ) -> Self {
        Self {
            id: id.into(),
            text: text.into(),
            extractions: extractions.into_iter().collect(),
            failures: Vec::new(),
        }
    }
}
