//! Perplexity in its two definitions, and bits per byte.

use serde::{Deserialize, Serialize};

use crate::error::EvalError;

/// The loss of one text under a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextLoss {
    /// Sum of the token losses −ln p(token | tokens before), in nats.
    pub sum: f64,
    /// Number of tokens in that sum.
    pub tokens: usize,
    /// Length of the text in UTF-8 bytes. Only [`bits_per_byte`] reads it.
    pub bytes: usize,
}

impl TextLoss {
    /// Adds up the losses (nats) of a text's scored tokens; `bytes` is the text's UTF-8 length.
    pub fn from_token_losses(losses: impl IntoIterator<Item = f64>, bytes: usize) -> Self {
        let (sum, tokens) =
            losses.into_iter().fold((0.0_f64, 0_usize), |(sum, tokens), loss| (sum + loss, tokens + 1));
        Self { sum, tokens, bytes }
    }
}

/// exp(Σ losses / Σ tokens): every token weighs the same.
///
/// This is `exp(eval_loss)` of transformers' Trainer when `eval_loss` is weighted by tokens.
///
/// # Errors
/// No texts, a text without tokens, a loss that is not finite.
pub fn corpus_perplexity(texts: &[TextLoss]) -> Result<f64, EvalError> {
    check("corpus perplexity", texts)?;
    let sum: f64 = texts.iter().map(|text| text.sum).sum();
    let tokens: usize = texts.iter().map(|text| text.tokens).sum();
    Ok((sum / tokens as f64).exp())
}

/// Mean over the texts of exp(losses of the text / tokens of the text): every text weighs the same.
///
/// This is `mean_perplexity` of Hugging Face evaluate (`metrics/perplexity`). It is never below
/// the value of [`corpus_perplexity`] when all texts have the same length.
///
/// # Errors
/// No texts, a text without tokens, a loss that is not finite.
pub fn mean_text_perplexity(texts: &[TextLoss]) -> Result<f64, EvalError> {
    check("mean text perplexity", texts)?;
    let sum: f64 = texts.iter().map(|text| (text.sum / text.tokens as f64).exp()).sum();
    Ok(sum / texts.len() as f64)
}

/// Σ losses / (ln 2 · Σ bytes): comparable between models with different tokenizers.
///
/// Formula of lm-eval 0.4.13, `bits_per_byte`.
///
/// # Errors
/// No texts, texts without any byte, a loss that is not finite.
pub fn bits_per_byte(texts: &[TextLoss]) -> Result<f64, EvalError> {
    const METRIC: &str = "bits per byte";
    check_finite(METRIC, texts)?;
    let sum: f64 = texts.iter().map(|text| text.sum).sum();
    let bytes: usize = texts.iter().map(|text| text.bytes).sum();
    if bytes == 0 {
        return Err(EvalError::NoBytes { metric: METRIC });
    }
    Ok(sum / (std::f64::consts::LN_2 * bytes as f64))
}

/// exp(Σ losses / Σ weights) of (loss, weight) pairs: with numbers of words or bytes as weights it is lm-eval
/// 0.4.13's `word_perplexity` or `byte_perplexity`; [`lm_eval_words`] counts words as it does.
///
/// # Errors
/// No texts, a loss that is not finite, weights that do not add up to more than 0.
pub fn weighted_perplexity(texts: &[(f64, f64)]) -> Result<f64, EvalError> {
    const METRIC: &str = "weighted perplexity";
    if texts.is_empty() {
        return Err(EvalError::Empty { metric: METRIC });
    }
    if let Some((index, text)) = texts.iter().enumerate().find(|(_, text)| !text.0.is_finite()) {
        return Err(EvalError::NonFinite { metric: METRIC, index, value: text.0 });
    }
    let (loss, weight) = texts.iter().fold((0.0, 0.0), |sum, text| (sum.0 + text.0, sum.1 + text.1));
    if !(weight > 0.0 && weight.is_finite()) {
        let (option, found) = ("sum of weights", weight.to_string());
        return Err(EvalError::Option { metric: METRIC, option, found, wanted: "a number above 0" });
    }
    Ok((loss / weight).exp())
}

/// The words of a text as lm-eval counts them, `len(re.split(r"\s+", text))`: white space at an end adds an empty
/// word, and an empty text is one.
pub fn lm_eval_words(text: &str) -> usize {
    let inside = crate::text::words(text).count();
    let ends = [text.chars().next(), text.chars().next_back()];
    match inside {
        0 => 1 + usize::from(!text.is_empty()),
        _ => inside + ends.into_iter().flatten().filter(|c| crate::text::is_space(*c)).count(),
    }
}

pub(crate) fn check(metric: &'static str, texts: &[TextLoss]) -> Result<(), EvalError> {
    check_finite(metric, texts)?;
    match texts.iter().position(|text| text.tokens == 0) {
        Some(index) => Err(EvalError::NoTokens { metric, index }),
        None => Ok(()),
    }
}

fn check_finite(metric: &'static str, texts: &[TextLoss]) -> Result<(), EvalError> {
    if texts.is_empty() {
        return Err(EvalError::Empty { metric });
    }
    match texts.iter().enumerate().find(|(_, text)| !text.sum.is_finite()) {
        Some((index, text)) => Err(EvalError::NonFinite { metric, index, value: text.sum }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_definitions_differ_by_what_they_average() {
        // One certain token, three tokens at a loss of ln 4.
        let texts = [TextLoss::from_token_losses([0.0], 1), TextLoss::from_token_losses([4f64.ln(); 3], 3)];
        assert!((corpus_perplexity(&texts).unwrap() - 4f64.powf(0.75)).abs() < 1e-12);
        assert!((mean_text_perplexity(&texts).unwrap() - 2.5).abs() < 1e-12);
        assert!((bits_per_byte(&texts).unwrap() - 1.5).abs() < 1e-12);
    }

    #[test]
    fn bad_input_says_what_and_where() {
        let good = TextLoss { sum: 1.0, tokens: 1, bytes: 1 };
        let rows = [
            (corpus_perplexity(&[]), "corpus perplexity: found no examples, wanted at least one"),
            (
                corpus_perplexity(&[good, TextLoss { tokens: 0, ..good }]),
                "corpus perplexity: text 1 has no scored token, wanted at least one",
            ),
            (
                mean_text_perplexity(&[good, good, TextLoss { sum: f64::NAN, ..good }]),
                "mean text perplexity: the loss of text 2 is NaN, wanted a finite number",
            ),
            (
                bits_per_byte(&[TextLoss { bytes: 0, ..good }]),
                "bits per byte: the texts hold 0 bytes together, wanted at least one",
            ),
        ];
        for (got, wanted) in rows {
            assert_eq!(got.unwrap_err().to_string(), wanted);
        }
    }
}
