use std::collections::BTreeMap;
use std::fmt;

use crate::error::DataError;
use crate::record::Origin;

/// Places that a report names.
const NAMED: usize = 20;

/// What happens to a record, or a rest of a file, that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnError {
    /// The first one ends the reading with its error.
    #[default]
    Stop,
    /// It is left out and counted in the [`SourceReport`]. Where a file cannot be read on (a broken array, a
    /// compressed stream that is cut off), its rest counts as one.
    Skip,
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// A line or element that is not JSON, or a row that does not fit its table.
    NotValid,
    /// Bytes that are no characters.
    NotText,
    /// Longer than allowed.
    TooLong,
    /// Columns missing, of the wrong type or of another shape than the file's.
    WrongColumns,
    /// Nothing to learn.
    NoAnswer,
    /// A file, or the rest of one, that cannot be read.
    Unreadable,
    /// A file of a set without a record.
    EmptyFile,
    /// A file of a folder that is no data file, by its name.
    NoDataFile,
    /// A folder that was met before, by a symbolic link, or that a pattern matched.
    Folder,
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

impl SkipReason {
    pub(crate) fn of(error: &DataError) -> Self {
        match error {
            DataError::Json { .. } | DataError::Table { .. } => Self::NotValid,
            DataError::Utf8 { .. } | DataError::BinaryText { .. } => Self::NotText,
            DataError::RecordTooLong { .. } => Self::TooLong,
            DataError::NoAssistantText { .. } => Self::NoAnswer,
            DataError::EmptyFile { .. } => Self::EmptyFile,
            DataError::NotAnObject { .. }
            | DataError::MissingColumn { .. }
            | DataError::WrongType { .. }
            | DataError::UnknownShape { .. }
            | DataError::MixedShapes { .. }
            | DataError::UnknownRole { .. } => Self::WrongColumns,
            _ => Self::Unreadable,
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotValid => "not valid",
            Self::NotText => "no characters",
            Self::TooLong => "too long",
            Self::WrongColumns => "wrong columns",
            Self::NoAnswer => "nothing to learn",
            Self::Unreadable => "unreadable",
            Self::EmptyFile => "empty file",
            Self::NoDataFile => "no data file",
            Self::Folder => "folder",
        })
    }
}

/// One thing that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Where it stands.
    pub origin: Origin,
    /// Why it was left out.
    pub reason: SkipReason,
    /// The whole message, with the place.
    pub message: String,
}

/// What was read from a source, and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SourceReport {
    /// Files that were read.
    pub files: usize,
    /// Good records of the whole source; a shard gets its part of them.
    pub records: usize,
    /// What was left out, by reason.
    pub skipped: BTreeMap<SkipReason, usize>,
    /// The first 20 things that were left out, in the order of reading.
    pub first: Vec<Skipped>,
    /// Files that were in another encoding than UTF-8, and its name.
    pub decoded: Vec<(String, &'static str)>,
}

impl SourceReport {
    /// How many things were left out.
    pub fn total_skipped(&self) -> usize {
        self.skipped.values().sum()
    }

    pub(crate) fn skip(&mut self, origin: Origin, reason: SkipReason, message: String) {
        *self.skipped.entry(reason).or_default() += 1;
        if self.first.len() < NAMED {
            self.first.push(Skipped { origin, reason, message });
        }
    }
}

impl fmt::Display for SourceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records from {} files", self.records, self.files)?;
        if !self.skipped.is_empty() {
            let counts: Vec<String> =
                self.skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            write!(f, "; left out: {}", counts.join(", "))?;
        }
        for skipped in &self.first {
            write!(f, "\n  {}: {}", skipped.reason, skipped.message)?;
        }
        for (file, charset) in &self.decoded {
            write!(f, "\n  {file}: read as {charset}")?;
        }
        Ok(())
    }
}
