//! From a text to ROUGE's tokens.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::interner::Interner;
use crate::porter::porter_stem;
use crate::text::words;

/// How a text becomes tokens for ROUGE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RougeTokenizer {
    /// Lower case, runs of a–z and 0–9: rouge_score's own. Any other letter separates, so a text in another
    /// script has no tokens and scores 0 even against itself.
    #[default]
    Ascii,
    /// Lower case, runs of letters, marks and digits of any script; each character of Han, Hiragana and
    /// Katakana by itself. Scores are not comparable with published ones.
    Unicode,
    /// Split at white space, nothing else; never stemmed.
    Whitespace,
}

static UNICODE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\p{Han}\p{Hiragana}\p{Katakana}]|[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}]]+")
        .expect("a constant pattern")
});

impl RougeTokenizer {
    pub(crate) fn tokens(self, text: &str, stem: bool) -> Vec<String> {
        let text = self.fold(text);
        let mut tokens = Vec::new();
        self.split(&text, |word| tokens.push(if self.stems(stem) { stem_of(word) } else { word.to_owned() }));
        tokens
    }

    /// The text as it is split: in lower case where the tokenizer ignores case.
    pub(super) fn fold(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Ascii | Self::Unicode => Cow::Owned(text.to_lowercase()),
            Self::Whitespace => Cow::Borrowed(text),
        }
    }

    fn stems(self, asked: bool) -> bool {
        asked && self != Self::Whitespace
    }

    fn split<'a>(self, text: &'a str, mut visit: impl FnMut(&'a str)) {
        match self {
            Self::Ascii => text
                .split(|c: char| !c.is_ascii_alphanumeric())
                .filter(|word| !word.is_empty())
                .for_each(visit),
            Self::Unicode => UNICODE.find_iter(text).for_each(|word| visit(word.as_str())),
            Self::Whitespace => words(text).for_each(visit),
        }
    }
}

/// rouge_score leaves words of up to three characters alone.
fn stem_of(word: &str) -> String {
    if word.len() > 3 { porter_stem(word) } else { word.to_owned() }
}

/// Tokens as numbers, equal where the tokens are. Every word is stemmed once.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    tokenizer: RougeTokenizer,
    words: Interner<'a>,
    /// The number of the stem by the number of the word, when words are stemmed.
    stem_of_word: Option<Vec<u32>>,
    stems: HashMap<String, u32>,
}

impl<'a> Numbers<'a> {
    pub(super) fn new(tokenizer: RougeTokenizer, stem: bool) -> Self {
        Self {
            tokenizer,
            words: Interner::default(),
            stem_of_word: tokenizer.stems(stem).then(Vec::new),
            stems: HashMap::new(),
        }
    }

    /// The tokens of each line of a folded text.
    pub(super) fn lines(&mut self, text: &'a str) -> Vec<Vec<u32>> {
        text.split('\n')
            .map(|line| {
                let mut numbers = Vec::new();
                let tokenizer = self.tokenizer;
                tokenizer.split(line, |word| numbers.push(self.number(word)));
                numbers
            })
            .collect()
    }

    fn number(&mut self, word: &'a str) -> u32 {
        let number = self.words.number(word);
        let Some(stem_of_word) = &mut self.stem_of_word else {
            return number;
        };
        if number as usize == stem_of_word.len() {
            let next = self.stems.len() as u32;
            stem_of_word.push(*self.stems.entry(stem_of(word)).or_insert(next));
        }
        stem_of_word[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_other_than_latin_have_tokens_only_in_unicode() {
        let text = "Naïve 護士は Ärzte2";
        assert_eq!(RougeTokenizer::Ascii.tokens(text, false), ["na", "ve", "rzte2"]);
        assert_eq!(RougeTokenizer::Unicode.tokens(text, false), ["naïve", "護", "士", "は", "ärzte2"]);
        assert_eq!(RougeTokenizer::Whitespace.tokens(text, true), ["Naïve", "護士は", "Ärzte2"]);
    }
}
