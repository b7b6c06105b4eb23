//! The one error type of this crate.

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
