//! A text cut into words and lines once, for every filter that follows.

use regex::Regex;
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64;

use super::chars::{CLASS, LETTER, SOLID, SPACE, WIDE, count_chars, is_odd_break, is_punctuation, is_space};

/// 2^61 - 1, a prime: two different strings of n bytes share a hash with a chance of n / 2^61.
const PRIME: u64 = (1 << 61) - 1;
const BASE: u64 = 0x0f3a_9c1d_5b72_e641;

/// Powers of the base that are kept; longer n-grams compute theirs.
const POWERS: usize = 1024;

/// A word: what stands between white space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Code points.
    pub(super) chars: u32,
    /// Has a letter / is more than punctuation.
    pub(super) classes: u8,
    /// Polynomial hash of the bytes, so that hashes of joined words follow from those of their parts.
    pub(super) hash: u64,
}

/// A line, without its break.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) chars: u32,
    pub(super) hash: u64,
}

/// Buffers that one thread uses for text after text.
#[derive(Debug, Default)]
pub(super) struct Analysis {
    pub(super) words: Vec<Word>,
    /// The parts between `\n`.
    pub(super) lines: Vec<Line>,
    /// Code points of the text.
    pub(super) chars: usize,
    pub(super) non_ascii: bool,
    /// The text has breaks other than `\n`.
    pub(super) odd_breaks: bool,
}

impl Analysis {
    /// Cuts `text`, which must be shorter than 4 GiB.
    pub(super) fn read(&mut self, text: &str) {
        self.words.clear();
        self.lines.clear();
        self.non_ascii = !text.is_ascii();
        self.chars = if self.non_ascii { count_chars(text) } else { text.len() };
        self.read_lines(text);
        self.read_words(text);
        self.odd_breaks = if self.non_ascii {
            text.contains(is_odd_break)
        } else {
            text.bytes().any(|b| matches!(b, 0x0b..=0x0d | 0x1c..=0x1e))
        };
    }

    fn read_lines(&mut self, text: &str) {
        let mut start = 0;
        for line in text.split('\n') {
            let chars = if self.non_ascii { count_chars(line) } else { line.len() };
            let end = start + line.len();
            let hash = xxh3_64(line.as_bytes());
            self.lines.push(Line { start: start as u32, end: end as u32, chars: chars as u32, hash });
            start = end + 1;
        }
    }

    fn read_words(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let class = CLASS[bytes[at] as usize];
            if class & SPACE != 0 {
                at += 1;
                continue;
            }
            let start = at;
            let (mut classes, mut hash) = (0, 0);
            while at < bytes.len() {
                let class = CLASS[bytes[at] as usize];
                if class & SPACE != 0 {
                    break;
                }
                classes |= class;
                hash = step(hash, bytes[at]);
                at += 1;
            }
            if classes & WIDE == 0 {
                let (start, end) = (start as u32, at as u32);
                self.words.push(Word { start, end, chars: end - start, classes, hash });
            } else {
                self.read_wide_words(text, start, at);
            }
        }
    }

    /// Words of a part that has no ASCII white space but other characters beyond ASCII.
    fn read_wide_words(&mut self, text: &str, start: usize, end: usize) {
        let mut from = start;
        for word in text[start..end].split(is_space) {
            if !word.is_empty() {
                let hash = word.bytes().fold(0, step);
                let mut classes = 0;
                if has_letter(word) {
                    classes |= LETTER;
                }
                if word.chars().any(|c| !is_punctuation(c)) {
                    classes |= SOLID;
                }
                let to = from + word.len();
                let chars = count_chars(word) as u32;
                self.words.push(Word { start: from as u32, end: to as u32, chars, classes, hash });
            }
            from += word.len() + text[from + word.len()..].chars().next().map_or(0, char::len_utf8);
        }
    }

    /// Python's `str.splitlines`: every line, without its break.
    pub(super) fn each_line<'t>(&self, text: &'t str, mut each: impl FnMut(usize, &'t str)) {
        if self.odd_breaks {
            let mut rest = text;
            while !rest.is_empty() {
                let start = text.len() - rest.len();
                let Some(end) = rest.find(|c| c == '\n' || is_odd_break(c)) else {
                    each(start, rest);
                    return;
                };
                each(start, &rest[..end]);
                let is_crlf = rest[end..].starts_with("\r\n");
                let after = &rest[end..];
                let skip = if is_crlf { 2 } else { after.chars().next().map_or(1, char::len_utf8) };
                rest = &after[skip..];
            }
            return;
        }
        let last = self.lines.len().saturating_sub(1);
        for (number, line) in self.lines.iter().enumerate() {
            if number < last || line.start < line.end {
                each(line.start as usize, &text[line.start as usize..line.end as usize]);
            }
        }
    }
}

