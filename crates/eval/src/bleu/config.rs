//! BLEU's options.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Bleu, BleuTokenizer, METRIC};
use crate::error::EvalError;

/// What stands in for the precision of an order without a match. Chen and Cherry 2014, "A Systematic
/// Comparison of Smoothing Techniques for Sentence-Level BLEU".
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Smoothing {
    /// Nothing: the score is 0.
    None,
    /// This many matches. sacrebleu's default is 0.1.
    Floor(f64),
    /// This much is added to matches and totals of the orders above 1. sacrebleu's default is 1.
    AddK(f64),
    /// ½, ¼, ⅛, … of a match, one after the other: NIST's mteval.
    #[default]
    Exp,
}

impl fmt::Display for Smoothing {
    /// As in sacrebleu's signature: `exp`, `floor[0.10]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Floor(value) => write!(f, "floor[{value:.2}]"),
            Self::AddK(value) => write!(f, "add-k[{value:.2}]"),
            Self::Exp => f.write_str("exp"),
        }
    }
}

/// The options of BLEU. The defaults are those of `sacrebleu.corpus_bleu` 2.6.0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BleuConfig {
    /// How a segment becomes words. Default `13a`.
    pub tokenizer: BleuTokenizer,
    /// Compare in lower case.
    pub lowercase: bool,
    /// What an order without a match counts. Default `exp`.
    pub smoothing: Smoothing,
    /// Longest n-grams, in words. Default 4.
    pub max_order: usize,
    /// Leave orders out for which the prediction is too short.
    pub effective_order: bool,
}

impl Default for BleuConfig {
    fn default() -> Self {
        Self {
            tokenizer: BleuTokenizer::default(),
            lowercase: false,
            smoothing: Smoothing::default(),
            max_order: 4,
            effective_order: false,
        }
    }
}

impl BleuConfig {
    /// The defaults for a corpus.
    pub fn new() -> Self {
        Self::default()
    }

    /// The defaults of `sacrebleu.sentence_bleu`: as [`new`](Self::new), with the effective order.
    pub fn for_sentences() -> Self {
        Self { effective_order: true, ..Self::default() }
    }

    /// Splits segments this way.
    pub fn with_tokenizer(mut self, tokenizer: BleuTokenizer) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// Compares in lower case, or not.
    pub fn with_lowercase(mut self, lowercase: bool) -> Self {
        self.lowercase = lowercase;
        self
    }

    /// Smooths this way.
    pub fn with_smoothing(mut self, smoothing: Smoothing) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// Counts n-grams of up to this many words.
    pub fn with_max_order(mut self, order: usize) -> Self {
        self.max_order = order;
        self
    }

    /// Leaves out the orders for which the prediction is too short, or not.
    pub fn with_effective_order(mut self, effective: bool) -> Self {
        self.effective_order = effective;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// A maximal order outside 1..=100; a smoothing value that is negative or not finite.
    pub fn init(&self) -> Result<Bleu, EvalError> {
        let refuse = |option, found, wanted| Err(EvalError::Option { metric: METRIC, option, found, wanted });
        if !(1..=100).contains(&self.max_order) {
            return refuse("max_order", self.max_order.to_string(), "1 to 100");
        }
        if let Smoothing::Floor(value) | Smoothing::AddK(value) = self.smoothing
            && !(value.is_finite() && value >= 0.0)
        {
            return refuse("smoothing", self.smoothing.to_string(), "a finite value of at least 0");
        }
        Ok(Bleu { config: self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_named() {
        let rows = [
            (BleuConfig::new().with_max_order(0), "bleu: found max_order = 0, wanted 1 to 100"),
            (
                BleuConfig::new().with_smoothing(Smoothing::Floor(-1.0)),
                "bleu: found smoothing = floor[-1.00], wanted a finite value of at least 0",
            ),
        ];
        for (config, wanted) in rows {
            assert_eq!(config.init().unwrap_err().to_string(), wanted);
        }
    }
}
