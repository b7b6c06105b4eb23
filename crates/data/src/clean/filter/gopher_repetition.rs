use super::gopher_quality::Counting;
use crate::clean::analysis::{Analysis, Line, Rolling};
use crate::clean::chars::{count_chars, strip};
use crate::clean::rule::{Drop, Rule, Scratch};
use crate::clean::settings::settings;
use crate::clean::table::Table;
use xxhash_rust::xxh3::xxh3_64;

settings! {
    /// Gopher's rules against repetition (Rae et al. 2021, arXiv 2112.11446, table A1) over words between white space.
    ///
    /// Lines, paragraphs and n-grams are compared by 64-bit hashes.
    GopherRepetition = "gopher_repetition" {
        /// Whose counting: `datatrove` or `dolma` (which has no rule for paragraphs).
        counting / with_counting: Counting = Counting::Datatrove,
        /// Greatest share of lines that repeat an earlier one; 0 is off.
        max_duplicate_lines / with_max_duplicate_lines: f64 = 0.3,
        /// Greatest share of paragraphs that repeat an earlier one; 0 is off.
        max_duplicate_paragraphs / with_max_duplicate_paragraphs: f64 = 0.3,
        /// Greatest share of characters in such lines; 0 is off.
        max_duplicate_line_characters / with_max_duplicate_line_characters: f64 = 0.2,
        /// Greatest share of characters in such paragraphs; 0 is off.
        max_duplicate_paragraph_characters / with_max_duplicate_paragraph_characters: f64 = 0.2,
        /// n and the greatest share of characters in the most frequent n-gram.
        top_ngrams / with_top_ngrams: Vec<(usize, f64)> = vec![(2, 0.2), (3, 0.18), (4, 0.16)],
        /// n and the greatest share of characters in n-grams that repeat.
        duplicate_ngrams / with_duplicate_ngrams: Vec<(usize, f64)> =
            vec![(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)],
    }
}

/// What repeats of an earlier item: how many, and their code points.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Repeats {
    pub(super) items: usize,
    pub(super) chars: usize,
}

/// How many lines there are, and what repeats among them; `room` is at least their number.
pub(super) fn repeats<'l>(
    lines: impl Iterator<Item = &'l Line>,
    room: usize,
    table: &mut Table,
) -> (usize, Repeats) {
    table.clear(room);
    let (mut count, mut found) = (0, Repeats::default());
    for line in lines {
        count += 1;
        if table.add(line.hash, 0).0 > 1 {
            found.items += 1;
            found.chars += line.chars as usize;
        }
    }
    (count, found)
}

impl Rule for GopherRepetition {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        if text.is_empty() {
            return Drop::new("empty", 0.0);
        }
        match self.counting {
            Counting::Datatrove => self.check_datatrove(text, scratch),
            Counting::Dolma => self.check_dolma(text, scratch),
        }
    }
}

impl GopherRepetition {
    fn check_datatrove(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let (analysis, rolling, table) = scratch.rolled(text);
        let all = analysis.chars as f64;
        if self.max_duplicate_paragraphs > 0.0 || self.max_duplicate_paragraph_characters > 0.0 {
            let (paragraphs, found) = paragraphs(text, analysis, table);
            let share = found.items as f64 / paragraphs as f64;
            if self.max_duplicate_paragraphs > 0.0 && share > self.max_duplicate_paragraphs {
                return Drop::new("dup_para_frac", share);
            }
            let share = found.chars as f64 / all;
            if self.max_duplicate_paragraph_characters > 0.0
                && share > self.max_duplicate_paragraph_characters
            {
                return Drop::new("dup_para_char_frac", share);
            }
        }
        let room = analysis.lines.len();
        let (lines, found) = repeats(without_inner_blanks(&analysis.lines), room, table);
        let share = found.items as f64 / lines as f64;
        if self.max_duplicate_lines > 0.0 && share > self.max_duplicate_lines {
            return Drop::new("dup_line_frac", share);
        }
        let share = found.chars as f64 / all;
        if self.max_duplicate_line_characters > 0.0 && share > self.max_duplicate_line_characters {
            return Drop::new("dup_line_char_frac", share);
        }
        for &(n, limit) in &self.top_ngrams {
            if let Some((at, count)) = top(rolling, n, analysis.words.len(), analysis, table) {
                let chars = (rolling.chars(at, n) + n - 1) * count;
                let share = chars as f64 / all;
                if share > limit {
                    return Drop::new(format!("top_{n}_gram"), share);
                }
            }
        }
        for &(n, limit) in &self.duplicate_ngrams {
            let share = repeated_chars(rolling, n, analysis.words.len(), table) as f64 / all;
            if share > limit {
                return Drop::new(format!("duplicated_{n}_n_grams"), share);
            }
        }
        None
    }

