//! Extraction that shows its source: a model reads texts and names things in them, and every thing is found again in
//! its text, or marked as not found.
//!
//! ```text
//! Document -> chunks -> prompt -> LanguageModel -> AnswerFormat::parse -> AlignConfig::align -> Extracted
//!                                     |                                                           -> write_jsonl
//!                                 DiskCache                                                       -> TrainingSet
//!                                                                                                 -> render_page
//! ```
//!
//! The rules are langextract's (version 1.7.1) where [`AlignConfig::reference`] says so; the default improves on
//! them, see [`AlignMode::Extended`]. All places are in code points.
//!
//! ```
//! use burnisher_data::extract::{
//!     Answer, Document, Example, Extraction, Extractor, ModelError, Request, Task, render_page,
//! };
//!
//! let task = Task::new("Extract drugs and doses, in the text's own words.").with_example(Example::new(
//!     "He was given 5 mg of morphine.",
//!     [Extraction::new("dose", "5 mg"), Extraction::new("drug", "morphine")],
//! ));
//! // Any `Fn(&Request) -> Result<Answer, ModelError>` is a model; with the feature `http`, `HttpConfig` makes one
//! // of an endpoint.
//! let model = |_: &Request| -> Result<Answer, ModelError> {
//!     Ok(Answer::new(r#"{"extractions": [{"drug": "aspirin", "drug_attributes": {"for": "headache"}}]}"#))
//! };
//! let run = Extractor::new(task, model)
//!     .with_concurrency(8)
//!     .run(&[Document::new("note 1", "Aspirin against headache.")], |_| {})?;
//! println!("{}", run.report);
//! assert_eq!(run.documents[0].extractions[0].chars, Some(0..7));
//! let page = render_page("Notes", &run.documents)?;
//! assert!(page.contains("data-start=\"0\" data-end=\"7\""));
//! # Ok::<(), burnisher_data::DataError>(())
//! ```

mod align;
mod answers;
mod cache;
mod chunk;
mod classes;
mod config;
mod copied;
mod document;
mod extraction;
mod format;
#[cfg(feature = "http")]
mod http;
mod merge;
mod model;
mod output;
mod page;
mod prompt;
mod report;
mod run;
mod schema;
mod task;
mod tokenize;
mod training;
mod yaml;

pub use align::{AlignConfig, AlignMode, ExactAlgorithm, Fuzzy, Lesser};
pub use cache::DiskCache;
pub use chunk::{Chunk, ChunkConfig, chunk_text, chunks, sentences};
pub use config::{ExtractConfig, Invalid, Ungrounded};
pub use document::{ChunkFailure, Document, Extracted};
pub use extraction::{Extraction, Flag, Status};
pub use format::{AnswerFormat, Fences, Language, TopLevelList};
#[cfg(feature = "http")]
pub use http::{HttpConfig, HttpModel, ResponseFormat};
pub use merge::merge_passes;
pub use model::{Answer, LanguageModel, ModelError, Request};
pub use output::{read_jsonl, write_jsonl};
pub use page::{render_page, write_page};
pub use prompt::{PromptStyle, chunk_context, messages, question_answer};
pub use report::{Progress, Run, RunReport};
pub use run::Extractor;
pub use schema::{AttributeKind, AttributeSchema, ClassSchema, Presence, Schema};
pub use task::{Example, Task, TaskWarning};
pub use tokenize::{Token, TokenKind, WordTokenizer};
pub use training::TrainingSet;
