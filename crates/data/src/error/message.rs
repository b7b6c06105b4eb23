use std::error::Error;
use std::fmt::{self, Display};
use std::path::Path;

use super::DataError;
use crate::record::Shape;
use crate::source::{Format, advice, speakers};

impl Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Write { path, source } => write!(f, "cannot write {}: {source}", path.display()),
            Self::Json { origin, message } => write!(f, "{origin}: not valid JSON: {message}"),
            Self::Utf8 { origin, column } => {
                write!(f, "{origin}: not valid UTF-8 (first wrong byte at column {column})")
            }
            Self::BinaryText { origin, column } => write!(
                f,
                "{origin}: a NUL byte at column {column}: a binary file, or UTF-16 without a byte \
                 order mark"
            ),
            Self::Table { origin, message } => write!(f, "{origin}: not a valid row: {message}"),
            Self::RecordTooLong { origin, limit } => write!(
                f,
                "{origin}: a record of more than {limit} bytes, the most allowed \
                 (`max_record_bytes`)"
            ),
            Self::Damaged { origin, message } => {
                write!(f, "{origin}: cannot be read from here on: {message}")
            }
            Self::FeatureMissing { path, what, feature } => write!(
                f,
                "cannot read {}: {what} needs the feature `{feature}` of burnisher-data",
                path.display()
            ),
            Self::NoFiles { path } => write!(
                f,
                "{} holds no data file; wanted names that end in {}, or in one of them and .gz or \
                 .zst",
                path.display(),
                Format::endings()
            ),
            Self::HubOffline { what, cache } => write!(
                f,
                "{what} is not in the cache {}, and requests are forbidden (HF_HUB_OFFLINE)",
                cache.display()
            ),
            Self::Hub { url, message } => write!(f, "{url}: {message}"),
            Self::NotAnObject { origin, found } => {
                write!(f, "{origin}: a record must be a JSON object, found {found}")
            }
            Self::EmptyFile { path } => write!(f, "{} holds no records", path.display()),
            Self::MissingColumn { origin, wanted, found, nearest } => write!(
                f,
                "{origin}: column {wanted:?} is missing{}; the record has: {}",
                did_you_mean(nearest.as_deref()),
                list(found)
            ),
            Self::WrongType { origin, column, wanted, found } => {
                write!(f, "{origin}: column {column:?} must hold {wanted}, found {found}")
            }
            Self::UnknownShape { origin, found } => write!(
                f,
                "{origin}: no known shape has the columns {}; wanted {} (other names can be \
                 mapped with `columns`){}",
                list(found),
                Shape::columns_of_all(),
                advice(found)
            ),
            Self::MixedShapes { origin, found, wanted } => write!(
                f,
                "{origin}: this record has the shape {found}, the file began with {wanted}; one \
                 file must hold one shape"
            ),
            Self::UnknownColumnMapping { name, nearest } => write!(
                f,
                "columns: {name:?} is not a column of any shape{}; known are {}",
                did_you_mean(nearest.as_deref()),
                Shape::canonical_columns().join(", ")
            ),
            Self::DuplicateColumnMapping { first, second, column } => {
                write!(f, "columns: {first:?} and {second:?} are both mapped to {column:?}")
            }
            Self::UnknownLabel { found, columns } => write!(
                f,
                "labels: no record has a column {found:?}; columns beyond the records' shape: {}",
                list(columns)
            ),
            Self::UnknownRole { origin, column, found } => {
                write!(f, "{origin}: {column} is {found:?}; wanted one of {}", list(&speakers()))
            }
            Self::NoAssistantText { origin, found } => write!(f, "{origin}: no assistant text: {found}"),
            Self::Tokenizer { path, message } => write!(f, "tokenizer {}: {message}", path.display()),
            Self::Template { message } => write!(f, "chat template: {message}"),
            Self::TemplateRequired { origin } => {
                write!(f, "{origin}: a record of messages needs a chat template, and the tokenizer has none")
            }
            Self::TemplateRefused { origin, message } => {
                write!(f, "{origin}: the chat template does not render this conversation: {message}")
            }
            Self::TurnsRewritten { origin, turn } => write!(
                f,
                "{origin}: cannot tell which tokens are the assistant's: rendered up to \
                 messages[{turn}], the conversation is not a beginning of the whole; the chat \
                 template needs {{% generation %}} tags around the assistant's text"
            ),
            Self::TooManyDropped { dropped, records, percent, max_length, first } => write!(
                f,
                "{dropped} of {records} records ({percent:.1} %) lose their whole trained part \
                 when cut to max_length = {max_length}, more than the 5 % allowed; first: {}",
                list(first)
            ),
            Self::CannotSplit { wanted, records, groups, smallest } => write!(
                f,
                "cannot take {wanted} of {records} records for validation: records that share \
                 text or a cluster stay together, and the smallest of the {groups} groups has {smallest} \
                 records"
            ),
            Self::SignatureFile { path, message } => {
                write!(f, "signature file {}: {message}", path.display())
            }
            Self::SketchMismatch { found, wanted } => {
                write!(f, "signatures made by {found} cannot be compared with signatures made by {wanted}")
            }
            Self::EmptyPart { part, wanted, records, groups, smallest } => write!(
                f,
                "part {part:?} stays empty: {wanted} of {records} records are wanted for it, and \
                 the groups that stay together do not fit (the smallest of {groups} has {smallest} \
                 records)"
            ),
            Self::InvalidTime { origin, column, found, wanted } => {
                write!(f, "{origin}: column {column:?} is {found}; wanted {wanted}")
            }
            Self::Shards { path, message } => write!(f, "shard {}: {message}", path.display()),
            Self::Pipeline { place, message } => write!(f, "{place}: {message}"),
            Self::UnknownInPipeline { place, what, found, nearest, known } => write!(
                f,
                "{place}: no {what} is called {found:?}{}; known are {}",
                did_you_mean(nearest.as_deref()),
                list(known)
            ),
            Self::Cache { path, message } => write!(f, "token cache {}: {message}", path.display()),
            Self::NothingLeft { step, records } => {
                write!(f, "nothing left: {step} left none of {records} records")
            }
            Self::InvalidConfig { field, found, wanted } => write!(f, "{field} is {found}; wanted {wanted}"),
            Self::CacheInUse { path } => {
                write!(f, "{} is open in another run; wanted a cache that no other run uses", path.display())
            }
            Self::Task { path, message } => {
                write!(f, "extraction task{}: {message}", at_path(path.as_deref()))
            }
            Self::Answer { message } => write!(f, "the model's answer: {message}"),
        }
    }
}

