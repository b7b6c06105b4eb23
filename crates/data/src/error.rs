//! What can go wrong.

mod message;

use std::io;
use std::path::PathBuf;

use crate::record::{Origin, Shape};

/// Everything that can go wrong between a file and a token batch.
///
/// Every message says what was found, what was wanted and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be opened or read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file or directory could not be written.
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A line (or element) is not valid JSON. A truncated last line ends up here too.
    Json {
        /// The line.
        origin: Origin,
        /// The parser's message, with the column.
        message: String,
    },

    /// A line holds bytes that are not UTF-8.
    Utf8 {
        /// The line.
        origin: Origin,
        /// 1-based byte column of the first wrong byte.
        column: usize,
    },

    /// A plain text file holds a NUL byte.
    BinaryText {
        /// The line.
        origin: Origin,
        /// 1-based byte column of the first NUL byte.
        column: usize,
    },

    /// A row does not fit its table.
    Table {
        /// The line on which the row begins.
        origin: Origin,
        /// What is wrong with it.
        message: String,
    },

    /// A record is longer than allowed; it was not read into memory.
    RecordTooLong {
        /// Where the record begins.
        origin: Origin,
        /// The most bytes allowed.
        limit: usize,
    },

    /// A file cannot be read on: a compressed stream or a Parquet file is damaged or cut off, or the disk failed.
    Damaged {
        /// The last place that was reached.
        origin: Origin,
        /// What the decoder or the operating system said.
        message: String,
    },

    /// A file needs a feature that this build does not have.
    FeatureMissing {
        /// The file.
        path: PathBuf,
        /// What the file is.
        what: &'static str,
        /// The feature.
        feature: &'static str,
    },

    /// A folder or a pattern holds no data file.
    NoFiles {
        /// The folder or pattern.
        path: PathBuf,
    },

    /// A file is not in the cache of the hub, and requests are forbidden.
    HubOffline {
        /// The file or pattern, with its repository and revision.
        what: String,
        /// The folder of the cache.
        cache: PathBuf,
    },

    /// The hub does not answer, refuses a file, or sends another one than it announced.
    Hub {
        /// What was asked for.
        url: String,
        /// What came.
        message: String,
    },

    /// A record is valid JSON but not an object with columns.
    NotAnObject {
        /// The record.
        origin: Origin,
        /// The JSON type that was found.
        found: &'static str,
    },

    /// A file holds no record at all.
    EmptyFile {
        /// The file.
        path: PathBuf,
    },

    /// A column that the shape or the column mapping needs is not in the record.
    MissingColumn {
        /// The record.
        origin: Origin,
        /// The column that was looked for.
        wanted: String,
        /// The columns of the record.
        found: Vec<String>,
        /// The column whose name is nearest to the wanted one, if one is near.
        nearest: Option<String>,
    },

    /// A column holds a value of the wrong JSON type.
    WrongType {
        /// The record.
        origin: Origin,
        /// The column, with its index or key where the value is nested (`messages[2].content`).
        column: String,
        /// The type that was wanted.
        wanted: &'static str,
        /// What was found.
        found: &'static str,
    },

    /// The columns of a record match none of the known shapes.
    UnknownShape {
        /// The first record of the file.
        origin: Origin,
        /// The columns of the record, as the file names them.
        found: Vec<String>,
    },

    /// A record has another shape than the first record of its file.
    MixedShapes {
        /// The first record of the other shape.
        origin: Origin,
        /// Its shape.
        found: Shape,
        /// The shape of the file's first record.
        wanted: Shape,
    },

    /// A column mapping names something that no shape knows.
    UnknownColumnMapping {
        /// The unknown name.
        name: String,
        /// The known name nearest to it, if one is near.
        nearest: Option<String>,
    },

    /// Two canonical columns are mapped to the same column of the file.
    DuplicateColumnMapping {
        /// The first canonical name.
        first: String,
        /// The second canonical name.
        second: String,
        /// The column of the file.
        column: String,
    },

    /// A column that is to be counted is in no record.
    UnknownLabel {
        /// The column that was named.
        found: String,
        /// The columns that there are.
        columns: Vec<String>,
    },

    /// A chat role is none of the known spellings.
    UnknownRole {
        /// The record.
        origin: Origin,
        /// Where the role stands (`messages[2].role`).
        column: String,
        /// The role that was found.
        found: String,
    },

    /// A record has nothing to learn from: its assistant part is empty or blank.
    NoAssistantText {
        /// The record.
        origin: Origin,
        /// What was found instead (`column "completion" is blank`).
        found: String,
    },

    /// A tokenizer file could not be used.
    Tokenizer {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A chat template does not parse or does not render.
    Template {
        /// The template engine's message, with the line of the template where known.
        message: String,
    },

    /// A record of messages needs a chat template, and the tokenizer has none.
    TemplateRequired {
        /// The first such record.
        origin: Origin,
    },

    /// A chat template does not render a conversation.
    TemplateRefused {
        /// The record.
        origin: Origin,
        /// The template's own message, or the template engine's.
        message: String,
    },

    /// Without `{% generation %}` tags, what the assistant says cannot be told from the rest.
    TurnsRewritten {
        /// The record.
        origin: Origin,
        /// The number of the assistant's message, counted from 0.
        turn: usize,
    },

    /// Truncation took the trained part of too many records.
    TooManyDropped {
        /// Records that were dropped.
        dropped: usize,
        /// Records in the set.
        records: usize,
        /// 100 · dropped / records.
        percent: f64,
        /// The limit in tokens that did it.
        max_length: usize,
        /// The first dropped records.
        first: Vec<Origin>,
    },

    /// Rows that share n-grams must stay together, and no group of them is small enough for the validation
    /// set.
    CannotSplit {
        /// Records wanted in the validation set.
        wanted: usize,
        /// Records in all.
        records: usize,
        /// Groups of records that share n-grams.
        groups: usize,
        /// Records in the smallest group.
        smallest: usize,
    },

    /// A file of signatures is not one, or was changed.
    SignatureFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// Signatures that were made with different parameters cannot be compared.
    SketchMismatch {
        /// The parameters that were found.
        found: String,
        /// The parameters that were wanted.
        wanted: String,
    },

    /// Groups stay together, and none fits into a part.
    EmptyPart {
        /// The part.
        part: String,
        /// Records wanted in it.
        wanted: usize,
        /// Records in all.
        records: usize,
        /// Groups of records that stay together.
        groups: usize,
        /// Records in the smallest group.
        smallest: usize,
    },

    /// A column that records are ordered by holds no time.
    InvalidTime {
        /// The record.
        origin: Origin,
        /// The column.
        column: String,
        /// What it holds.
        found: String,
        /// What is a time.
        wanted: &'static str,
    },

    /// What several processes wrote does not belong together.
    Shards {
        /// The shard's file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A cleaning pipeline does not parse, or one of its steps has a value that cannot be used.
    Pipeline {
        /// The file and the step.
        place: String,
        /// What is wrong and what was wanted.
        message: String,
    },

    /// A cleaning pipeline names a step, a field or a preset that does not exist.
    UnknownInPipeline {
        /// The file and the step.
        place: String,
        /// `step`, `field` or `preset`.
        what: &'static str,
        /// The name that was found.
        found: String,
        /// The known name nearest to it, if one is near.
        nearest: Option<String>,
        /// The names that exist.
        known: Vec<String>,
    },

    /// A file of encoded records could not be read or written.
    Cache {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        message: String,
    },

    /// A step left no record.
    NothingLeft {
        /// The step that removed the last record.
        step: &'static str,
        /// Records before the step.
        records: usize,
    },

    /// A configuration value is out of range.
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The values that are allowed.
        wanted: &'static str,
    },

    /// A cache of answers is open in another run.
    CacheInUse {
        /// The cache's file.
        path: PathBuf,
    },

    /// An extraction task is not one.
    Task {
        /// The file, where it came from one.
        path: Option<PathBuf>,
        /// What is wrong.
        message: String,
    },

    /// A model's answer does not hold extractions.
    Answer {
        /// What was found and what was wanted.
        message: String,
    },
}
