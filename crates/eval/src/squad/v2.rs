//! SQuAD v2.0: questions may have no answer.

use serde::{Deserialize, Serialize};

use super::{answer_exact_match, answer_f1, normalize_answer};
use crate::error::{EvalError, check_pairs};

/// Mean scores over a part of a set, 0..100, and its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SquadPart {
    /// Per cent of predictions that equal one of their references once normalised.
    pub exact_match: f64,
    /// Mean of the best token F1, times 100.
    pub f1: f64,
    /// Number of questions.
    pub count: usize,
}

/// SQuAD v2.0 over all questions, those with an answer and those without.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SquadV2Score {
    /// All questions.
    pub all: SquadPart,
    /// Questions with an answer; `None` when there is none.
    pub has_answer: Option<SquadPart>,
    /// Questions whose right answer is to say nothing; `None` when there is none.
    pub no_answer: Option<SquadPart>,
}

/// The references that are not empty once normalised, or one empty one.
fn usable<R: AsRef<str>>(references: &[R]) -> Vec<&str> {
    let mut kept: Vec<&str> =
        references.iter().map(AsRef::as_ref).filter(|answer| !normalize_answer(answer).is_empty()).collect();
    if kept.is_empty() {
        kept.push("");
    }
    kept
}

/// As [`answer_exact_match`], by the rules of v2.0: references that normalise to nothing do not count, and
/// without others saying nothing is right.
pub fn answer_exact_match_v2<R: AsRef<str>>(prediction: &str, references: &[R]) -> bool {
    answer_exact_match(prediction, &usable(references))
}

/// As [`answer_f1`], by the rules of v2.0: two empty answers have F1 1.
pub fn answer_f1_v2<R: AsRef<str>>(prediction: &str, references: &[R]) -> f64 {
    let references = usable(references);
    match normalize_answer(prediction).is_empty() {
        true => f64::from(u8::from(references == [""])),
        false => answer_f1(prediction, &references),
    }
}

/// Mean exact match and F1 by the rules of SQuAD v2.0 (Rajpurkar et al. 2018, "Know What You Don't Know"). An
/// empty list of references is a question without an answer.
///
/// # Errors
/// No questions, not equally many predictions and reference lists.
pub fn squad_v2<P: AsRef<str>, R: AsRef<str>>(
    predictions: &[P],
    references: &[Vec<R>],
) -> Result<SquadV2Score, EvalError> {
    check_pairs("squad v2", predictions.len(), references.len())?;
    let mut parts = [SquadPart::default(); 3];
    for (prediction, references) in predictions.iter().zip(references) {
        let exact = f64::from(u8::from(answer_exact_match_v2(prediction.as_ref(), references)));
        let f1 = answer_f1_v2(prediction.as_ref(), references);
        for part in [0, if usable(references) == [""] { 2 } else { 1 }] {
            parts[part].exact_match += exact;
            parts[part].f1 += f1;
            parts[part].count += 1;
        }
    }
    let mean = |part: SquadPart| {
        let count = part.count as f64;
        let (exact_match, f1) = (100.0 * part.exact_match / count, 100.0 * part.f1 / count);
        (part.count > 0).then_some(SquadPart { exact_match, f1, count: part.count })
    };
    let [all, has_answer, no_answer] = parts.map(mean);
    Ok(SquadV2Score { all: all.unwrap_or_default(), has_answer, no_answer })
}
