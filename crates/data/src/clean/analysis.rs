//! A text cut into words and lines once, for every filter that follows.

use std::sync::LazyLock;

use regex::Regex;
use xxhash_rust::xxh3::xxh3_64;

use super::blocks::{HIGH_16, padded, space_edges, within_16};
use super::chars::{CLASS, LETTER, SOLID, WIDE, count_chars, is_odd_break, is_punctuation, is_space};

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

/// A line that stays when others go, without the white space at its ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptLine {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Its words are `words[first_word..last_word]`.
    pub(super) first_word: u32,
    pub(super) last_word: u32,
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
    edges: Vec<u32>,
}

impl Analysis {
    /// Cuts `text`, which must be shorter than 4 GiB.
    pub(super) fn read(&mut self, text: &str) {
        self.words.clear();
        self.lines.clear();
        self.non_ascii = !text.is_ascii();
        self.odd_breaks = false;
        let bytes = text.as_bytes();
        let mut edges = std::mem::take(&mut self.edges);
        space_edges(bytes, &mut edges);
        let (mut line_start, mut last_end) = (0, 0);
        for &[start, end] in edges.as_chunks::<2>().0 {
            self.read_space(text, last_end, start as usize, &mut line_start);
            self.read_word(text, start as usize, end as usize);
            last_end = end as usize;
        }
        self.read_space(text, last_end, text.len(), &mut line_start);
        self.push_line(text, line_start, text.len());
        self.edges = edges;
        self.count_chars();
    }

    /// Lines end in the white space between words.
    #[inline]
    fn read_space(&mut self, text: &str, start: usize, end: usize, line_start: &mut usize) {
        for at in start..end {
            match text.as_bytes()[at] {
                b' ' => {}
                b'\n' => {
                    self.push_line(text, *line_start, at);
                    *line_start = at + 1;
                }
                0x0b..=0x0d | 0x1c..=0x1e => self.odd_breaks = true,
                _ => {}
            }
        }
    }

    fn push_line(&mut self, text: &str, start: usize, end: usize) {
        let line = &text[start..end];
        let chars = if self.non_ascii { count_chars(line) } else { line.len() };
        let hash = xxh3_64(line.as_bytes());
        self.lines.push(Line { start: start as u32, end: end as u32, chars: chars as u32, hash });
    }

    /// The lines and the breaks between them.
    fn count_chars(&mut self) {
        let chars: usize = self.lines.iter().map(|line| line.chars as usize).sum();
        self.chars = chars + self.lines.len() - 1;
    }

    /// A part that has no ASCII white space.
    #[inline]
    fn read_word(&mut self, text: &str, start: usize, end: usize) {
        let (hash, classes) = read_word(text.as_bytes(), start, end);
        if classes & WIDE == 0 {
            let chars = (end - start) as u32;
            self.words.push(Word { start: start as u32, end: end as u32, chars, classes, hash });
        } else {
            self.read_wide_words(text, start, end);
        }
    }

    /// Words of a part that has no ASCII white space but other characters beyond ASCII.
    fn read_wide_words(&mut self, text: &str, start: usize, end: usize) {
        let mut from = start;
        for word in text[start..end].split(is_space) {
            let to = from + word.len();
            if !word.is_empty() {
                let (hash, _) = read_word(text.as_bytes(), from, to);
                let mut classes = 0;
                if has_letter(word) {
                    classes |= LETTER;
                }
                if word.chars().any(|c| !is_punctuation(c)) {
                    classes |= SOLID;
                }
                let chars = count_chars(word) as u32;
                self.words.push(Word { start: from as u32, end: to as u32, chars, classes, hash });
            }
            let space = text[to..end].chars().next();
            self.odd_breaks |= space.is_some_and(is_odd_break);
            from = to + space.map_or(0, char::len_utf8);
        }
    }

    /// What reading `text` anew would give, where `text` is the kept lines with `\n` between them.
    pub(super) fn keep_lines(&mut self, text: &str, kept: &[KeptLine]) {
        self.lines.clear();
        self.non_ascii = !text.is_ascii();
        self.odd_breaks = false;
        let (mut start, mut count) = (0, 0);
        for line in kept {
            for at in line.first_word..line.last_word {
                let word = self.words[at as usize];
                let (from, to) = (word.start - line.start + start, word.end - line.start + start);
                self.words[count] = Word { start: from, end: to, ..word };
                count += 1;
            }
            let end = start + line.end - line.start;
            self.push_line(text, start as usize, end as usize);
            start = end + 1;
        }
        if kept.is_empty() {
            self.push_line(text, 0, 0);
        }
        self.words.truncate(count);
        self.count_chars();
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

/// A hash of the bytes and their classes; with [`WIDE`] among these, the others have to be told from the characters.
#[inline(always)]
fn read_word(bytes: &[u8], start: usize, end: usize) -> (u64, u8) {
    let Some(word) = padded(bytes, start, end) else {
        return read_long_word(&bytes[start..end]);
    };
    let letters = within_16(word | LOWER, b'a', b'z');
    let digits = within_16(word, b'0', b'9');
    let class = |found: u128, class: u8| if found == 0 { 0 } else { class };
    let classes = class(letters, LETTER) | class(letters | digits, SOLID) | class(word & HIGH_16, WIDE);
    // A zero byte at the end of a word counts, too.
    let length = ((end - start) as u64).wrapping_mul(0xa076_1d64_78bd_642f);
    (mix(word as u64 ^ length, (word >> 64) as u64), classes)
}

/// The bit that makes an ASCII letter a small one, in sixteen bytes.
const LOWER: u128 = HIGH_16 >> 2;

#[cold]
fn read_long_word(word: &[u8]) -> (u64, u8) {
    (xxh3_64(word), word.iter().fold(0, |classes, b| classes | CLASS[*b as usize]))
}

/// A hash of 16 bytes.
#[inline]
pub(super) fn mix(low: u64, high: u64) -> u64 {
    let product = u128::from(low ^ 0x9e37_79b9_7f4a_7c15) * u128::from(high ^ 0xd6e8_feb8_6659_fd93);
    product as u64 ^ (product >> 64) as u64
}

/// Python's `str.isalpha` for any character of the word: a letter of category L.
fn has_letter(word: &str) -> bool {
    static LETTERS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\p{L}").expect("a constant pattern"));
    word.bytes().any(|b| b.is_ascii_alphabetic())
        || (word.chars().any(char::is_alphabetic) && LETTERS.is_match(word))
}

/// Bytes of a word that is copied as one block.
const SHORT: usize = 16;

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
        self.starts.clear();
        self.chars.clear();
        self.starts.push(0);
        self.chars.push(0);
        // Room for whole blocks: a short word is copied with what follows it, and the next word is written over that.
        self.bytes.resize(self.bytes.len().max(text.len() + SHORT), 0);
        let (mut at, mut chars) = (0, 0);
        for word in words {
            let (start, end) = (word.start as usize, word.end as usize);
            match text.as_bytes()[start..].first_chunk::<SHORT>() {
                Some(block) if end - start <= SHORT => self.bytes[at..at + SHORT].copy_from_slice(block),
                _ => self.bytes[at..at + end - start].copy_from_slice(&text.as_bytes()[start..end]),
            }
            at += end - start;
            chars += word.chars;
            self.starts.push(at as u32);
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
        let end = self.starts.last().map_or(0, |end| *end as usize);
        self.bytes[self.starts[at] as usize..end].first_chunk()
    }
}