impl Error for DataError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::Json { .. }
            | Self::Utf8 { .. }
            | Self::BinaryText { .. }
            | Self::Table { .. }
            | Self::RecordTooLong { .. }
            | Self::Damaged { .. }
            | Self::FeatureMissing { .. }
            | Self::NoFiles { .. }
            | Self::HubOffline { .. }
            | Self::Hub { .. }
            | Self::NotAnObject { .. }
            | Self::EmptyFile { .. }
            | Self::MissingColumn { .. }
            | Self::WrongType { .. }
            | Self::UnknownShape { .. }
            | Self::MixedShapes { .. }
            | Self::UnknownColumnMapping { .. }
            | Self::DuplicateColumnMapping { .. }
            | Self::UnknownLabel { .. }
            | Self::UnknownRole { .. }
            | Self::NoAssistantText { .. }
            | Self::Tokenizer { .. }
            | Self::Template { .. }
            | Self::TemplateRequired { .. }
            | Self::TemplateRefused { .. }
            | Self::TurnsRewritten { .. }
            | Self::TooManyDropped { .. }
            | Self::CannotSplit { .. }
            | Self::SignatureFile { .. }
            | Self::SketchMismatch { .. }
            | Self::EmptyPart { .. }
            | Self::InvalidTime { .. }
            | Self::Shards { .. }
            | Self::Pipeline { .. }
            | Self::UnknownInPipeline { .. }
            | Self::Cache { .. }
            | Self::NothingLeft { .. }
            | Self::InvalidConfig { .. }
            | Self::CacheInUse { .. }
            | Self::Task { .. }
            | Self::Answer { .. } => None,
        }
    }
}

/// ` PATH`, or nothing.
fn at_path(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| format!(" {}", path.display()))
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
