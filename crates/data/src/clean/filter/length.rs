use std::path::PathBuf;

use crate::clean::reference;
use crate::clean::rule::{Drop, Rule, Scratch};
use crate::clean::settings::settings;
use crate::tokenizer::Tokenizer;

settings! {
    /// Limits in characters, in words between white space and in tokens; 0 is no limit.
    Length = "length" {
        /// Fewest characters.
        min_characters / with_min_characters: usize = 0,
        /// Most characters.
        max_characters / with_max_characters: usize = 0,
        /// Fewest words.
        min_words / with_min_words: usize = 0,
        /// Most words.
        max_words / with_max_words: usize = 0,
        /// Fewest tokens, special tokens not counted.
        min_tokens / with_min_tokens: usize = 0,
        /// Most tokens, special tokens not counted.
        max_tokens / with_max_tokens: usize = 0,
        /// The model directory or tokenizer.json to count tokens with; empty: the pipeline's tokenizer.
        tokenizer / with_tokenizer: PathBuf = PathBuf::new(),
    }
}

/// [`Length`] with what it counts tokens with.
pub(in crate::clean) struct Measured {
    limits: Length,
    tokenizer: Option<Tokenizer>,
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.limits.fmt(f)
    }
}

impl Measured {
    pub(in crate::clean) fn new(limits: Length, tokenizer: Option<Tokenizer>) -> Self {
        Self { limits, tokenizer }
    }
}

fn outside(value: usize, least: usize, most: usize, reasons: (&'static str, &'static str)) -> Option<Drop> {
    if value < least {
        return Drop::new(reasons.0, value as f64);
    }
    if most > 0 && value > most { Drop::new(reasons.1, value as f64) } else { None }
}

impl Rule for Measured {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let (analysis, ..) = scratch.analysis(text);
        self.verdict(text, analysis.chars, analysis.words.len())
    }

    fn check_reference(&self, text: &str) -> Option<Drop> {
        self.verdict(text, text.chars().count(), reference::words(text).len())
    }
}

impl Measured {
    fn verdict(&self, text: &str, characters: usize, words: usize) -> Option<Drop> {
        let limits = &self.limits;
        let reasons = ("too_few_characters", "too_many_characters");
        outside(characters, limits.min_characters, limits.max_characters, reasons)
            .or_else(|| {
                let reasons = ("too_few_words", "too_many_words");
                outside(words, limits.min_words, limits.max_words, reasons)
            })
            .or_else(|| {
                let tokenizer = self.tokenizer.as_ref()?;
                match tokenizer.encode(text, false) {
                    Ok(ids) => {
                        let reasons = ("too_few_tokens", "too_many_tokens");
                        outside(ids.len(), limits.min_tokens, limits.max_tokens, reasons)
                    }
                    Err(_) => Drop::new("not_tokenizable", 0.0),
                }
            })
    }
}
