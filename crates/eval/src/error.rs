//! The one error type of this crate.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Why a metric could not be computed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A mean over nothing was asked for.
    #[error("{metric}: found no examples, wanted at least one")]
    Empty {
        /// Name of the metric.
        metric: &'static str,
    },
    /// Predictions and references do not pair up.
    #[error("{metric}: found {predictions} predictions and {references} references, wanted equally many")]
    LengthMismatch {
        /// Name of the metric.
        metric: &'static str,
        /// Number of predictions.
        predictions: usize,
        /// Number of references.
        references: usize,
    },
    /// An example came without a reference answer.
    #[error("{metric}: example {index} has no reference answer, wanted at least one")]
    NoReference {
        /// Name of the metric.
        metric: &'static str,
        /// Position of the example, from 0.
        index: usize,
    },
    /// A text came without scored tokens.
    #[error("{metric}: text {index} has no scored token, wanted at least one")]
    NoTokens {
        /// Name of the metric.
        metric: &'static str,
        /// Position of the text, from 0.
        index: usize,
    },
    /// The texts hold no bytes, so a loss per byte does not exist.
    #[error("{metric}: the texts hold 0 bytes together, wanted at least one")]
    NoBytes {
        /// Name of the metric.
        metric: &'static str,
    },
    /// A loss is infinite or not a number.
    #[error("{metric}: the loss of text {index} is {value}, wanted a finite number")]
    NonFinite {
        /// Name of the metric.
        metric: &'static str,
        /// Position of the text, from 0.
        index: usize,
        /// The loss found.
        value: f64,
    },
    /// A pattern to ignore is not a regular expression.
    #[error("exact match: pattern {index} to ignore, `{pattern}`, is not a regular expression")]
    Pattern {
        /// Position of the pattern, from 0.
        index: usize,
        /// The pattern as given.
        pattern: String,
        /// What the parser says about it.
        source: Box<regex::Error>,
    },
    /// A pattern of an answer is not a regular expression.
    #[error("answer filter: pattern `{pattern}` is not a regular expression")]
    AnswerPattern {
        /// The beginning of the pattern.
        pattern: String,
        /// What the parser says about it.
        source: Box<regex::Error>,
    },
    /// An option lies outside its range.
    #[error("{metric}: found {option} = {found}, wanted {wanted}")]
    Option {
        /// Name of the metric or the method.
        metric: &'static str,
        /// Name of the option.
        option: &'static str,
        /// The value found.
        found: String,
        /// The values allowed.
        wanted: &'static str,
    },
    /// A name that is none of those known.
    #[error("found {kind} `{found}`, wanted one of {wanted}")]
    UnknownName {
        /// What the name should name.
        kind: &'static str,
        /// The name found.
        found: String,
        /// The names known, separated by commas.
        wanted: String,
    },
    /// A reference answer holds no JSON object.
    #[error("{metric}: reference {reference} of example {index} holds no JSON object: `{found}`")]
    ReferenceNotJson {
        /// Name of the metric.
        metric: &'static str,
        /// Position of the example, from 0.
        index: usize,
        /// Position of the reference among those of the example, from 0.
        reference: usize,
        /// The beginning of the reference.
        found: String,
    },
    /// A statistic has no finite value on a resample.
    #[error("bootstrap: the statistic is {value} on {place}, wanted a finite number")]
    Statistic {
        /// `the examples` or the number of the resample.
        place: String,
        /// The value found.
        value: f64,
    },
    /// Two systems do not pair up.
    #[error(
        "{metric}: found {base} examples of the base and {tuned} of the tuned system, wanted equally many"
    )]
    SystemMismatch {
        /// Name of the metric or the method.
        metric: &'static str,
        /// Examples of the base system.
        base: usize,
        /// Examples of the tuned system.
        tuned: usize,
    },
    /// Streams of references have different lengths.
    #[error("{metric}: reference stream {stream} has {found} segments, wanted {wanted} as in stream 0")]
    StreamLength {
        /// Name of the metric.
        metric: &'static str,
        /// Position of the stream, from 0.
        stream: usize,
        /// Its number of segments.
        found: usize,
        /// Number of segments of the first stream.
        wanted: usize,
    },
    /// Two systems scored different tokens of one text.
    #[error(
        "{metric}: text {index} has {base} tokens for the base and {tuned} for the tuned model, wanted the same tokens"
    )]
    TokenMismatch {
        /// Name of the metric.
        metric: &'static str,
        /// Position of the text, from 0.
        index: usize,
        /// Tokens the base model scored.
        base: usize,
        /// Tokens the tuned model scored.
        tuned: usize,
    },
    /// The base loss is zero or negative, so a change relative to it does not exist.
    #[error("{metric}: found a base loss of {loss} per token, wanted one above 0")]
    NoRelativeChange {
        /// Name of the metric.
        metric: &'static str,
        /// The base loss in nats per token.
        loss: f64,
    },
    /// A tag that the scheme does not have.
    #[error("tagging: token {token} of sentence {sentence} has the tag `{found}`, wanted {wanted}")]
    Tag {
        /// Position of the sentence, from 0.
        sentence: usize,
        /// Position of the token, from 0.
        token: usize,
        /// The tag found.
        found: String,
        /// The tags allowed.
        wanted: &'static str,
    },
    /// A sentence is tagged at another length than its reference.
    #[error(
        "{metric}: sentence {sentence} has {predictions} predicted and {references} reference tags, wanted equally many"
    )]
    SentenceLength {
        /// Name of the metric.
        metric: &'static str,
        /// Position of the sentence, from 0.
        sentence: usize,
        /// Number of predicted tags.
        predictions: usize,
        /// Number of reference tags.
        references: usize,
    },
    /// A value of the input lies outside what the metric can take.
    #[error("{metric}: {what} {index} is {found}, wanted {wanted}")]
    Value {
        /// Name of the metric.
        metric: &'static str,
        /// What the value belongs to, such as `example` or `item`.
        what: &'static str,
        /// Its position, from 0.
        index: usize,
        /// The value found.
        found: String,
        /// The values allowed.
        wanted: &'static str,
    },
    /// A free field would hide one of the report's own.
    #[error("report: found a field named `{name}`, wanted a name other than {reserved}")]
    ReservedField {
        /// The name found.
        name: String,
        /// The report's own fields, separated by commas.
        reserved: String,
    },
    /// One of several systems could not be compared.
    #[error("system `{system}`: {source}")]
    System {
        /// Its name.
        system: String,
        /// Why.
        source: Box<EvalError>,
    },
    /// A task file is not there or is not what its ending says.
    #[error("{}: {message}", path.display())]
    TaskFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A task has fields that cannot be used. All of them are listed.
    #[error("{task} has {}", list_problems(.problems))]
    Task {
        /// The file, or the task by its name.
        task: String,
        /// What is wrong.
        problems: Vec<TaskProblem>,
    },
    /// A row, or a response to it, does not fit the task.
    #[error("task `{task}`, {place}: {field}: {message}")]
    TaskItem {
        /// The name of the task.
        task: String,
        /// Where the row is from.
        place: String,
        /// The field of the task, or `response`.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A report could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says about it.
        source: std::io::Error,
    },
}

