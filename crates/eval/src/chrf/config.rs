//! chrF's options.

use serde::{Deserialize, Serialize};

use super::{Chrf, METRIC};
use crate::error::EvalError;

/// The options of chrF. The defaults are those of sacrebleu 2.6.0: chrF2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ChrfConfig {
    /// Longest n-grams in characters (code points). Default 6.
    pub char_order: usize,
    /// Longest n-grams in words. Default 0, none; chrF++ has 2.
    pub word_order: usize,
    /// How many times recall weighs more than precision. Default 2.
    pub beta: u32,
    /// Compare in lower case.
    pub lowercase: bool,
    /// Count white space as characters.
    pub whitespace: bool,
    /// Average F over all orders, with 10⁻¹⁶ for what is missing, as the script of chrF's author does, instead of
    /// precision and recall over the orders both texts have.
    pub eps_smoothing: bool,
}

impl Default for ChrfConfig {
    fn default() -> Self {
        Self {
            char_order: 6,
            word_order: 0,
            beta: 2,
            lowercase: false,
            whitespace: false,
            eps_smoothing: false,
        }
    }
}

impl ChrfConfig {
    /// chrF2.
    pub fn new() -> Self {
        Self::default()
    }

    /// chrF2++: with n-grams of up to two words.
    pub fn plus_plus() -> Self {
        Self { word_order: 2, ..Self::default() }
    }

    /// Counts n-grams of up to this many characters.
    pub fn with_char_order(mut self, order: usize) -> Self {
        self.char_order = order;
        self
    }

    /// Counts n-grams of up to this many words.
    pub fn with_word_order(mut self, order: usize) -> Self {
        self.word_order = order;
        self
    }

    /// Weighs recall this many times as much as precision.
    pub fn with_beta(mut self, beta: u32) -> Self {
        self.beta = beta;
        self
    }

    /// Compares in lower case, or not.
    pub fn with_lowercase(mut self, lowercase: bool) -> Self {
        self.lowercase = lowercase;
        self
    }

    /// Counts white space, or not.
    pub fn with_whitespace(mut self, whitespace: bool) -> Self {
        self.whitespace = whitespace;
        self
    }

    /// Averages F over all orders, or not.
    pub fn with_eps_smoothing(mut self, smoothing: bool) -> Self {
        self.eps_smoothing = smoothing;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// Orders that are both 0, or above 100; a beta of 0.
    pub fn init(&self) -> Result<Chrf, EvalError> {
        let refuse = |option, found, wanted| Err(EvalError::Option { metric: METRIC, option, found, wanted });
        if self.char_order > 100 || self.char_order + self.word_order == 0 {
            return refuse("char_order", self.char_order.to_string(), "1 to 100, or 0 with words");
        }
        if self.word_order > 100 {
            return refuse("word_order", self.word_order.to_string(), "0 to 100");
        }
        if self.beta == 0 {
            return refuse("beta", "0".to_owned(), "at least 1");
        }
        Ok(Chrf { config: self.clone() })
    }
}
