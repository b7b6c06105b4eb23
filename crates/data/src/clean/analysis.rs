//! A text cut into words and lines once, for every filter that follows.

use regex::Regex;
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64;

use super::chars::{CLASS, LETTER, SOLID, SPACE, WIDE, count_chars, is_odd_break, is_punctuation, is_space};

/// A word: what stands between white space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Code points.
    pub(super) chars: u32,
    /// Has a letter / is more than punctuation.
    pub(super) classes: u8,
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
            let mut classes = class;
            at += 1;
            while at < bytes.len() {
                let class = CLASS[bytes[at] as usize];
                if class & SPACE != 0 {
                    break;
                }
                classes |= class;
                at += 1;
            }
            if classes & WIDE == 0 {
                let hash = xxh3_64(&bytes[start..at]);
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
                let hash = xxh3_64(word.as_bytes());
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

/// The words of a text without the white space between them, to hash n-grams joined without spaces.
#[derive(Debug, Default)]
pub(super) struct Joined {
    bytes: Vec<u8>,
    /// `starts[i]`: the bytes of the first i words.
    starts: Vec<u32>,
    /// `chars[i]`: the code points of the first i words.
    chars: Vec<u32>,
}

impl Joined {
    pub(super) fn read(&mut self, text: &str, words: &[Word]) {
        self.bytes.clear();
        self.starts.clear();
        self.chars.clear();
        self.starts.push(0);
        self.chars.push(0);
        let mut chars = 0;
        for word in words {
            self.bytes.extend_from_slice(&text.as_bytes()[word.start as usize..word.end as usize]);
            chars += word.chars;
            self.starts.push(self.bytes.len() as u32);
            self.chars.push(chars);
        }
    }

    /// Code points of the `n` words from `at` on, without spaces.
    pub(super) fn chars(&self, at: usize, n: usize) -> usize {
        (self.chars[at + n] - self.chars[at]) as usize
    }

    /// Bytes of the `n` words from `at` on, without spaces: "a bc" and "ab c" are the same.
    pub(super) fn words(&self, at: usize, n: usize) -> &[u8] {
        &self.bytes[self.starts[at] as usize..self.starts[at + n] as usize]
    }

    /// The `N` bytes from word `at` on, if there are as many.
    pub(super) fn window<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
        self.bytes[self.starts[at] as usize..].first_chunk()
    }
}
