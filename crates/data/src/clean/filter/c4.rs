use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::Regex;

use crate::clean::chars::{count_chars, is_space, strip};
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

/// "lorem ipsum", "javascript", and then C4's policy phrases, in any case.
static PHRASES: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build([
            "lorem ipsum",
            "javascript",
            "terms of use",
            "privacy policy",
            "cookie policy",
            "uses cookies",
            "use of cookies",
            "use cookies",
        ])
        .expect("a constant list")
});

/// Three letters of each phrase, in every case: a text without them has no phrase, and is told so much faster.
static FRAGMENTS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let mut fragments = Vec::new();
    for fragment in ["psu", "vas", "oki", "vac", "f u"] {
        for upper in 0..8u8 {
            let cased = fragment.bytes().enumerate().map(|(at, b)| match upper >> at & 1 {
                1 => b.to_ascii_uppercase(),
                _ => b,
            });
            fragments.push(cased.collect::<Vec<u8>>());
        }
    }
    fragments.sort_unstable();
    fragments.dedup();
    AhoCorasick::new(fragments).expect("a constant list")
});

static CITATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[\d*\]|\[edit\]|\[citation needed\]").expect("a constant pattern"));

/// Phrases of a text or line.
#[derive(Debug, Clone, Copy, Default)]
struct Phrases {
    lorem: bool,
    javascript: bool,
    policy: bool,
}

impl Phrases {
    fn of(text: &str) -> Self {
        // The Kelvin sign is the only character beyond ASCII whose lower case is a letter of these phrases.
        if text.contains('\u{212a}') {
            return Self::of(&text.replace('\u{212a}', "k"));
        }
        let mut found = Self::default();
        if !FRAGMENTS.is_match(text) || !PHRASES.is_match(text) {
            return found;
        }
        for hit in PHRASES.find_overlapping_iter(text) {
            match hit.pattern().as_u32() {
                0 => found.lorem = true,
                1 => found.javascript = true,
                _ => found.policy = true,
            }
        }
        found
    }

    fn any(self) -> bool {
        self.lorem || self.javascript || self.policy
    }
}

/// What becomes of a text.
enum Fate {
    Kept { text: String, sentences: usize },
    Dropped(Drop),
}

impl Rule for C4 {
    fn checks(&self) -> bool {
        true
    }

    fn edits(&self) -> bool {
        true
    }

    fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        match self.run(text, scratch) {
            Fate::Dropped(drop) => Some(drop),
            Fate::Kept { sentences, .. } if sentences < self.min_sentences => {
                Drop::new("too_few_sentences", sentences as f64)
            }
            Fate::Kept { text, .. } => {
                scratch.pending = Some(text);
                None
            }
        }
    }

    /// A field is edited after the whole was checked: a short field of a long record is no short text.
    fn edit(&self, text: &str, scratch: &mut Scratch) -> Option<String> {
        let new = scratch.pending.take().or_else(|| match self.run(text, scratch) {
            Fate::Kept { text, .. } => Some(text),
            Fate::Dropped(_) => None,
        });
        new.filter(|new| new != text)
    }
}

impl C4 {
    /// Goes through the lines.
    fn run(&self, text: &str, scratch: &mut Scratch) -> Fate {
        let (analysis, ..) = scratch.analysis(text);
        let has_citation = self.citations && text.contains('[');
        let has_phrase = has_citation || Phrases::of(text).any();
        let has_curly = text.contains('{');
        let mut words = analysis.words.iter().peekable();
        let mut sentences = 0;
        let mut dropped = None;
        let mut out = String::with_capacity(text.len());
        let mut is_first = true;
        analysis.each_line(text, |start, line| {
            let end = (start + line.len()) as u32;
            let (mut count, mut longest) = (0, 0);
            while let Some(word) = words.next_if(|word| word.end <= end) {
                count += 1;
                longest = longest.max(word.chars as usize);
            }
            if dropped.is_some() || (self.max_word_length > 0 && longest > self.max_word_length) {
                return;
            }
            let line = strip(line);
            let cited;
            let mut line = line;
            if has_citation && line.contains('[') {
                cited = CITATION.replace_all(line, "");
                line = &cited;
            }
            if self.terminal_punctuation
                && (!line.ends_with(['.', '?', '!', '"', '\'']) || line.ends_with("..."))
            {
                return;
            }
            if count < self.min_words_per_line {
                return;
            }
            let phrases = if has_phrase { Phrases::of(line) } else { Phrases::default() };
            if self.lorem_ipsum && phrases.lorem {
                dropped = Drop::new("lorem_ipsum", 1.0);
                return;
            }
            if self.javascript && phrases.javascript {
                return;
            }
            if self.curly_bracket && has_curly && line.contains('{') {
                dropped = Drop::new("curly_bracket", 1.0);
                return;
            }
            if self.policy && phrases.policy {
                return;
            }
            if self.min_sentences > 0 {
                sentences += count_sentences(line);
            }
            if !is_first {
                out.push('\n');
            }
            out.push_str(line);
            is_first = false;
        });
        if let Some(drop) = dropped {
            return Fate::Dropped(drop);
        }
        Fate::Kept { text: strip(&out).to_owned(), sentences }
    }
}

/// Parts between white space that follows `.`, `?` or `!`.
fn count_sentences(line: &str) -> usize {
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
