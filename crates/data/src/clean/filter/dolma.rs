//! What dolma 1.0.8's taggers `gopher_v1` and `gopher_v2` measure.

use super::gopher_repetition::{spaced, top, without_inner_blanks};
use crate::clean::analysis::Line;
use crate::clean::chars::{LETTER, count_chars};
use crate::clean::rule::Scratch;

/// What a Gopher tagger of dolma 1.0.8 measures in a text, over words between white space.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct GopherMeasures {
    /// Code points.
    pub characters: usize,
    /// Words.
    pub words: usize,
    /// Median word length in characters.
    pub median_word_length: f64,
    /// Share of words that hold `#` or `…`.
    pub symbols_per_word: f64,
    /// Share of words with a letter.
    pub words_with_letter: f64,
    /// Occurrences of the eight stop words.
    pub stop_words: usize,
    /// Share of lines that begin with `*` or `-`.
    pub bullet_lines: f64,
    /// Share of lines that end with `…`.
    pub ellipsis_lines: f64,
    /// Share of lines of which there is another copy; all copies count.
    pub duplicate_lines: f64,
    /// Characters in such lines per character that is not white space.
    pub duplicate_line_characters: f64,
    /// n and the share of characters in the most frequent n-gram, for n of 2 to 4 that the text has.
    pub top_ngrams: Vec<(usize, f64)>,
    /// n and the share of characters in n-grams of which there is another copy, for n of 5 to 10 that the text has.
    pub duplicate_ngrams: Vec<(usize, f64)>,
}

/// Whether runs of line breaks make empty lines that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EmptyLines {
    /// Every break ends a line: `gopher_v1`.
    Count,
    /// A run of breaks is one: `gopher_v2`.
    Skip,
}

impl GopherMeasures {
    /// Measures a text of less than 4 GiB; the empty text measures 0 throughout.
    pub fn of(text: &str, empty_lines: EmptyLines) -> Self {
        let mut scratch = Scratch::default();
        if text.is_empty() {
            return Self::default();
        }
        let stop_words = ["the", "be", "to", "of", "and", "that", "have", "with"].map(String::from);
        let quality = quality(text, &mut scratch, &stop_words);
        let lines = lines(text, &mut scratch, empty_lines == EmptyLines::Skip);
        let top = |n| Some((n, top_ngram(text, &mut scratch, n)?));
        let top_ngrams = (2..=4).filter_map(top).collect();
        let duplicate = |n| Some((n, duplicate_ngrams(text, &mut scratch, n)?));
        Self {
            characters: count_chars(text),
            words: quality.words,
            median_word_length: quality.median_word_length,
            symbols_per_word: quality.symbols_per_word,
            words_with_letter: quality.words_with_letter,
            stop_words: quality.stop_words,
            bullet_lines: lines.bullets,
            ellipsis_lines: lines.ellipses,
            duplicate_lines: lines.duplicate,
            duplicate_line_characters: lines.duplicate_characters,
            top_ngrams,
            duplicate_ngrams: (5..=10).filter_map(duplicate).collect(),
        }
    }
}

/// The measures of words and of line borders.
#[derive(Debug, Default)]
pub(super) struct Quality {
    pub(super) words: usize,
    pub(super) median_word_length: f64,
    pub(super) symbols_per_word: f64,
    pub(super) words_with_letter: f64,
    pub(super) stop_words: usize,
    pub(super) bullet_lines: f64,
    pub(super) ellipsis_lines: f64,
}