    fn check_dolma(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let measures = super::dolma::lines(text, scratch, false);
        if self.max_duplicate_lines > 0.0 && measures.duplicate > self.max_duplicate_lines {
            return Drop::new("dup_line_frac", measures.duplicate);
        }
        if self.max_duplicate_line_characters > 0.0
            && measures.duplicate_characters > self.max_duplicate_line_characters
        {
            return Drop::new("dup_line_char_frac", measures.duplicate_characters);
        }
        for &(n, limit) in &self.top_ngrams {
            let share = super::dolma::top_ngram(text, scratch, n).unwrap_or(0.0);
            if share > limit {
                return Drop::new(format!("top_{n}_gram"), share);
            }
        }
        for &(n, limit) in &self.duplicate_ngrams {
            let share = super::dolma::duplicate_ngrams(text, scratch, n).unwrap_or(0.0);
            if share > limit {
                return Drop::new(format!("duplicated_{n}_n_grams"), share);
            }
        }
        None
    }
}

/// The parts between runs of `\n`: an empty one is left only at the two ends of the text.
pub(super) fn without_inner_blanks(lines: &[Line]) -> impl Iterator<Item = &Line> {
    let last = lines.len() - 1;
    let is_kept = move |number: usize, line: &Line| line.start < line.end || number == 0 || number == last;
    lines.iter().enumerate().filter(move |(number, line)| is_kept(*number, line)).map(|(_, line)| line)
}

/// The parts of the trimmed text between runs of two and more `\n`, and what repeats among them.
fn paragraphs(text: &str, analysis: &Analysis, table: &mut Table) -> (usize, Repeats) {
    let text = strip(text);
    table.clear(analysis.lines.len());
    let (mut count, mut found) = (0, Repeats::default());
    for paragraph in Paragraphs(Some(text)) {
        count += 1;
        if table.add(xxh3_64(paragraph.as_bytes()), 0).0 > 1 {
            found.items += 1;
            found.chars += if analysis.non_ascii { count_chars(paragraph) } else { paragraph.len() };
        }
    }
    (count, found)
}

/// The parts between runs of two and more `\n`.
struct Paragraphs<'t>(Option<&'t str>);

impl<'t> Iterator for Paragraphs<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let text = self.0?;
        match text.find("\n\n") {
            Some(at) => {
                self.0 = Some(text[at..].trim_start_matches('\n'));
                Some(&text[..at])
            }
            None => self.0.take(),
        }
    }
}

/// The first of the most frequent n-grams and its count.
pub(super) fn top(
    rolling: &Rolling,
    n: usize,
    words: usize,
    analysis: &Analysis,
    table: &mut Table,
) -> Option<(usize, usize)> {
    if n == 0 || words < n {
        return None;
    }
    table.clear(words);
    let mut best = (0, 0);
    for at in 0..=words - n {
        let (count, first) = table.add(spaced(rolling, analysis, at, n), at as u32);
        if count > best.1 || (count == best.1 && first < best.0) {
            best = (first, count);
        }
    }
    Some((best.0 as usize, best.1 as usize))
}

/// The hash of an n-gram whose borders count: the joined words and where each ends.
pub(super) fn spaced(rolling: &Rolling, analysis: &Analysis, at: usize, n: usize) -> u64 {
    let mut hash = rolling.joined(at, n);
    for word in &analysis.words[at..at + n - 1] {
        hash = (hash.rotate_left(7) ^ u64::from(word.end - word.start)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
    hash
}

/// Code points in n-grams, joined without spaces, that repeat an earlier one; after a repeat its words are skipped.
fn repeated_chars(rolling: &Rolling, n: usize, words: usize, table: &mut Table) -> usize {
    if n == 0 || words < n {
        return 0;
    }
    table.clear(words);
    let (mut at, mut chars) = (0, 0);
    while at + n <= words {
        if table.add(rolling.joined(at, n), 0).0 > 1 {
            chars += rolling.chars(at, n);
            at += n;
        } else {
            at += 1;
        }
    }
    chars
}