/// Python's `str.isalpha` for any character of the word: a letter of category L.
fn has_letter(word: &str) -> bool {
    static LETTERS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\p{L}").expect("a constant pattern"));
    word.bytes().any(|b| b.is_ascii_alphabetic())
        || (word.chars().any(char::is_alphabetic) && LETTERS.is_match(word))
}

fn step(hash: u64, byte: u8) -> u64 {
    reduce(u128::from(hash) * u128::from(BASE) + u128::from(byte) + 1)
}

fn reduce(value: u128) -> u64 {
    let sum = (value as u64 & PRIME) + (value >> 61) as u64;
    if sum >= PRIME { sum - PRIME } else { sum }
}

/// Hashes of joined neighbours, from the hashes of words.
#[derive(Debug)]
pub(super) struct Rolling {
    /// `prefix[i]`: the hash of the first i words, joined without spaces.
    prefix: Vec<u64>,
    /// `bytes[i]`: the bytes of the first i words.
    bytes: Vec<u32>,
    /// `chars[i]`: the code points of the first i words.
    chars: Vec<u32>,
    powers: Vec<u64>,
}

impl Default for Rolling {
    fn default() -> Self {
        let mut powers = Vec::with_capacity(POWERS);
        let mut power = 1;
        for _ in 0..POWERS {
            powers.push(power);
            power = reduce(u128::from(power) * u128::from(BASE));
        }
        Self { prefix: Vec::new(), bytes: Vec::new(), chars: Vec::new(), powers }
    }
}

impl Rolling {
    pub(super) fn read(&mut self, words: &[Word]) {
        self.prefix.clear();
        self.bytes.clear();
        self.chars.clear();
        let (mut prefix, mut bytes, mut chars) = (0, 0, 0);
        self.prefix.push(prefix);
        self.bytes.push(bytes);
        self.chars.push(chars);
        for word in words {
            let length = word.end - word.start;
            prefix = reduce(u128::from(prefix) * u128::from(self.power(length)) + u128::from(word.hash));
            bytes += length;
            chars += word.chars;
            self.prefix.push(prefix);
            self.bytes.push(bytes);
            self.chars.push(chars);
        }
    }

    /// Code points of the `n` words from `at` on, without spaces.
    pub(super) fn chars(&self, at: usize, n: usize) -> usize {
        (self.chars[at + n] - self.chars[at]) as usize
    }

    /// The hash of the `n` words from `at` on, joined without spaces: "a bc" and "ab c" are the same.
    pub(super) fn joined(&self, at: usize, n: usize) -> u64 {
        let power = self.power(self.bytes[at + n] - self.bytes[at]);
        let skipped = u128::from(self.prefix[at]) * u128::from(power);
        let hash = u128::from(self.prefix[at + n]) + u128::from(PRIME) - u128::from(reduce(skipped));
        reduce(hash)
    }

    fn power(&self, exponent: u32) -> u64 {
        let mut exponent = exponent as usize;
        if exponent < POWERS {
            return self.powers[exponent];
        }
        let mut power = 1;
        let mut square = BASE;
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = reduce(u128::from(power) * u128::from(square));
            }
            square = reduce(u128::from(square) * u128::from(square));
            exponent >>= 1;
        }
        power
    }
}
