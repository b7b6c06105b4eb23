//! Where in the source an extraction stands.

mod blocks;
mod lcs;
mod monotone;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;

use super::extraction::{Extraction, Status};
use super::tokenize::{Token, WordTokenizer};
use crate::error::DataError;

/// Stands between two extractions in the joined sequence; no token has this number.
const SEPARATOR: u32 = u32::MAX;

/// Whether alignment follows langextract to the letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AlignMode {
    /// As langextract 1.7.1: exact matches in the answer's order, then beginnings, then fuzzy ones.
    Reference,
    /// Four differences, all towards what the text says: tokens are compared after NFKC, so that full-width and
    /// half-width forms are equal; verbatim text is [`Status::MatchExact`] also where the answer names it out of
    /// order; a fuzzy match is tried before a mere beginning; and a beginning counts only if it is at least half of
    /// the extraction.
    #[default]
    Extended,
}

/// How matches are sought that are exact token by token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExactAlgorithm {
    /// The chain of occurrences in the answer's order that matches most tokens.
    #[default]
    Monotone,
    /// Python's difflib over the joined extractions, langextract's older rule.
    Difflib,
}

/// Whether extractions are sought that the source says in other words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fuzzy {
    /// By longest common subsequence.
    #[default]
    Lcs,
    /// Not at all.
    Off,
}

/// Whether the beginning of an extraction is enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lesser {
    /// Yes, as [`Status::MatchLesser`].
    #[default]
    Accept,
    /// No.
    Refuse,
}

/// How extractions are aligned with their source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignConfig {
    /// The rules as a whole.
    pub mode: AlignMode,
    /// What the compared tokens are.
    pub tokenizer: WordTokenizer,
    /// How exact matches are sought.
    pub exact: ExactAlgorithm,
    /// Whether fuzzy matches are sought.
    pub fuzzy: Fuzzy,
    /// Whether beginnings are accepted.
    pub lesser: Lesser,
    /// The part of an extraction's tokens that a fuzzy match must have, 0 to 1.
    pub threshold: f64,
    /// The part of a fuzzy match's span that matched tokens must make up, 0 to 1.
    pub min_density: f64,
}

impl Default for AlignConfig {
    fn default() -> Self {
        Self { mode: AlignMode::Extended, tokenizer: WordTokenizer::Unicode, ..Self::reference() }
    }
}

impl AlignConfig {
    /// langextract's rules and defaults (1.7.1).
    pub fn reference() -> Self {
        Self {
            mode: AlignMode::Reference,
            tokenizer: WordTokenizer::Regex,
            exact: ExactAlgorithm::Monotone,
            fuzzy: Fuzzy::Lcs,
            lesser: Lesser::Accept,
            threshold: 0.75,
            min_density: 1.0 / 3.0,
        }
    }

    /// Sets the rules as a whole.
    #[must_use]
    pub fn with_mode(mut self, mode: AlignMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the tokenizer.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: WordTokenizer) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// Sets how exact matches are sought.
    #[must_use]
    pub fn with_exact(mut self, exact: ExactAlgorithm) -> Self {
        self.exact = exact;
        self
    }

    /// Sets whether fuzzy matches are sought.
    #[must_use]
    pub fn with_fuzzy(mut self, fuzzy: Fuzzy) -> Self {
        self.fuzzy = fuzzy;
        self
    }

    /// Sets whether beginnings are accepted.
    #[must_use]
    pub fn with_lesser(mut self, lesser: Lesser) -> Self {
        self.lesser = lesser;
        self
    }

    /// Sets the least coverage of a fuzzy match.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// Sets the least density of a fuzzy match.
    #[must_use]
    pub fn with_min_density(mut self, min_density: f64) -> Self {
        self.min_density = min_density;
        self
    }

    /// Checks the two fractions.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if one is not between 0 and 1.
    pub fn validate(&self) -> Result<(), DataError> {
        for (field, value) in [("threshold", self.threshold), ("min_density", self.min_density)] {
            if !(0.0..=1.0).contains(&value) {
                let wanted = "a number from 0 to 1";
                return Err(DataError::InvalidConfig { field, found: value.to_string(), wanted });
            }
        }
        Ok(())
    }

    /// Sets `status`, `chars` and `tokens` of the extractions of one answer, which must be in the answer's order.
    /// Places count from the beginning of `text`.
    ///
    /// ```
    /// use burnisher_data::extract::{AlignConfig, Extraction, Status};
    ///
    /// let mut found = [Extraction::new("drug", "aspirin"), Extraction::new("drug", "ibuprofen")];
    /// AlignConfig::default().align(&mut found, "Aspirin helps.");
    /// assert_eq!((found[0].status, found[0].chars.clone()), (Status::MatchExact, Some(0..7)));
    /// assert_eq!((found[1].status, found[1].chars.clone()), (Status::Ungrounded, None));
    /// ```
    pub fn align(&self, extractions: &mut [Extraction], text: &str) {
        self.align_tokens(extractions, text, &self.tokenizer.tokenize(text));
    }

    pub(super) fn align_tokens(&self, extractions: &mut [Extraction], text: &str, tokens: &[Token]) {
        let mut matcher = Matcher::new(self, extractions, text, tokens);
        if self.exact == ExactAlgorithm::Monotone {
            matcher.in_order();
        }
        match self.mode {
            AlignMode::Reference => {
                matcher.beginnings(0);
                matcher.fuzzy();
            }
            AlignMode::Extended => {
                matcher.out_of_order();
                matcher.fuzzy();
                matcher.beginnings(2);
            }
        }
        for (extraction, found) in extractions.iter_mut().zip(matcher.found) {
            extraction.status = found.as_ref().map_or(Status::Ungrounded, |found| found.0);
            extraction.tokens = found.map(|found| found.1);
            extraction.chars = extraction
                .tokens
                .as_ref()
                .map(|at| tokens[at.start].chars.start..tokens[at.end - 1].chars.end);
        }
    }