pub(super) fn quality(text: &str, scratch: &mut Scratch, stop_words: &[String]) -> Quality {
    let borders = lines(text, scratch, false);
    let (analysis, _, lengths) = scratch.analysis(text);
    let longest = stop_words.iter().map(String::len).max().unwrap_or(0);
    lengths.clear();
    let (mut lettered, mut symbols, mut stops) = (0usize, 0usize, 0usize);
    let has_symbols = text.contains(['#', '…']);
    for word in &analysis.words {
        lengths.push(word.chars);
        lettered += usize::from(word.classes & LETTER != 0);
        let part = &text[word.start as usize..word.end as usize];
        symbols += usize::from(has_symbols && part.contains(['#', '…']));
        stops += usize::from(part.len() <= longest && stop_words.iter().any(|stop| stop == part));
    }
    let words = analysis.words.len();
    let all = words.max(1) as f64;
    Quality {
        words,
        median_word_length: median(lengths),
        symbols_per_word: symbols as f64 / all,
        words_with_letter: lettered as f64 / all,
        stop_words: stops,
        bullet_lines: borders.bullets,
        ellipsis_lines: borders.ellipses,
    }
}

fn median(lengths: &mut [u32]) -> f64 {
    let half = lengths.len() / 2;
    if lengths.is_empty() {
        return 0.0;
    }
    let is_odd = lengths.len() % 2 == 1;
    let (below, middle, _) = lengths.select_nth_unstable(half);
    let middle = f64::from(*middle);
    if is_odd { middle } else { f64::midpoint(f64::from(below.iter().copied().max().unwrap_or(0)), middle) }
}

/// The measures of lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) bullets: f64,
    pub(super) ellipses: f64,
    pub(super) duplicate: f64,
    pub(super) duplicate_characters: f64,
}

pub(super) fn lines(text: &str, scratch: &mut Scratch, skip_empty: bool) -> Lines {
    let (analysis, table, _) = scratch.analysis(text);
    if text.is_empty() {
        return Lines::default();
    }
    table.clear(analysis.lines.len());
    let (mut count, mut bullets, mut ellipses) = (0usize, 0usize, 0usize);
    let (mut duplicate, mut duplicate_chars) = (0usize, 0usize);
    let mut each = |line: &Line| {
        let part = &text[line.start as usize..line.end as usize];
        count += 1;
        bullets += usize::from(part.starts_with(['*', '-']));
        ellipses += usize::from(part.ends_with('…'));
        // The second copy counts for the first one too.
        let copies = match table.add(line.hash, 0).0 {
            1 => 0,
            2 => 2,
            _ => 1,
        };
        duplicate += copies;
        duplicate_chars += copies * line.chars as usize;
    };
    if skip_empty {
        without_inner_blanks(&analysis.lines).for_each(&mut each);
    } else {
        analysis.lines.iter().for_each(&mut each);
    }
    let chars: usize = analysis.words.iter().map(|word| word.chars as usize).sum();
    let all = count.max(1) as f64;
    Lines {
        bullets: bullets as f64 / all,
        ellipses: ellipses as f64 / all,
        duplicate: duplicate as f64 / all,
        duplicate_characters: duplicate_chars as f64 / chars.max(1) as f64,
    }
}

/// Characters in the most frequent n-gram per character that is not white space.
pub(super) fn top_ngram(text: &str, scratch: &mut Scratch, n: usize) -> Option<f64> {
    let (analysis, joined, table, _) = scratch.joined(text);
    let (at, count) = top(&analysis.words, n, table)?;
    Some((count * joined.chars(at, n)) as f64 / joined.chars(0, analysis.words.len()).max(1) as f64)
}

/// Characters in n-grams that occur more than once per character in n-grams.
pub(super) fn duplicate_ngrams(text: &str, scratch: &mut Scratch, n: usize) -> Option<f64> {
    let (analysis, joined, table, _) = scratch.joined(text);
    let words = analysis.words.len();
    if n == 0 || words < n {
        return None;
    }
    table.clear(words);
    let (mut all, mut repeated) = (0, 0);
    for at in 0..=words - n {
        let chars = joined.chars(at, n);
        all += chars;
        repeated += match table.add(spaced(&analysis.words[at..at + n]), 0).0 {
            1 => 0,
            2 => 2 * chars,
            _ => chars,
        };
    }
    Some(repeated as f64 / all.max(1) as f64)
}
