//! Exact match: the share of predictions that equal their reference.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::{EvalError, check_pairs};

/// What exact match ignores. The default ignores nothing.
///
/// The fields are those of `exact_match` in Hugging Face evaluate and lm-eval 0.4.13, applied to prediction and
/// reference in the order in which they stand here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ExactMatchConfig {
    /// Regular expressions (syntax of the `regex` crate) whose matches are removed, one after the other.
    pub regexes_to_ignore: Vec<String>,
    /// Compare in lower case.
    pub ignore_case: bool,
    /// Remove ASCII punctuation.
    pub ignore_punctuation: bool,
    /// Remove the ASCII digits.
    pub ignore_numbers: bool,
}

impl ExactMatchConfig {
    /// Ignores nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes the matches of these regular expressions.
    pub fn with_regexes_to_ignore<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.regexes_to_ignore = patterns.into_iter().map(Into::into).collect();
        self
    }

    /// Compares in lower case, or not.
    pub fn with_ignore_case(mut self, ignore: bool) -> Self {
        self.ignore_case = ignore;
        self
    }

    /// Removes ASCII punctuation, or not.
    pub fn with_ignore_punctuation(mut self, ignore: bool) -> Self {
        self.ignore_punctuation = ignore;
        self
    }

    /// Removes the ASCII digits, or not.
    pub fn with_ignore_numbers(mut self, ignore: bool) -> Self {
        self.ignore_numbers = ignore;
        self
    }

    /// Compiles the patterns.
    ///
    /// # Errors
    /// A pattern that is not a regular expression.
    pub fn init(&self) -> Result<ExactMatch, EvalError> {
        let compile = |(index, pattern): (usize, &String)| {
            Regex::new(pattern).map_err(|source| EvalError::Pattern {
                index,
                pattern: pattern.clone(),
                source: Box::new(source),
            })
        };
        let patterns = self.regexes_to_ignore.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        Ok(ExactMatch { patterns, config: self.clone() })
    }
}

/// Exact match, ready to run. Made by [`ExactMatchConfig::init`].
#[derive(Debug, Clone)]
pub struct ExactMatch {
    patterns: Vec<Regex>,
    config: ExactMatchConfig,
}

impl ExactMatch {
    /// The text without what is ignored.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for pattern in &self.patterns {
            text = pattern.replace_all(&text, "").into_owned();
        }
        if self.config.ignore_case {
            text = text.to_lowercase();
        }
        if self.config.ignore_punctuation {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        if self.config.ignore_numbers {
            text.retain(|c| !c.is_ascii_digit());
        }
        text
    }

    /// Whether the two texts are equal once cleaned.
    pub fn matches(&self, prediction: &str, reference: &str) -> bool {
        self.clean(prediction) == self.clean(reference)
    }

    /// Share of matching pairs, 0..1.
    ///
    /// # Errors
    /// No pairs, or not equally many predictions and references.
    pub fn score<P: AsRef<str>, R: AsRef<str>>(
        &self,
        predictions: &[P],
        references: &[R],
    ) -> Result<f64, EvalError> {
        check_pairs("exact match", predictions.len(), references.len())?;
        let hits =
            predictions.iter().zip(references).filter(|(p, r)| self.matches(p.as_ref(), r.as_ref())).count();
        Ok(hits as f64 / predictions.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_pattern_is_named() {
        let error = ExactMatchConfig::new().with_regexes_to_ignore(["ok", "(open"]).init().unwrap_err();
        assert_eq!(
            error.to_string(),
            "exact match: pattern 1 to ignore, `(open`, is not a regular expression"
        );
    }

    #[test]
    fn unequal_lengths_are_an_error() {
        let metric = ExactMatchConfig::new().init().unwrap();
        let error = metric.score(&["a", "b"], &["a"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "exact match: found 2 predictions and 1 references, wanted equally many"
        );
    }
}
