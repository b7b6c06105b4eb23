//! From a text to ROUGE's tokens.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

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
        // rouge_score leaves words of up to three characters alone.
        let finish = |word: &str| match stem && word.len() > 3 {
            true => porter_stem(word),
            false => word.to_owned(),
        };
        match self {
            Self::Ascii => text
                .to_lowercase()
                .split(|c: char| !c.is_ascii_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(finish)
                .collect(),
            Self::Unicode => {
                UNICODE.find_iter(&text.to_lowercase()).map(|word| finish(word.as_str())).collect()
            }
            Self::Whitespace => words(text).map(str::to_owned).collect(),
        }
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
