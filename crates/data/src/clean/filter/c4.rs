use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;

use crate::clean::analysis::{Analysis, KeptLine};
use crate::clean::blocks::any;
use crate::clean::chars::{count_chars, is_space, strip};
use crate::clean::reference;
use crate::clean::rule::{Drop, Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// The rules of C4 (Raffel et al. 2020, JMLR 21:140): lines are removed, then short or suspicious texts dropped.
    ///
    /// As datatrove 0.10.1 has them; a sentence ends at `.`, `?` or `!` before white space.
    C4 = "c4" {
        /// Remove lines that do not end in `. ? ! " '`, or end in `...`.
        terminal_punctuation / with_terminal_punctuation: bool = true,
        /// Take `[12]`, `[edit]` and `[citation needed]` out of lines.
        citations / with_citations: bool = true,
        /// Fewest sentences in the lines that stay; 0 is off.
        min_sentences / with_min_sentences: usize = 5,
        /// Remove lines with fewer words; 0 is off.
        min_words_per_line / with_min_words_per_line: usize = 3,
        /// Remove lines with a longer word, in characters; 0 is off.
        max_word_length / with_max_word_length: usize = 1000,
        /// Drop texts with "lorem ipsum".
        lorem_ipsum / with_lorem_ipsum: bool = true,
        /// Remove lines with "javascript".
        javascript / with_javascript: bool = true,
        /// Drop texts with `{`.
        curly_bracket / with_curly_bracket: bool = true,
        /// Remove lines about cookies, privacy policies and terms of use.
        policy / with_policy: bool = true,
    }
}

settings! {
    /// mC4's rule (Xue et al. 2021): a text needs long lines.
    C4Paragraphs = "c4_paragraphs" {
        /// Lines that must be long.
        min_paragraphs / with_min_paragraphs: usize = 3,
        /// Characters of a long line.
        min_length / with_min_length: usize = 200,
    }
}

const LOREM: &str = "lorem ipsum";
const JAVASCRIPT: &str = "javascript";

/// C4's policy phrases.
const POLICY: [&str; 6] =
    ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];

/// A rare part of each phrase and where it begins there.
const RARE: [(&str, &[(&str, usize)]); 5] = [
    ("psu", &[(LOREM, 7)]),
    ("vasc", &[(JAVASCRIPT, 2)]),
    ("vacy", &[("privacy policy", 3)]),
    ("okie", &[("cookie policy", 2), ("uses cookies", 7), ("use of cookies", 9), ("use cookies", 6)]),
    ("f us", &[("terms of use", 7)]),
];

/// The rare parts in every case, which vector instructions find, and the number of each in [`RARE`].
static FINDER: LazyLock<(AhoCorasick, Vec<usize>)> = LazyLock::new(|| {
    let mut cased: Vec<(Vec<u8>, usize)> = Vec::new();
    for (number, (part, _)) in RARE.iter().enumerate() {
        for upper in 0..1u8 << part.len() {
            let change = |(at, b): (usize, u8)| if upper >> at & 1 == 1 { b.to_ascii_uppercase() } else { b };
            cased.push((part.bytes().enumerate().map(change).collect(), number));
        }
    }
    cased.sort_unstable();
    cased.dedup();
    let (parts, numbers): (Vec<Vec<u8>>, Vec<usize>) = cased.into_iter().unzip();
    // Only this kind of match lets the crate use vector instructions.
    let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(parts);
    (finder.expect("a constant list"), numbers)
});

pub(in crate::clean) static CITATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[\d*\]|\[edit\]|\[citation needed\]").expect("a constant pattern"));

/// Phrases of a text or line, in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::clean) struct Phrases {
    pub(in crate::clean) lorem: bool,
    pub(in crate::clean) javascript: bool,
    pub(in crate::clean) policy: bool,
}

impl Phrases {
    fn of(text: &str) -> Self {
        // The Kelvin sign is the only character beyond ASCII whose lower case is a letter of these phrases.
        if any(text.as_bytes(), |b| b == 0xe2) && text.contains('\u{212a}') {
            return Self::of(&text.replace('\u{212a}', "k"));
        }
        let mut found = Self::default();
        let (finder, numbers) = &*FINDER;
        for hit in finder.find_iter(text) {
            for (phrase, before) in RARE[numbers[hit.pattern().as_usize()]].1 {
                let part = hit
                    .start()
                    .checked_sub(*before)
                    .and_then(|start| text.as_bytes()[start..].get(..phrase.len()));
                if part.is_some_and(|part| part.eq_ignore_ascii_case(phrase.as_bytes())) {
                    found.add(phrase);
                }
            }
        }
        found
    }

