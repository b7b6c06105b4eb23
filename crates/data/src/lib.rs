//! From files to clean records to token batches. No tensors, no Burn.
//!
//! ```text
//! file -> Source -> Record -> remove_exact_duplicates / split / find_leaks
//!                          -> Tokenizer + ChatTemplate -> Encoder -> Encoded { ids, loss_mask }
//!                          -> pack -> Row -> Batches -> TokenBatch
//! ```
//!
//! Nothing is dropped silently: each step returns a report that counts what it left out and names the file
//! and line.
//!
//! ```
//! use burnisher_data::{Body, Origin, Record, SplitConfig, ValidationSize, remove_exact_duplicates, split};
//!
//! let question = |line: usize| {
//!     let body = Body::Completion { prompt: format!("{line} + {line} = "), completion: format!("{}", 2 * line) };
//!     Record::new(body, Origin::new("sums.jsonl", line))
//! };
//! let (records, report) = remove_exact_duplicates((1..=50).map(question).collect());
//! println!("{report}");
//! let sets = split(records, SplitConfig::new(ValidationSize::Fraction(0.1)).with_seed(7))?;
//! assert_eq!((sets.train.len(), sets.validation.len()), (45, 5));
//! # Ok::<(), burnisher_data::DataError>(())
//! ```
#![deny(missing_docs)]

mod batch;
mod dedup;
mod encode;
mod error;
#[cfg(feature = "hub")]
mod hub;
mod index;
mod leak;
mod mask;
mod ngram;
mod pack;
mod prompt;
mod record;
mod sentencepiece;
mod source;
mod split;
mod template;
mod tokenizer;
mod writer;

pub use batch::{BatchConfig, Batches, TokenBatch};
pub use dedup::{DuplicatePair, DuplicateReport, remove_exact_duplicates};
pub use encode::{EncodeConfig, EncodeReport, Encoded, EncodedSet, Encoder, Outcome, TrainOn};
pub use error::DataError;
#[cfg(feature = "hub")]
pub use hub::{Hub, Network, Repo};
pub use index::{IndexLocation, IndexedJsonl};
pub use leak::{LeakConfig, LeakPair, LeakReport, find_leaks};
pub use ngram::SharedPart;
pub use pack::{Packing, Row, pack};
pub use prompt::Prompt;
pub use record::{Body, Message, Origin, Record, Shape};
pub use sentencepiece::{PieceKind, SentencePiece, SentencePieceAlgorithm, SentencePieceModel};
pub use source::{
    ColumnMap, Encoding, Format, OnError, Records, Shard, SkipReason, Skipped, Source, SourceReport, TextUnit,
};
pub use split::{Split, SplitConfig, ValidationSize, split};
pub use template::{ChatTemplate, Rendered};
pub use tokenizer::Tokenizer;
pub use writer::JsonlWriter;
