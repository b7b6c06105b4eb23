//! Word and character error rate: edits per unit of the reference.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::error::{EvalError, check_pairs};
use crate::interner::Interner;
use crate::text::{is_space, words};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorUnit {
    /// Words between white space: WER.
    Words,
    /// Code points, without white space at the ends: CER.
    Characters,
}

/// Edits (substitutions, deletions and insertions) and what they are held against. Those of a corpus are the
/// sum of those of its texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRate {
    /// Fewest edits that turn the reference into the prediction.
    pub edits: u64,
    /// Units of the reference.
    pub reference_length: u64,
}

impl ErrorRate {
    /// Edits per unit of the reference, 0.., lower is better; above 1 where much was added. Against an empty
    /// reference, the number of edits.
    pub fn rate(&self) -> f64 {
        self.edits as f64 / self.reference_length.max(1) as f64
    }
}

impl AddAssign for ErrorRate {
    fn add_assign(&mut self, other: Self) {
        self.edits += other.edits;
        self.reference_length += other.reference_length;
    }
}

/// The edits of one text, as jiwer 4.0 counts them, without any normalisation.
pub fn text_errors(prediction: &str, reference: &str, unit: ErrorUnit) -> ErrorRate {
    let mut interner = Interner::default();
    let mut units = |text| match unit {
        ErrorUnit::Words => interner.numbers(words(text)),
        ErrorUnit::Characters => text.trim_matches(is_space).chars().map(u32::from).collect(),
    };
    let (prediction, reference) = (units(prediction), units(reference));
    ErrorRate { edits: levenshtein(&prediction, &reference) as u64, reference_length: reference.len() as u64 }
}

/// The edits of a corpus: all edits over all units, so long texts weigh more.
///
/// # Errors
/// No texts, not equally many predictions and references.
pub fn corpus_errors<P: AsRef<str>, R: AsRef<str>>(
    predictions: &[P],
    references: &[R],
    unit: ErrorUnit,
) -> Result<ErrorRate, EvalError> {
    check_pairs("error rate", predictions.len(), references.len())?;
    let mut sum = ErrorRate::default();
    for (prediction, reference) in predictions.iter().zip(references) {
        sum += text_errors(prediction.as_ref(), reference.as_ref(), unit);
    }
    Ok(sum)
}

fn levenshtein(left: &[u32], right: &[u32]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, token) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in right.iter().enumerate() {
            let above = row[column + 1];
            row[column + 1] = (diagonal + usize::from(token != other)).min(above + 1).min(row[column] + 1);
            diagonal = above;
        }
    }
    row[right.len()]
}