    fn add(&mut self, phrase: &str) {
        match phrase {
            LOREM => self.lorem = true,
            JAVASCRIPT => self.javascript = true,
            _ => self.policy = true,
        }
    }

    pub(in crate::clean) fn of_reference(text: &str) -> Self {
        let text = text.to_lowercase();
        let policy = POLICY.iter().any(|phrase| text.contains(phrase));
        Self { lorem: text.contains(LOREM), javascript: text.contains(JAVASCRIPT), policy }
    }

    fn any(self) -> bool {
        self.lorem || self.javascript || self.policy
    }
}

/// What becomes of a text.
pub(in crate::clean) enum Fate {
    Kept { text: String, sentences: usize },
    Dropped(Drop),
}

/// What becomes of a line.
enum LineFate {
    /// It stays as it is, or as this.
    Kept(Option<String>),
    Removed,
    Drops(Drop),
}

impl Rule for C4 {
    fn checks(&self) -> bool {
        true
    }

    fn edits(&self) -> bool {
        true
    }

    fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let (text, drop) = self.verdict(self.run(text, scratch));
        scratch.pending = text;
        drop
    }

    /// A field is edited after the whole was checked: a short field of a long record is no short text.
    fn edit(&self, text: &str, scratch: &mut Scratch) -> Option<String> {
        let new = scratch.pending.take().or_else(|| self.run(text, scratch).text());
        let new = new.filter(|new| new != text)?;
        scratch.keep_lines(&new);
        Some(new)
    }

    fn check_reference(&self, text: &str) -> Option<Drop> {
        self.verdict(reference::c4(self, text)).1
    }

    fn edit_reference(&self, text: &str) -> Option<String> {
        reference::c4(self, text).text().filter(|new| new != text)
    }
}

impl Fate {
    fn text(self) -> Option<String> {
        match self {
            Self::Kept { text, .. } => Some(text),
            Self::Dropped(_) => None,
        }
    }
}

/// The words of a line.
#[derive(Debug, Clone, Copy, Default)]
struct Words {
    first: u32,
    count: usize,
    longest: usize,
    /// Words that end a sentence, the line's last one apart.
    ends: usize,
}

impl C4 {
    fn verdict(&self, fate: Fate) -> (Option<String>, Option<Drop>) {
        match fate {
            Fate::Dropped(drop) => (None, Some(drop)),
            Fate::Kept { sentences, .. } if sentences < self.min_sentences => {
                (None, Drop::new("too_few_sentences", sentences as f64))
            }
            Fate::Kept { text, .. } => (Some(text), None),
        }
    }

    /// Goes through the lines, and notes those that stay if they stay as they are.
    fn run(&self, text: &str, scratch: &mut Scratch) -> Fate {
        let (analysis, kept) = scratch.lines(text);
        kept.clear();
        let marks = Marks::of(self, text);
        let (mut at, mut sentences, mut dropped) = (0, 0, None);
        let mut is_cited = false;
        let mut out = String::with_capacity(text.len());
        let mut is_first = true;
        analysis.each_line(text, |start, line| {
            let words = take_words(analysis, text, &mut at, start + line.len());
            if dropped.is_some() {
                return;
            }
            let line = strip(line);
            let cited = match self.line_fate(line, words, marks) {
                LineFate::Kept(cited) => cited,
                LineFate::Removed => return,
                LineFate::Drops(drop) => {
                    dropped = Some(drop);
                    return;
                }
            };
            if self.min_sentences > 0 {
                sentences += match &cited {
                    Some(cited) => count_sentences(cited),
                    None => usize::from(words.count > 0) + words.ends,
                };
            }
            is_cited |= cited.is_some();
            if !is_first {
                out.push('\n');
            }
            is_first = false;
            out.push_str(cited.as_deref().unwrap_or(line));
            let from = analysis.words.get(words.first as usize).map_or(0, |word| word.start);
            let (start, end) = (from, from + line.len() as u32);
            let last_word = words.first + words.count as u32;
            kept.push(KeptLine { start, end, first_word: words.first, last_word });
        });
        if let Some(drop) = dropped {
            return Fate::Dropped(drop);
        }
        trim_kept(kept);
        let stripped = strip(&out);
        let text = if stripped.len() == out.len() { out } else { stripped.to_owned() };
        // Then words and lines of the new text have to be read.
        if is_cited {
            scratch.forget();
        }
        Fate::Kept { text, sentences }
    }