/// A field of a task and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskProblem {
    /// The field: `prompt`, `filters[1]`.
    pub field: String,
    /// What was found and what was wanted.
    pub message: String,
}

impl TaskProblem {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for TaskProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// `2 problems:` and one indented line for each.
fn list_problems(problems: &[TaskProblem]) -> String {
    let mut text = format!("{} problem{}:", problems.len(), if problems.len() == 1 { "" } else { "s" });
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
    }
    text
}

/// Fails unless predictions and references pair up and there is at least one pair.
pub(crate) fn check_pairs(
    metric: &'static str,
    predictions: usize,
    references: usize,
) -> Result<(), EvalError> {
    if predictions != references {
        return Err(EvalError::LengthMismatch { metric, predictions, references });
    }
    if predictions == 0 {
        return Err(EvalError::Empty { metric });
    }
    Ok(())
}

/// As [`check_pairs`], and every example has a reference.
pub(crate) fn check_references<R>(
    metric: &'static str,
    predictions: usize,
    references: &[Vec<R>],
) -> Result<(), EvalError> {
    check_pairs(metric, predictions, references.len())?;
    match references.iter().position(Vec::is_empty) {
        Some(index) => Err(EvalError::NoReference { metric, index }),
        None => Ok(()),
    }
}

/// Fails unless both systems have the same number of examples and at least one.
pub(crate) fn check_systems(metric: &'static str, base: usize, tuned: usize) -> Result<(), EvalError> {
    if base != tuned {
        return Err(EvalError::SystemMismatch { metric, base, tuned });
    }
    check_pairs(metric, tuned, base)
}