    /// What tokens are compared by.
    fn key(&self, token: &str) -> String {
        match self.mode {
            AlignMode::Reference => token.to_lowercase(),
            AlignMode::Extended => token.nfkc().collect::<String>().to_lowercase(),
        }
    }
}

/// Words as numbers.
#[derive(Debug, Default)]
struct Numbers(HashMap<String, u32>);

impl Numbers {
    fn of(&mut self, word: String) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(SEPARATOR - 1);
        *self.0.entry(word).or_insert(next)
    }
}

#[derive(Debug)]
struct Matcher<'a> {
    config: &'a AlignConfig,
    source_words: Vec<String>,
    extraction_words: Vec<Vec<String>>,
    source: Vec<u32>,
    extractions: Vec<Vec<u32>>,
    found: Vec<Option<(Status, Range<usize>)>>,
}

impl<'a> Matcher<'a> {
    fn new(config: &'a AlignConfig, extractions: &[Extraction], text: &str, tokens: &[Token]) -> Self {
        let words = |text: &str, tokens: &[Token]| -> Vec<String> {
            tokens.iter().map(|token| config.key(&text[token.bytes.clone()])).collect()
        };
        let source_words = words(text, tokens);
        let extraction_words: Vec<Vec<String>> =
            extractions.iter().map(|e| words(&e.text, &config.tokenizer.tokenize(&e.text))).collect();
        let mut numbers = Numbers::default();
        let mut number = |words: &Vec<String>| words.iter().map(|word| numbers.of(word.clone())).collect();
        Self {
            config,
            source: number(&source_words),
            extractions: extraction_words.iter().map(&mut number).collect(),
            source_words,
            extraction_words,
            found: vec![None; extractions.len()],
        }
    }

    fn is_done(&self) -> bool {
        self.found.iter().all(Option::is_some)
    }

    fn in_order(&mut self) {
        for (extraction, start) in monotone::select(&self.source, &self.extractions) {
            let span = start..start + self.extractions[extraction].len();
            self.found[extraction] = Some((Status::MatchExact, span));
        }
    }

    /// Verbatim text anywhere: the first occurrence that no equal extraction has, else the first.
    fn out_of_order(&mut self) {
        if self.is_done() {
            return;
        }
        let occurrences = monotone::Occurrences::new(&self.source);
        let mut taken: HashSet<Range<usize>> =
            self.found.iter().flatten().map(|found| found.1.clone()).collect();
        for (found, tokens) in self.found.iter_mut().zip(&self.extractions) {
            if found.is_some() {
                continue;
            }
            let span = |start: usize| start..start + tokens.len();
            let mut all = occurrences.of(tokens).map(span).peekable();
            let first = all.peek().cloned();
            if let Some(span) = all.find(|span| !taken.contains(span)).or(first) {
                taken.insert(span.clone());
                *found = Some((Status::MatchExact, span));
            }
        }
    }

    /// Blocks of the joined extractions that begin where an extraction begins. A block that is not the whole
    /// extraction counts if `least` times its length is at least the extraction's.
    fn beginnings(&mut self, least: usize) {
        if self.is_done() || self.source.is_empty() {
            return;
        }
        let mut joined = Vec::new();
        let mut by_start = HashMap::new();
        for (extraction, tokens) in self.extractions.iter().enumerate() {
            by_start.insert(joined.len(), extraction);
            joined.extend_from_slice(tokens);
            joined.push(SEPARATOR);
        }
        joined.pop();
        for block in blocks::matching_blocks(&self.source, &joined) {
            let Some(extraction) = by_start.get(&block.b).copied() else { continue };
            if self.found[extraction].is_some() {
                continue;
            }
            let (len, span) = (self.extractions[extraction].len(), block.a..block.a + block.len);
            if block.len == len {
                self.found[extraction] = Some((Status::MatchExact, span));
            } else if self.config.lesser == Lesser::Accept && (least == 0 || least * block.len >= len) {
                self.found[extraction] = Some((Status::MatchLesser, span));
            }
        }
    }

    fn fuzzy(&mut self) {
        if self.config.fuzzy == Fuzzy::Off || self.is_done() {
            return;
        }
        let mut numbers = Numbers::default();
        let mut stems = |words: &Vec<String>| -> Vec<u32> {
            words.iter().map(|word| numbers.of(singular(word).to_owned())).collect()
        };
        let source = stems(&self.source_words);
        let in_source: HashSet<u32> = source.iter().copied().collect();
        for (found, words) in self.found.iter_mut().zip(&self.extraction_words) {
            if found.is_some() || words.is_empty() {
                continue;
            }
            let extraction = stems(words);
            let needed = (extraction.len() as f64 * self.config.threshold).ceil() as usize;
            if extraction.iter().filter(|token| in_source.contains(token)).count() < needed.max(1) {
                continue;
            }
            *found = lcs::tightest(&source, &extraction, needed, self.config.min_density)
                .map(|span| (Status::MatchFuzzy, span));
        }
    }
}

/// A word without the `s` of its plural.
fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(stem) if !stem.ends_with('s') && word.chars().nth(3).is_some() => stem,
        _ => word,
    }
}
