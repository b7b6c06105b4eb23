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
mod card;
mod clean;
mod decontaminate;
mod dedup;
mod encode;
mod error;
pub mod extract;
#[cfg(feature = "hub")]
mod hub;
mod index;
mod leak;
mod mask;
mod mix;
mod ngram;
mod pack;
mod preview;
mod prompt;
mod record;
mod sentencepiece;
mod shards;
mod source;
mod split;
mod template;
mod tokenizer;
mod writer;

pub use batch::{BatchConfig, Batches, Order, TokenBatch};
pub use card::{
    Advice, Balance, Bar, CardConfig, CardLeak, CardSample, CardSet, DataCard, Distribution, LeakCount,
    SetCard, TokenCount, VocabularyCoverage, Weight,
};
pub use clean::{
    AlphabetRatio, BoilerplateLines, C4, C4Measures, C4Paragraphs, Citations, CleanOutcome, CleanReport,
    Cleanable, Cleaned, ControlCharacters, Counting, EmptyLines, FineWeb, GopherMeasures, GopherQuality,
    GopherRepetition, Html, Language, Length, MatchAction, Matches, Mojibake, NormalForm, PersonalAction,
    PersonalData, Pipeline, PipelineBuilder, Preset, Repetition, Sample, Step, StepReport, Unicode,
    WhiteSpace, clean,
};
pub use decontaminate::{Janitor, JanitorConfig, OverlapConfig, OverlapHit, OverlapIndex};
pub use dedup::{
    Bands, Clusters, DuplicatePair, DuplicateReport, HashFamily, Keep, MinHash, MinHashConfig, MinHasher,
    NearDuplicateConfig, NearDuplicatePair, NearDuplicateReport, ShingleUnit, Shingling, SignatureIndex,
    SimHashConfig, Sketch, Verify, WordRule, exact_jaccard, near_duplicate_records, near_duplicates,
    optimal_bands, remove_exact_duplicates, remove_near_duplicates, sim_hash, simplify_text,
};
pub use encode::{CacheUse, EncodeConfig, EncodeReport, Encoded, EncodedSet, Encoder, Outcome, TrainOn};
pub use error::DataError;
#[cfg(feature = "hub")]
pub use hub::{Hub, Network, Repo};
pub use index::{IndexLocation, IndexedJsonl};
pub use leak::{
    LeakAudit, LeakAuditReport, LeakConfig, LeakPair, LeakRemoval, LeakReport, NamedLeaks, NearLeak,
    find_leaks,
};
pub use mix::{MixConfig, MixIter, MixOrder, MixReport, MixShares, MixSource, MixSourceReport};
pub use ngram::{LeakText, SharedPart};
pub use pack::{Packing, Row, pack};
pub use preview::{Preview, PreviewRun, PreviewStyle, preview};
pub use prompt::Prompt;
pub use record::{Body, Message, Origin, Record, Shape};
pub use sentencepiece::{PieceKind, SentencePiece, SentencePieceAlgorithm, SentencePieceModel};
pub use shards::{ShardWriter, merge_shards};
pub use source::{
    ColumnMap, Encoding, Format, OnError, Records, Rows, Shard, SkipReason, Skipped, Source, SourceReport,
    SourceRow, TextUnit,
};
pub use split::{
    Assign, Part, PartReport, PartSize, Parts, Split, SplitConfig, SplitPlan, SplitReport, StratumReport,
    TextGroups, ValidationSize, split, split_together,
};
pub use template::{BuiltinTemplate, ChatTemplate, Rendered};
pub use tokenizer::Tokenizer;
pub use writer::JsonlWriter;
