use std::collections::HashSet;

use crate::error::DataError;

/// How a [`Janitor`] cleans. The defaults are those of lm-evaluation-harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JanitorConfig {
    /// Words per n-gram; 13 by default.
    pub ngram: usize,
    /// Characters that are removed on either side of a match; 200 by default.
    pub window: usize,
    /// Matches from which on the whole document is given up; 10 by default.
    pub cutoff: usize,
    /// A piece must have more characters than this to be kept; 200 by default.
    pub min_slice: usize,
}

impl Default for JanitorConfig {
    fn default() -> Self {
        Self { ngram: 13, window: 200, cutoff: 10, min_slice: 200 }
    }
}

impl JanitorConfig {
    /// Sets the words per n-gram.
    #[must_use]
    pub fn with_ngram(mut self, ngram: usize) -> Self {
        self.ngram = ngram;
        self
    }

    /// Sets the characters removed on either side of a match.
    #[must_use]
    pub fn with_window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    /// Sets the matches from which on a document is given up.
    #[must_use]
    pub fn with_cutoff(mut self, cutoff: usize) -> Self {
        self.cutoff = cutoff;
        self
    }

    /// Sets the length of the longest piece that is not kept.
    #[must_use]
    pub fn with_min_slice(mut self, min_slice: usize) -> Self {
        self.min_slice = min_slice;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if an n-gram has no word.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.ngram == 0 {
            let found = self.ngram.to_string();
            return Err(DataError::InvalidConfig { field: "ngram", found, wanted: "at least 1 word" });
        }
        Ok(())
    }
}

/// Cuts benchmark text out of training documents, as the `Janitor` of lm-evaluation-harness 0.4 does in Python mode
/// (`lm_eval/decontamination/janitor.py`).
///
/// Its quirks are kept. Contaminants are stripped of ASCII punctuation and lower-cased (ASCII only) before they are
/// split into words, documents after: a free-standing dash in a document leaves an empty word in its n-gram, which then
/// matches nothing. The end of a match is the place of its last character, at which an inner piece begins again, while
/// the last piece begins one character later.
#[derive(Debug, Clone)]
pub struct Janitor {
    config: JanitorConfig,
    dirt: HashSet<String>,
}

impl Janitor {
    /// A janitor that knows no contaminant.
    ///
    /// # Errors
    ///
    /// As [`JanitorConfig::validate`].
    pub fn new(config: JanitorConfig) -> Result<Self, DataError> {
        config.validate()?;
        Ok(Self { config, dirt: HashSet::new() })
    }

    /// Adds a text that must not be trained on: a test question.
    pub fn register(&mut self, contaminant: &str) {
        let text = normalize(contaminant);
        let words: Vec<&str> = text.split(is_python_space).filter(|word| !word.is_empty()).collect();
        self.dirt.extend(words.windows(self.config.ngram).map(|window| window.join(" ")));
    }

    /// The number of different n-grams known.
    pub fn ngrams(&self) -> usize {
        self.dirt.len()
    }

    /// The pieces of a document that are left; none if it is too dirty.
    pub fn clean(&self, document: &str) -> Vec<String> {
        let letters: Vec<char> = document.chars().collect();
        let words = words(&letters);
        let clean =
            |(start, end): &(usize, usize)| normalize(&letters[*start..=*end].iter().collect::<String>());
        let normalized: Vec<String> = words.iter().map(clean).collect();
        let mut matches = Vec::new();
        for (at, window) in normalized.windows(self.config.ngram).enumerate() {
            if self.dirt.contains(&window.join(" ")) {
                matches.push((words[at].0, words[at + self.config.ngram - 1].1));
            }
        }
        self.pieces(&letters, &matches)
    }

    fn pieces(&self, letters: &[char], matches: &[(usize, usize)]) -> Vec<String> {
        let JanitorConfig { window, cutoff, min_slice, .. } = self.config;
        if matches.len() > cutoff {
            return Vec::new();
        }
        let text = |letters: &[char]| letters.iter().collect::<String>();
        let mut pieces = Vec::new();
        let (mut splice, mut last_end) = (0, None);
        for (start, end) in matches {
            let start = start.saturating_sub(window);
            let end = end.saturating_add(window).min(letters.len());
            if start > splice && start - splice > min_slice {
                pieces.push(text(&letters[splice..start]));
            }
            splice = end;
            last_end = Some(end);
        }
        // Without a match the end is −1, so that the last piece is the whole document.
        let (begin, behind) = last_end.map_or((0, -1), |end| (end + 1, end as i64));
        if behind < letters.len() as i64 - i64::try_from(min_slice).unwrap_or(i64::MAX) {
            pieces.push(text(&letters[begin.min(letters.len())..]));
        }
        pieces
    }
}

/// First and last character of every word.
fn words(letters: &[char]) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, letter) in letters.iter().enumerate() {
        match (is_python_space(*letter), start) {
            (true, Some(from)) => {
                words.push((from, at - 1));
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words.extend(start.map(|from| (from, letters.len() - 1)));
    words
}

fn normalize(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_ascii_punctuation())
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

/// What `str.split()` and `\s` take for white space in Python: also the four ASCII separators.
fn is_python_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}
