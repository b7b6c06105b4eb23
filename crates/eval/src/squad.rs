//! SQuAD: exact match and token F1 over normalised answers.

mod v2;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use self::v2::{SquadPart, SquadV2Score, answer_exact_match_v2, answer_f1_v2, squad_v2};
use crate::error::{EvalError, check_references};
use crate::text::collapse;

/// Mean scores over a set, 0..100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SquadScore {
    /// Per cent of predictions that equal one of their references once normalised.
    pub exact_match: f64,
    /// Mean of the best token F1 of each prediction, times 100.
    pub f1: f64,
    /// Number of examples.
    pub count: usize,
}

/// Lower case, without ASCII punctuation, without the words a, an and the, words joined by single spaces.
///
/// The steps and their order are those of `normalize_answer` in the official SQuAD v1.1 script
/// (Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text"). Punctuation goes
/// first, so "New York-based" becomes "new yorkbased".
pub fn normalize_answer(answer: &str) -> String {
    let mut text = answer.to_lowercase();
    text.retain(|c| !c.is_ascii_punctuation());
    collapse(&drop_articles(&text))
}

/// Whether the prediction equals one of the references, all normalised. `false` without references.
pub fn answer_exact_match<R: AsRef<str>>(prediction: &str, references: &[R]) -> bool {
    let prediction = normalize_answer(prediction);
    references.iter().any(|reference| normalize_answer(reference.as_ref()) == prediction)
}

/// The best F1 = 2PR / (P + R) of the prediction over the references, 0..1, on bags of normalised words.
///
/// P and R are the shared words over the words of the prediction and of the reference. As in SQuAD v1.1, no
/// shared word gives 0, also when both are empty. 0 without references.
pub fn answer_f1<R: AsRef<str>>(prediction: &str, references: &[R]) -> f64 {
    let prediction = normalize_answer(prediction);
    references
        .iter()
        .map(|reference| bag_f1(&prediction, &normalize_answer(reference.as_ref())))
        .fold(0.0, f64::max)
}

/// Mean exact match and mean F1 over a set, each prediction against all of its references.
///
/// # Errors
/// No examples, not equally many predictions and reference lists, an empty reference list.
pub fn squad<P: AsRef<str>, R: AsRef<str>>(
    predictions: &[P],
    references: &[Vec<R>],
) -> Result<SquadScore, EvalError> {
    check_references("squad", predictions.len(), references)?;
    let (mut hits, mut f1) = (0usize, 0.0);
    for (prediction, answers) in predictions.iter().zip(references) {
        hits += usize::from(answer_exact_match(prediction.as_ref(), answers));
        f1 += answer_f1(prediction.as_ref(), answers);
    }
    let count = predictions.len();
    Ok(SquadScore { exact_match: 100.0 * hits as f64 / count as f64, f1: 100.0 * f1 / count as f64, count })
}

/// Replaces every maximal run of letters and digits that is an article by a space.
fn drop_articles(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        out.push_str(if matches!(word, "a" | "an" | "the") { " " } else { word });
        let gap = tail.find(char::is_alphanumeric).unwrap_or(tail.len());
        out.push_str(&tail[..gap]);
        rest = &tail[gap..];
    }
    out
}

fn bag_f1(prediction: &str, reference: &str) -> f64 {
    let mut bag: HashMap<&str, usize> = HashMap::new();
    let mut reference_words = 0usize;
    for word in reference.split_whitespace() {
        *bag.entry(word).or_default() += 1;
        reference_words += 1;
    }
    let (mut prediction_words, mut shared) = (0usize, 0usize);
    for word in prediction.split_whitespace() {
        prediction_words += 1;
        if let Some(left) = bag.get_mut(word).filter(|left| **left > 0) {
            *left -= 1;
            shared += 1;
        }
    }
    if shared == 0 {
        return 0.0;
    }
    let precision = shared as f64 / prediction_words as f64;
    let recall = shared as f64 / reference_words as f64;
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_words_count_as_often_as_both_have_them() {
        // 2 of 3 predicted words and 2 of 2 wanted words are shared.
        assert!((answer_f1("tram tram tram", &["tram tram"]) - 0.8).abs() < 1e-12);
        assert_eq!(answer_f1("", &[""]), 0.0);
        assert!(answer_exact_match("the", &[""]));
    }

    #[test]
    fn an_example_without_references_is_named() {
        let error = squad(&["a", "b"], &[vec!["a"], vec![]]).unwrap_err();
        assert_eq!(error.to_string(), "squad: example 1 has no reference answer, wanted at least one");
    }
}
