//! Filters of a few lines each.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::clean::blocks::{count, wide_runs};
use crate::clean::reference;
use crate::clean::rule::{Drop, Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// Drops texts that a generator was stuck in: one character, word or line over and over.
    Repetition = "repetition" {
        /// Longest run of one character that is no white space; 0 is off.
        max_character_run / with_max_character_run: usize = 100,
        /// Longest run of one word; 0 is off.
        max_word_run / with_max_word_run: usize = 10,
        /// Most copies of one line that is not blank; 0 is off.
        max_line_copies / with_max_line_copies: usize = 20,
    }
}

settings! {
    /// Drops texts with too few letters of the wanted scripts among the characters that are no white space.
    AlphabetRatio = "alphabet_ratio" {
        /// Least share of letters, 0 to 1.
        min_ratio / with_min_ratio: f64 = 0.6,
        /// A regular expression of one wanted character (`\p{Latin}`, `\p{Han}`); empty: any letter.
        alphabet / with_alphabet: String = String::new(),
    }
}

/// What a match means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchAction {
    /// Texts with a match are dropped.
    #[default]
    Drop,
    /// Texts without a match are dropped.
    Keep,
}

settings! {
    /// Drops or keeps texts by regular expressions (syntax of the crate `regex`).
    Matches = "regex" {
        /// The expressions; any of them is a match.
        patterns / with_patterns: Vec<String> = Vec::new(),
        /// What a match means: `drop` or `keep`.
        action / with_action: MatchAction = MatchAction::Drop,
    }
}

impl Rule for Repetition {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let (analysis, table, _) = scratch.analysis(text);
        if self.max_character_run > 0 {
            let run = longest_run(text, &analysis.words, self.max_character_run);
            if run > self.max_character_run {
                return Drop::new("character_run", run as f64);
            }
        }
        if self.max_word_run > 0 {
            let (mut run, mut last) = (0, None);
            for word in &analysis.words {
                run = if last == Some((word.hash, word.end - word.start)) { run + 1 } else { 1 };
                last = Some((word.hash, word.end - word.start));
                if run > self.max_word_run {
                    return Drop::new("word_run", run as f64);
                }
            }
        }
        if self.max_line_copies > 0 && analysis.lines.len() > self.max_line_copies {
            table.clear(analysis.lines.len());
            for line in &analysis.lines {
                let part = &text[line.start as usize..line.end as usize];
                if !part.trim().is_empty() && table.add(line.hash, 0).0 as usize > self.max_line_copies {
                    return Drop::new("line_copies", self.max_line_copies as f64 + 1.0);
                }
            }
        }
        None
    }

    fn check_reference(&self, text: &str) -> Option<Drop> {
        reference::repetition(self, text)
    }
}

/// The longest run of one character, as far as it is longer than `limit`; only long words can hold one.
fn longest_run(text: &str, words: &[crate::clean::analysis::Word], limit: usize) -> usize {
    let mut longest = 0;
    for word in words.iter().filter(|word| word.chars as usize > limit) {
        let (mut run, mut last) = (0, None);
        for c in text[word.start as usize..word.end as usize].chars() {
            run = if last == Some(c) { run + 1 } else { 1 };
            last = Some(c);
            longest = longest.max(run);
        }
    }
    longest
}

/// [`AlphabetRatio`] with its expression compiled.
#[derive(Debug)]
pub(in crate::clean) struct Alphabet {
    min_ratio: f64,
    alphabet: Option<Regex>,
}

impl Alphabet {
    pub(in crate::clean) fn new(settings: &AlphabetRatio) -> Result<Self, regex::Error> {
        let alphabet = match settings.alphabet.as_str() {
            "" => None,
            pattern => Some(Regex::new(pattern)?),
        };
        Ok(Self { min_ratio: settings.min_ratio, alphabet })
    }

    fn verdict(&self, letters: usize, all: usize) -> Option<Drop> {
        let ratio = letters as f64 / all.max(1) as f64;
        if ratio < self.min_ratio { Drop::new("alphabet_ratio", ratio) } else { None }
    }
}

impl Rule for Alphabet {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, _scratch: &mut Scratch) -> Option<Drop> {
        if self.alphabet.is_some() {
            return self.check_reference(text);
        }
        let bytes = text.as_bytes();
        let mut letters = count(bytes, |b| (b | 0x20).wrapping_sub(b'a') < 26);
        let mut all = count(bytes, |b| (b != b' ') & (b.wrapping_sub(9) >= 5) & (b < 0x80));
        for c in wide_runs(text).flat_map(|(_, run)| run.chars()).filter(|c| !c.is_whitespace()) {
            all += 1;
            letters += usize::from(c.is_alphabetic());
        }
        self.verdict(letters, all)
    }

    fn check_reference(&self, text: &str) -> Option<Drop> {
        let all = text.chars().filter(|c| !c.is_whitespace()).count();
        let letters = match &self.alphabet {
            Some(alphabet) => alphabet.find_iter(text).count(),
            None => text.chars().filter(|c| c.is_alphabetic()).count(),
        };
        self.verdict(letters, all)
    }
}

/// [`Matches`] with its expressions compiled.
#[derive(Debug)]
pub(in crate::clean) struct Expressions {
    patterns: Vec<Regex>,
    action: MatchAction,
}

impl Expressions {
    pub(in crate::clean) fn new(settings: &Matches) -> Result<Self, regex::Error> {
        let patterns: Result<Vec<Regex>, regex::Error> =
            settings.patterns.iter().map(|pattern| Regex::new(pattern)).collect();
        Ok(Self { patterns: patterns?, action: settings.action })
    }
}

impl Rule for Expressions {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, _scratch: &mut Scratch) -> Option<Drop> {
        let found = self.patterns.iter().position(|pattern| pattern.is_match(text));
        match (self.action, found) {
            (MatchAction::Drop, Some(pattern)) => Drop::new("matches", pattern as f64),
            (MatchAction::Keep, None) => Drop::new("no_match", 0.0),
            _ => None,
        }
    }
}
