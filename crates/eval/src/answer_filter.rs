//! From what a model wrote to the answer in it, as lm-eval 0.4.13's filters find it.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::exact_match::ExactMatchConfig;
use crate::text::is_space;

/// What lm-eval puts where a filter finds nothing.
pub const NO_ANSWER: &str = "[invalid]";

/// Which of several matches is the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchChoice {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

/// lm-eval's `regex` filter: the first group of a match that is not empty, or the match where there is no group,
/// without white space at its ends.
#[derive(Debug, Clone)]
pub struct AnswerFilter {
    pattern: Regex,
    choice: MatchChoice,
}

impl AnswerFilter {
    /// A filter by this regular expression (syntax of the `regex` crate).
    ///
    /// # Errors
    /// A pattern that is not a regular expression.
    pub fn new(pattern: &str, choice: MatchChoice) -> Result<Self, EvalError> {
        Ok(Self { pattern: compile(pattern)?, choice })
    }

    /// gsm8k's `strict-match`: the number behind `####`.
    ///
    /// # Errors
    /// None in fact; the pattern is a constant.
    pub fn gsm8k_strict() -> Result<Self, EvalError> {
        Self::new(r"#### (\-?[0-9\.\,]+)", MatchChoice::First)
    }

    /// gsm8k's `flexible-extract`: the last number.
    ///
    /// # Errors
    /// None in fact; the pattern is a constant.
    pub fn gsm8k_flexible() -> Result<Self, EvalError> {
        Self::new(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", MatchChoice::Last)
    }

    /// The answer in a text, `None` where there is none (lm-eval: [`NO_ANSWER`]).
    pub fn find(&self, text: &str) -> Option<String> {
        find(&self.pattern, self.choice, text)
    }
}

impl ExactMatchConfig {
    /// What gsm8k's exact match ignores in lm-eval: case, commas, dollar signs, all up to `#### `, a full stop at
    /// the end.
    pub fn gsm8k() -> Self {
        Self::new().with_regexes_to_ignore([",", r"\$", "(?s).*#### ", r"\.$"]).with_ignore_case(true)
    }
}

/// lm-eval's `multi_choice_regex` filter: a letter in brackets, or else the text of an answer, or else a letter
/// behind a colon.
#[derive(Debug, Clone)]
pub struct ChoiceFilter {
    pattern: Regex,
    choice: MatchChoice,
    ignore_case: bool,
    ignore_punctuation: bool,
    punctuation: Regex,
}

impl ChoiceFilter {
    /// A filter that first looks for this regular expression, such as `(\([A-Z]\))`.
    ///
    /// # Errors
    /// A pattern that is not a regular expression.
    pub fn new(pattern: &str, choice: MatchChoice) -> Result<Self, EvalError> {
        let (pattern, punctuation) = (compile(pattern)?, compile(r"\p{P}")?);
        Ok(Self { pattern, choice, ignore_case: false, ignore_punctuation: false, punctuation })
    }

    /// Compares the texts of answers in lower case, or not.
    pub fn with_ignore_case(mut self, ignore: bool) -> Self {
        self.ignore_case = ignore;
        self
    }

    /// Compares the texts of answers without punctuation, or not.
    pub fn with_ignore_punctuation(mut self, ignore: bool) -> Self {
        self.ignore_punctuation = ignore;
        self
    }

    /// The letter of the answer in brackets, such as `(B)`, or what the pattern found; `None` where there is
    /// neither. Beyond 26 answers there is no letter.
    ///
    /// # Errors
    /// Answers too long to search for.
    pub fn find<S: AsRef<str>>(&self, text: &str, answers: &[S]) -> Result<Option<String>, EvalError> {
        let found = |pattern: &Regex, text: &str| find(pattern, self.choice, text).filter(|m| !m.is_empty());
        if let Some(answer) = found(&self.pattern, text) {
            return Ok(Some(answer));
        }
        let letters: Vec<char> = ('A'..='Z').take(answers.len()).collect();
        let cleaned: Vec<String> = answers
            .iter()
            .take(letters.len())
            .map(|answer| self.clean(answer.as_ref().trim_matches(is_space)))
            .collect();
        if letters.is_empty() {
            return Ok(None);
        }
        // The longest first: an answer that begins another may not stand for it.
        let mut texts: Vec<String> = cleaned.iter().map(|answer| regex::escape(answer)).collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.chars().count()));
        if let Some(answer) = found(&compile(&texts.join("|"))?, &self.clean(text)) {
            // Of two equal answers lm-eval keeps the later one's letter.
            let letter = cleaned.iter().zip(&letters).rev().find(|(text, _)| **text == answer);
            return Ok(Some(letter.map_or(answer, |(_, letter)| format!("({letter})"))));
        }
        let names: Vec<String> = letters.iter().map(char::to_string).collect();
        let behind_colon = compile(&format!(r":[\s]*({})", names.join("|")))?;
        Ok(found(&behind_colon, text).map(|letter| format!("({letter})")))
    }

    fn clean(&self, text: &str) -> String {
        let text = if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        match self.ignore_punctuation {
            true => self.punctuation.replace_all(&text, "").into_owned(),
            false => text,
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, EvalError> {
    Regex::new(pattern).map_err(|source| EvalError::AnswerPattern {
        pattern: pattern.chars().take(80).collect(),
        source: Box::new(source),
    })
}

fn find(pattern: &Regex, choice: MatchChoice, text: &str) -> Option<String> {
    let mut matches = pattern.captures_iter(text);
    let captures = match choice {
        MatchChoice::First => matches.next()?,
        MatchChoice::Last => matches.last()?,
    };
    let groups = captures.iter().skip(1).flatten().find(|group| !group.is_empty());
    let answer = match captures.len() {
        1 => captures.get(0),
        _ => groups,
    };
    Some(answer?.as_str().trim_matches(is_space).to_owned())
}
