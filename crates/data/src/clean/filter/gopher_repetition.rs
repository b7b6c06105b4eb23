use super::gopher_quality::Counting;
use crate::clean::analysis::{Analysis, Joined, Line, Word, mix};
use crate::clean::chars::{count_chars, strip};
use crate::clean::reference;
use crate::clean::rule::{Drop, Place, Places, Rule, Scratch};
use crate::clean::settings::settings;
use crate::clean::table::{Sketch, Table};
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

    fn check_reference(&self, text: &str) -> Option<Drop> {
        reference::gopher_repetition(self, text)
    }
}

impl GopherRepetition {
    fn check_datatrove(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let (analysis, joined, table, places) = scratch.joined(text);
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
        let words = &analysis.words;
        // No n-gram is more frequent than the most frequent of a shorter length, and none longer than the longest.
        let mut known: Option<(usize, usize)> = None;
        for &(n, limit) in self.top_ngrams.iter().filter(|(n, _)| *n > 0) {
            let longest = longest(joined, words, n);
            let is_kept = |count: usize| (count * longest) as f64 / all <= limit;
            if known.is_some_and(|(shorter, count)| shorter <= n && is_kept(count)) {
                continue;
            }
            if let Some(count) = most(words, n, &mut places.sketch).filter(|count| is_kept(*count)) {
                known = Some((n, count));
                continue;
            }
            if let Some((at, count)) = top(words, n, table) {
                let share = ((joined.chars(at, n) + n - 1) * count) as f64 / all;
                if share > limit {
                    return Drop::new(format!("top_{n}_gram"), share);
                }
                known = Some((n, count));
            }
        }
        if let Some(least) = self.duplicate_ngrams.iter().map(|(n, _)| *n).filter(|n| *n > 0).min() {
            find_repeatable(joined, words.len(), least, places);
        }
        for &(n, limit) in &self.duplicate_ngrams {
            let share = repeated_chars(joined, n, words.len(), &places.list, table) as f64 / all;
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
    let stripped = strip(text);
    table.clear(analysis.lines.len());
    let (mut count, mut found) = (0, Repeats::default());
    let mut add = |hash: u64, chars: usize| {
        count += 1;
        if table.add(hash, 0).0 > 1 {
            found.items += 1;
            found.chars += chars;
        }
    };
    if stripped.len() < text.len() {
        Paragraphs(Some(stripped)).for_each(|part| add(xxh3_64(part.as_bytes()), count_chars(part)));
        return (count, found);
    }
    // Its first and last line have more than white space, so its paragraphs are runs of lines that are not empty.
    for lines in analysis.lines.split(|line| line.start == line.end).filter(|lines| !lines.is_empty()) {
        let hash = lines.iter().fold(0, |hash: u64, line| mix(hash.rotate_left(29) ^ line.hash, hash));
        add(hash, lines.iter().map(|line| line.chars as usize + 1).sum::<usize>() - 1);
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
pub(super) fn top(words: &[Word], n: usize, table: &mut Table) -> Option<(usize, usize)> {
    if n == 0 {
        return None;
    }
    table.clear(words.len());
    let mut best = (0, 0);
    for (at, ngram) in words.windows(n).enumerate() {
        let (count, first) = table.add(spaced(ngram), at as u32);
        if count > best.1 || (count == best.1 && first < best.0) {
            best = (first, count);
        }
    }
    (best.1 > 0).then_some((best.0 as usize, best.1 as usize))
}

/// As many as the most frequent n-gram occurs, or a few more; `None` if that is more than a sketch counts.
fn most(words: &[Word], n: usize, sketch: &mut Sketch) -> Option<usize> {
    sketch.clear(words.len());
    let most = words.windows(n).map(|ngram| sketch.add(spaced(ngram))).max().unwrap_or(0);
    (most < u8::MAX).then_some(usize::from(most))
}

/// Code points of the longest n-gram, spaces included.
fn longest(joined: &Joined, words: &[Word], n: usize) -> usize {
    let last = (words.len() + 1).saturating_sub(n);
    (0..last).map(|at| joined.chars(at, n)).max().map_or(0, |chars| chars + n.max(1) - 1)
}

/// The hash of an n-gram whose borders count.
#[inline]
pub(super) fn spaced(ngram: &[Word]) -> u64 {
    ngram
        .iter()
        .fold(0, |hash: u64, word| (hash.rotate_left(29) ^ word.hash).wrapping_mul(0xd6e8_feb8_6659_fd93))
}

/// Bytes by which positions are told apart before n-grams are hashed: n-grams that are equal begin with the same.
const WINDOW: usize = 16;

/// The same for n-grams with so many.
const LONG_WINDOW: usize = 32;

/// The positions from which an n-gram of `least` or more words may repeat another. All others are neither repeats nor repeated;
/// that a sketch takes some for repeats makes more positions, and changes nothing else.
fn find_repeatable(joined: &Joined, words: usize, least: usize, places: &mut Places) {
    let Places { list, hashes, sketch } = places;
    list.clear();
    if least == 0 || words < least {
        return;
    }
    hashes.clear();
    hashes.extend((0..=words - least).map(|at| window_hash(joined, at)));
    sketch.clear(hashes.len());
    hashes.iter().flatten().for_each(|hash| {
        sketch.add(*hash);
    });
    for (at, hash) in hashes.iter().enumerate() {
        // An n-gram without a window is equal to none that has one.
        let is_repeatable = hash.is_none_or(|hash| sketch.count(hash) > 1);
        if is_repeatable || joined.words(at, least).len() < WINDOW {
            list.push(Place { at: at as u32, is_long: true });
        }
    }
    sketch.clear(list.len());
    for place in list.iter() {
        if let Some(hash) = long_window_hash(joined, place.at as usize) {
            sketch.add(hash);
        }
    }
    for place in list.iter_mut() {
        let hash = long_window_hash(joined, place.at as usize);
        place.is_long = hash.is_some_and(|hash| sketch.count(hash) > 1);
    }
}

fn halves(bytes: [u8; WINDOW]) -> (u64, u64) {
    let value = u128::from_le_bytes(bytes);
    (value as u64, (value >> 64) as u64)
}

fn window_hash(joined: &Joined, at: usize) -> Option<u64> {
    let (low, high) = halves(*joined.window::<WINDOW>(at)?);
    Some(mix(low, high))
}

fn long_window_hash(joined: &Joined, at: usize) -> Option<u64> {
    let window = joined.window::<LONG_WINDOW>(at)?;
    let (first, second) = (window.first_chunk::<WINDOW>()?, window.last_chunk::<WINDOW>()?);
    let (low, high) = halves(*first);
    let start = mix(low, high);
    let (low, high) = halves(*second);
    Some(mix(low ^ start, high))
}

/// Code points in n-grams, joined without spaces, that repeat an earlier one; after a repeat its words are skipped.
fn repeated_chars(joined: &Joined, n: usize, words: usize, places: &[Place], table: &mut Table) -> usize {
    table.clear(places.len());
    let (mut from, mut chars) = (0, 0);
    for place in places {
        let at = place.at as usize;
        if at < from || at + n > words || n == 0 {
            continue;
        }
        let ngram = joined.words(at, n);
        if ngram.len() >= LONG_WINDOW && !place.is_long {
            continue;
        }
        if table.add(xxh3_64(ngram), 0).0 > 1 {
            chars += joined.chars(at, n);
            from = at + n;
        }
    }
    chars
}
