//! Tokens to sentences, and sentences to chunks that fit a model's attention.

use std::ops::Range;

use super::tokenize::{Token, TokenKind, WordTokenizer};

const ENDS: [char; 7] = ['.', '?', '!', '。', '！', '？', '\u{964}'];
const CLOSERS: [char; 8] = ['"', '\'', '”', '’', '»', ')', ']', '}'];
const ABBREVIATIONS: [&str; 6] = ["Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "St."];

/// A part of a document that goes to the model in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// The chunk's tokens in the document.
    pub tokens: Range<usize>,
    /// The chunk's place in the document, in code points.
    pub chars: Range<usize>,
    /// The chunk's place in the document, in bytes.
    pub bytes: Range<usize>,
}

/// How a document is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkConfig {
    /// The longest chunk in code points; a single longer token is a chunk of its own.
    pub max_chars: usize,
    /// How many code points before a chunk are shown again at its beginning, cut to whole tokens. 0 is
    /// langextract's rule; more helps where an extraction may straddle two chunks.
    pub overlap_chars: usize,
}

impl ChunkConfig {
    /// Chunks of at most `max_chars` code points, without overlap.
    pub fn new(max_chars: usize) -> Self {
        Self { max_chars, overlap_chars: 0 }
    }

    /// Sets the overlap.
    #[must_use]
    pub fn with_overlap(mut self, chars: usize) -> Self {
        self.overlap_chars = chars;
        self
    }
}

/// The sentences of a text, as ranges of tokens: they end at `.?!。！？।` with the closing quotes and brackets that
/// follow, but not after `Mr. Mrs. Ms. Dr. Prof. St.`, and at a line's end unless the next token begins in lower
/// case (langextract 1.7.1, `find_sentence_range`).
pub fn sentences(text: &str, tokens: &[Token]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < tokens.len() {
        let (_, end) = sentence_end(text, tokens, start);
        found.push(start..end);
        start = end;
    }
    found
}

/// The token that ends the sentence in which `start` stands, and the first token of the next.
fn sentence_end(text: &str, tokens: &[Token], start: usize) -> (usize, usize) {
    for at in start..tokens.len() {
        if ends_sentence(text, tokens, at) {
            let closers = tokens[at + 1..].iter().take_while(|token| {
                let mut chars = text[token.bytes.clone()].chars();
                chars.next().is_some_and(|c| CLOSERS.contains(&c)) && chars.next().is_none()
            });
            return (at, at + 1 + closers.count());
        }
        if let Some(next) = tokens.get(at + 1)
            && next.after_newline
            && !text[next.bytes.clone()].starts_with(char::is_lowercase)
        {
            return (at, at + 1);
        }
    }
    (tokens.len(), tokens.len())
}

fn ends_sentence(text: &str, tokens: &[Token], at: usize) -> bool {
    let token = &tokens[at];
    let word = &text[token.bytes.clone()];
    if token.kind != TokenKind::Punctuation || !word.trim_end_matches(CLOSERS).ends_with(ENDS) {
        return false;
    }
    let abbreviated = at.checked_sub(1).is_some_and(|before| {
        let before = &text[tokens[before].bytes.clone()];
        ABBREVIATIONS.iter().any(|known| known.strip_suffix(word) == Some(before))
    });
    !abbreviated
}

/// Cuts a text into chunks: whole sentences while they fit; a sentence that does not fit breaks at its last line's
/// end, else between tokens; what is left of a broken sentence is not joined with the next ones. Every token is in
/// exactly one chunk, unless `overlap_chars` repeats some. The rule is langextract's (1.7.1, `ChunkIterator`).
pub fn chunks(text: &str, tokens: &[Token], config: ChunkConfig) -> Vec<Chunk> {
    let mut found = Vec::new();
    let mut walk = Walk { text, tokens, max: config.max_chars, at: 0, broken: false, known: (0, 0) };
    while walk.at < tokens.len() {
        let mut range = walk.next();
        walk.at = range.end;
        if config.overlap_chars > 0 {
            let from = tokens[range.start].chars.start.saturating_sub(config.overlap_chars);
            range.start = tokens[..range.start].partition_point(|token| token.chars.start < from);
        }
        let (first, last) = (&tokens[range.start], &tokens[range.end - 1]);
        found.push(Chunk {
            chars: first.chars.start..last.chars.end,
            bytes: first.bytes.start..last.bytes.end,
            tokens: range,
        });
    }
    found
}

/// The tokenizer's tokens of `text` and its chunks.
pub fn chunk_text(text: &str, tokenizer: WordTokenizer, config: ChunkConfig) -> Vec<Chunk> {
    chunks(text, &tokenizer.tokenize(text), config)
}

#[derive(Debug)]
struct Walk<'a> {
    text: &'a str,
    tokens: &'a [Token],
    max: usize,
    at: usize,
    /// Whether the chunk before broke off within a sentence.
    broken: bool,
    /// The last sentence's end, so that a sentence of many chunks is not read again for each.
    known: (usize, usize),
}

impl Walk<'_> {
    fn sentence(&mut self, start: usize) -> usize {
        if start > self.known.0 || self.known.1 == 0 {
            self.known = sentence_end(self.text, self.tokens, start);
        }
        self.known.1
    }

    fn fits(&self, range: &Range<usize>) -> bool {
        self.tokens[range.end - 1].chars.end - self.tokens[range.start].chars.start <= self.max
    }

    fn next(&mut self) -> Range<usize> {
        let start = self.at;
        let mut end = self.sentence(start);
        if !self.fits(&(start..start + 1)) {
            self.broken = start + 1 < end;
            return start..start + 1;
        }
        let mut line = start;
        for token in start..end {
            if self.tokens[token].after_newline {
                line = token;
            }
            if !self.fits(&(start..token + 1)) {
                self.broken = true;
                return start..if line > start { line } else { token };
            }
        }
        if self.broken {
            self.broken = false;
            return start..end;
        }
        while end < self.tokens.len() {
            let next = self.sentence(end);
            if !self.fits(&(start..next)) {
                break;
            }
            end = next;
        }
        start..end
    }
}
