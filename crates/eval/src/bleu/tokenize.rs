//! From a segment to BLEU's words.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::punctuation::{split_stops, split_symbols};
use crate::text::{collapse, is_space};

/// How a segment becomes words for BLEU, named as in sacrebleu.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BleuTokenizer {
    /// `none`: the text is tokenized already.
    None,
    /// `13a`: mteval-v13a, for languages with spaces between words.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// `intl`: mteval-v14 with international tokenization, which splits at Unicode's punctuation and symbols.
    Intl,
    /// `char`: every character is a word.
    Char,
    /// `zh`: every Chinese character is a word, the rest as in `13a`.
    Zh,
}

type Rules = LazyLock<Vec<(Regex, &'static str)>>;

fn rules(rows: &[(&str, &'static str)]) -> Vec<(Regex, &'static str)> {
    rows.iter().map(|(find, put)| (Regex::new(find).expect("a constant pattern"), *put)).collect()
}

/// sacrebleu 2.6.0, `tokenizer_intl`: punctuation unless between digits, and symbols.
static INTERNATIONAL: Rules = LazyLock::new(|| {
    rules(&[(r"(\P{N})(\p{P})", "$1 $2 "), (r"(\p{P})(\P{N})", " $1 $2"), (r"(\p{S})", " $1 ")])
});

/// What sacrebleu 2.6.0 takes for Chinese. The two ranges from U+2001 and U+2F81 are what its extension B and
/// compatibility supplement come to: Python compares those bounds as strings of two characters.
const CHINESE: [(u32, u32); 22] = [
    (0x3400, 0x4db5),
    (0x4e00, 0x9fa5),
    (0x9fa6, 0x9fbb),
    (0xf900, 0xfa2d),
    (0xfa30, 0xfa6a),
    (0xfa70, 0xfad9),
    (0x2001, 0x2a6d),
    (0x2f81, 0x2fa1),
    (0xff00, 0xffef),
    (0x2e80, 0x2eff),
    (0x3000, 0x303f),
    (0x31c0, 0x31ef),
    (0x2f00, 0x2fdf),
    (0x2ff0, 0x2fff),
    (0x3100, 0x312f),
    (0x31a0, 0x31bf),
    (0xfe10, 0xfe1f),
    (0xfe30, 0xfe4f),
    (0x2600, 0x26ff),
    (0x2700, 0x27bf),
    (0x3200, 0x32ff),
    (0x3300, 0x33ff),
];

impl BleuTokenizer {
    /// The name in sacrebleu's signature.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::V13a => "13a",
            Self::Intl => "intl",
            Self::Char => "char",
            Self::Zh => "zh",
        }
    }

    /// The segment with its words apart: single spaces between them, but for `none` and `char`, which keep
    /// the white space that was there.
    pub fn tokenize(self, segment: &str) -> String {
        match self {
            Self::None => segment.to_owned(),
            Self::V13a => {
                let mut text = segment.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
                if text.contains('&') {
                    for (entity, character) in
                        [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")]
                    {
                        text = text.replace(entity, character);
                    }
                }
                western(&format!(" {text} "))
            }
            Self::Intl => apply(&INTERNATIONAL, segment),
            Self::Char => {
                let mut out = String::with_capacity(2 * segment.len());
                for c in segment.chars() {
                    if !out.is_empty() {
                        out.push(' ');
                    }
                    out.push(c);
                }
                out
            }
            Self::Zh => {
                let mut out = String::with_capacity(3 * segment.len());
                for c in segment.trim_matches(is_space).chars() {
                    if CHINESE.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c))) {
                        out.extend([' ', c, ' ']);
                    } else {
                        out.push(c);
                    }
                }
                western(&out)
            }
        }
    }
}

/// sacrebleu 2.6.0, `tokenizer_re`.
fn western(text: &str) -> String {
    collapse(&split_stops(&split_symbols(text)))
}

fn apply(rules: &[(Regex, &'static str)], text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    for (find, put) in rules {
        if let Cow::Owned(replaced) = find.replace_all(&text, *put) {
            text = Cow::Owned(replaced);
        }
    }
    collapse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokenizers_differ_where_the_design_says() {
        let rows = [
            (BleuTokenizer::V13a, "It's 1,500.5-odd, &quot;ok&quot;.", "It's 1,500.5 - odd , \" ok \" ."),
            (BleuTokenizer::V13a, "in 1987.", "in 1987 ."),
            (BleuTokenizer::Intl, "in 1987.", "in 1987."),
            (BleuTokenizer::Intl, "a€b", "a € b"),
            (BleuTokenizer::Char, "ab c", "a b   c"),
            (BleuTokenizer::Zh, " 电车7.5 ", "电 车 7.5"),
            (BleuTokenizer::Zh, "“a”", "“ a ”"),
            (BleuTokenizer::None, " a, b", " a, b"),
        ];
        for (tokenizer, text, wanted) in rows {
            assert_eq!(tokenizer.tokenize(text), wanted, "{tokenizer:?} of {text}");
        }
    }
}