    /// What becomes of a line without white space at its ends.
    fn line_fate(&self, line: &str, words: Words, marks: Marks) -> LineFate {
        if self.max_word_length > 0 && words.longest > self.max_word_length {
            return LineFate::Removed;
        }
        let mut cited = None;
        if marks.citation
            && line.contains('[')
            && let Cow::Owned(new) = CITATION.replace_all(line, "")
        {
            cited = Some(new);
        }
        let line = cited.as_deref().unwrap_or(line);
        if self.terminal_punctuation && (!line.ends_with(['.', '?', '!', '"', '\'']) || line.ends_with("..."))
        {
            return LineFate::Removed;
        }
        if words.count < self.min_words_per_line {
            return LineFate::Removed;
        }
        let phrases = if marks.phrase { Phrases::of(line) } else { Phrases::default() };
        if self.lorem_ipsum && phrases.lorem {
            return LineFate::Drops(Drop { reason: "lorem_ipsum".into(), value: 1.0 });
        }
        if self.javascript && phrases.javascript {
            return LineFate::Removed;
        }
        if self.curly_bracket && marks.curly && line.contains('{') {
            return LineFate::Drops(Drop { reason: "curly_bracket".into(), value: 1.0 });
        }
        if self.policy && phrases.policy {
            return LineFate::Removed;
        }
        LineFate::Kept(cited)
    }
}

/// What a text has somewhere, so that its lines need a look.
#[derive(Debug, Clone, Copy)]
struct Marks {
    citation: bool,
    phrase: bool,
    curly: bool,
}

impl Marks {
    fn of(rule: &C4, text: &str) -> Self {
        let has = |wanted: u8| any(text.as_bytes(), |b| b == wanted);
        let citation = rule.citations && has(b'[');
        // Without its citations a text may have a phrase that it had not.
        Self { citation, phrase: citation || Phrases::of(text).any(), curly: has(b'{') }
    }
}

/// The words up to the byte `end`, from word `at` on, which moves behind them.
fn take_words(analysis: &Analysis, text: &str, at: &mut usize, end: usize) -> Words {
    let mut words = Words { first: *at as u32, ..Words::default() };
    let mut ends_last = 0;
    for word in &analysis.words[*at..] {
        if word.end as usize > end {
            break;
        }
        words.count += 1;
        words.longest = words.longest.max(word.chars as usize);
        words.ends += ends_last;
        ends_last = usize::from(matches!(text.as_bytes()[word.end as usize - 1], b'.' | b'?' | b'!'));
    }
    *at += words.count;
    words
}

/// Takes away empty lines at both ends, as stripping the text does.
fn trim_kept(kept: &mut Vec<KeptLine>) {
    let is_empty = |line: &KeptLine| line.start == line.end;
    while kept.last().is_some_and(is_empty) {
        kept.pop();
    }
    let blank = kept.iter().take_while(|line| is_empty(line)).count();
    kept.drain(..blank);
}

/// Parts between white space that follows `.`, `?` or `!`.
pub(in crate::clean) fn count_sentences(line: &str) -> usize {
    let line = strip(line);
    if line.is_empty() {
        return 0;
    }
    let bytes = line.as_bytes();
    let mut count = 1;
    for (at, pair) in bytes.windows(2).enumerate() {
        if matches!(pair[0], b'.' | b'?' | b'!') {
            let is_break = match pair[1] {
                b if b < 0x80 => is_space(char::from(b)),
                _ => line[at + 1..].chars().next().is_some_and(is_space),
            };
            count += usize::from(is_break);
        }
    }
    count
}

impl Rule for C4Paragraphs {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, _scratch: &mut Scratch) -> Option<Drop> {
        let long = text.split('\n').filter(|line| count_chars(line) >= self.min_length).count();
        if long < self.min_paragraphs {
            return Drop::new(format!("< {} paragraphs", self.min_paragraphs), long as f64);
        }
        None
    }
}
