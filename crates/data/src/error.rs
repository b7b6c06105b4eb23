use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::record::{Origin, Shape};

/// Everything that can go wrong between a file and a token batch.
///
/// Every message says what was found, what was wanted and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be opened or read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file or directory could not be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A line (or element) is not valid JSON. A truncated last line ends up here too.
    #[error("{origin}: not valid JSON: {message}")]
    Json {
        /// The line.
        origin: Origin,
        /// The parser's message, with the column.
        message: String,
    },

    /// A line holds bytes that are not UTF-8.
    #[error("{origin}: not valid UTF-8 (first wrong byte at column {column})")]
    Utf8 {
        /// The line.
        origin: Origin,
        /// 1-based byte column of the first wrong byte.
        column: usize,
    },

    /// A plain text file holds a NUL byte.
    #[error("{origin}: a NUL byte at column {column}: a binary file, or UTF-16 without a byte order mark")]
    BinaryText {
        /// The line.
        origin: Origin,
        /// 1-based byte column of the first NUL byte.
        column: usize,
    },

    /// A row does not fit its table.
    #[error("{origin}: not a valid row: {message}")]
    Table {
        /// The line on which the row begins.
        origin: Origin,
        /// What is wrong with it.
        message: String,
    },

    /// A record is longer than allowed; it was not read into memory.
    #[error("{origin}: a record of more than {limit} bytes, the most allowed (`max_record_bytes`)")]
    RecordTooLong {
        /// Where the record begins.
        origin: Origin,
        /// The most bytes allowed.
        limit: usize,
    },

    /// A file cannot be read on: a compressed stream or a Parquet file is damaged or cut off, or the disk failed.
    #[error("{origin}: cannot be read from here on: {message}")]
    Damaged {
        /// The last place that was reached.
        origin: Origin,
        /// What the decoder or the operating system said.
        message: String,
    },

    /// A file needs a feature that this build does not have.
    #[error("cannot read {}: {what} needs the feature `{feature}` of burnisher-data", .path.display())]
    FeatureMissing {
        /// The file.
        path: PathBuf,
        /// What the file is.
        what: &'static str,
        /// The feature.
        feature: &'static str,
    },

    /// A folder or a pattern holds no data file.
    #[error(
        "{} holds no data file; wanted names that end in {}, or in one of them and .gz or .zst",
        .path.display(),
        crate::source::Format::endings()
    )]
    NoFiles {
        /// The folder or pattern.
        path: PathBuf,
    },

    /// A file is not in the cache of the hub, and requests are forbidden.
    #[error("{what} is not in the cache {}, and requests are forbidden (HF_HUB_OFFLINE)", .cache.display())]
    HubOffline {
        /// The file or pattern, with its repository and revision.
        what: String,
        /// The folder of the cache.
        cache: PathBuf,
    },

    /// The hub does not answer, refuses a file, or sends another one than it announced.
    #[error("{url}: {message}")]
    Hub {
        /// What was asked for.
        url: String,
        /// What came.
        message: String,
    },

    /// A record is valid JSON but not an object with columns.
    #[error("{origin}: a record must be a JSON object, found {found}")]
    NotAnObject {
        /// The record.
        origin: Origin,
        /// The JSON type that was found.
        found: &'static str,
    },

    /// A file holds no record at all.
    #[error("{} holds no records", .path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },

    /// A column that the shape or the column mapping needs is not in the record.
    #[error(
        "{origin}: column {wanted:?} is missing{}; the record has: {}",
        did_you_mean(.nearest.as_deref()),
        list(.found)
    )]
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
    #[error("{origin}: column {column:?} must hold {wanted}, found {found}")]
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
    #[error(
        "{origin}: no known shape has the columns {}; wanted {} (other names can be mapped with `columns`){}",
        list(.found),
        Shape::columns_of_all(),
        crate::source::advice(.found)
    )]
    UnknownShape {
        /// The first record of the file.
        origin: Origin,
        /// The columns of the record, as the file names them.
        found: Vec<String>,
    },

    /// A record has another shape than the first record of its file.
    #[error(
        "{origin}: this record has the shape {found}, the file began with {wanted}; one file must hold one shape"
    )]
    MixedShapes {
        /// The first record of the other shape.
        origin: Origin,
        /// Its shape.
        found: Shape,
        /// The shape of the file's first record.
        wanted: Shape,
    },

    /// A column mapping names something that no shape knows.
    #[error(
        "columns: {name:?} is not a column of any shape{}; known are {}",
        did_you_mean(.nearest.as_deref()),
        Shape::canonical_columns().join(", ")
    )]
    UnknownColumnMapping {
        /// The unknown name.
        name: String,
        /// The known name nearest to it, if one is near.
        nearest: Option<String>,
    },

    /// Two canonical columns are mapped to the same column of the file.
    #[error("columns: {first:?} and {second:?} are both mapped to {column:?}")]
    DuplicateColumnMapping {
        /// The first canonical name.
        first: String,
        /// The second canonical name.
        second: String,
        /// The column of the file.
        column: String,
    },

    /// A column that is to be counted is in no record.
    #[error("labels: no record has a column {found:?}; columns beyond the records' shape: {}", list(.columns))]
    UnknownLabel {
        /// The column that was named.
        found: String,
        /// The columns that there are.
        columns: Vec<String>,
    },

    /// A chat role is none of the known spellings.
    #[error(
        "{origin}: {column} is {found:?}; wanted one of {}",
        list(&crate::source::speakers())
    )]
    UnknownRole {
        /// The record.
        origin: Origin,
        /// Where the role stands (`messages[2].role`).
        column: String,
        /// The role that was found.
        found: String,
    },

    /// A record has nothing to learn from: its assistant part is empty or blank.
    #[error("{origin}: no assistant text: {found}")]
    NoAssistantText {
        /// The record.
        origin: Origin,
        /// What was found instead (`column "completion" is blank`).
        found: String,
    },

    /// A tokenizer file could not be used.
    #[error("tokenizer {}: {message}", .path.display())]
    Tokenizer {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A chat template does not parse or does not render.
    #[error("chat template: {message}")]
    Template {
        /// The template engine's message, with the line of the template where known.
        message: String,
    },

    /// A record of messages needs a chat template, and the tokenizer has none.
    #[error("{origin}: a record of messages needs a chat template, and the tokenizer has none")]
    TemplateRequired {
        /// The first such record.
        origin: Origin,
    },

    /// A chat template does not render a conversation.
    #[error("{origin}: the chat template does not render this conversation: {message}")]
    TemplateRefused {
        /// The record.
        origin: Origin,
        /// The template's own message, or the template engine's.
        message: String,
    },

    /// Without `{% generation %}` tags, what the assistant says cannot be told from the rest.
    #[error(
        "{origin}: cannot tell which tokens are the assistant's: rendered up to messages[{turn}], the conversation \
         is not a beginning of the whole; the chat template needs {{% generation %}} tags around the assistant's text"
    )]
    TurnsRewritten {
        /// The record.
        origin: Origin,
        /// The number of the assistant's message, counted from 0.
        turn: usize,
    },

    /// Truncation took the trained part of too many records.
    #[error(
        "{dropped} of {records} records ({percent:.1} %) lose their whole trained part when cut to \
         max_length = {max_length}, more than the 5 % allowed; first: {}",
        list(.first)
    )]
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
    #[error(
        "cannot take {wanted} of {records} records for validation: records that share a 13-gram stay together, \
         and the smallest of the {groups} groups has {smallest} records"
    )]
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
    #[error("signature file {}: {message}", .path.display())]
    SignatureFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// Signatures that were made with different parameters cannot be compared.
    #[error("signatures made by {found} cannot be compared with signatures made by {wanted}")]
    SketchMismatch {
        /// The parameters that were found.
        found: String,
        /// The parameters that were wanted.
        wanted: String,
    },

    /// Groups stay together, and none fits into a part.
    #[error(
        "part {part:?} stays empty: {wanted} of {records} records are wanted for it, and the groups that stay together \
         do not fit (the smallest of {groups} has {smallest} records)"
    )]
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
    #[error("{origin}: column {column:?} is {found}; wanted {wanted}")]
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
    #[error("shard {}: {message}", .path.display())]
    Shards {
        /// The shard's file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A cleaning pipeline does not parse, or one of its steps has a value that cannot be used.
    #[error("{place}: {message}")]
    Pipeline {
        /// The file and the step.
        place: String,
        /// What is wrong and what was wanted.
        message: String,
    },

    /// A cleaning pipeline names a step, a field or a preset that does not exist.
    #[error(
        "{place}: no {what} is called {found:?}{}; known are {}",
        did_you_mean(.nearest.as_deref()),
        list(.known)
    )]
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
    #[error("token cache {}: {message}", .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        message: String,
    },

    /// A step left no record.
    #[error("nothing left: {step} left none of {records} records")]
    NothingLeft {
        /// The step that removed the last record.
        step: &'static str,
        /// Records before the step.
        records: usize,
    },

    /// A configuration value is out of range.
    #[error("{field} is {found}; wanted {wanted}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The values that are allowed.
        wanted: &'static str,
    },

    /// A cache of answers is open in another run.
    #[error("{} is open in another run; wanted a cache that no other run uses", .path.display())]
    CacheInUse {
        /// The cache's file.
        path: PathBuf,
    },

    /// An extraction task is not one.
    #[error("extraction task{}: {message}", at_path(.path.as_deref()))]
    Task {
        /// The file, where it came from one.
        path: Option<PathBuf>,
        /// What is wrong.
        message: String,
    },

    /// A model's answer does not hold extractions.
    #[error("the model's answer: {message}")]
    Answer {
        /// What was found and what was wanted.
        message: String,
    },
}

/// ` PATH`, or nothing.
fn at_path(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| format!(" {}", path.display()))
}

impl DataError {
    /// The place of a record that cannot be read; `None` for errors that are not about one.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Json { origin, .. }
            | Self::Utf8 { origin, .. }
            | Self::BinaryText { origin, .. }
            | Self::Table { origin, .. }
            | Self::RecordTooLong { origin, .. }
            | Self::Damaged { origin, .. }
            | Self::NotAnObject { origin, .. }
            | Self::MissingColumn { origin, .. }
            | Self::WrongType { origin, .. }
            | Self::UnknownShape { origin, .. }
            | Self::MixedShapes { origin, .. }
            | Self::UnknownRole { origin, .. }
            | Self::NoAssistantText { origin, .. } => Some(origin),
            _ => None,
        }
    }
}

/// `a, b, c`, or `nothing` for an empty list.
fn list<T: Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"))
}
