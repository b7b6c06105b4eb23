//! Steps that drop texts.

mod c4;
mod dolma;
mod dolma_c4;
mod fineweb;
mod gopher_quality;
mod gopher_repetition;
mod language;
mod length;
mod simple;

pub use c4::{C4, C4Paragraphs};
pub(super) use c4::{CITATION, Fate, Phrases, count_sentences};
pub use dolma::{EmptyLines, GopherMeasures};
pub use dolma_c4::C4Measures;
pub use fineweb::FineWeb;
pub use gopher_quality::{Counting, GopherQuality};
pub use gopher_repetition::GopherRepetition;
pub(super) use language::Detector;
pub use language::Language;
pub use length::Length;
pub(super) use length::Measured;
pub(super) use simple::{Alphabet, Expressions};
pub use simple::{AlphabetRatio, MatchAction, Matches, Repetition};
