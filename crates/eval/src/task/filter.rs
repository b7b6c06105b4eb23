//! From what a model wrote to its answer.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer_filter::{AnswerFilter, ChoiceFilter, MatchChoice};
use crate::entities::find_object;
use crate::error::EvalError;
use crate::text::is_space;

/// A step from what a model wrote to its answer. In files a name, or a table that begins with the name:
/// `strip`, `{regex: "#### (.*)", choose: last}`, `{choice: {ignore_case: true}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
#[non_exhaustive]
pub enum Filter {
    /// `strip`: without white space at the ends (lm-eval: `remove_whitespace`).
    Strip,
    /// `lowercase`: in lower case.
    Lowercase,
    /// `first_line`: the first line that is not blank, without white space at its ends.
    FirstLine,
    /// `gsm8k_strict`: the number behind `####` ([`AnswerFilter::gsm8k_strict`]).
    Gsm8kStrict,
    /// `gsm8k_flexible`: the last number ([`AnswerFilter::gsm8k_flexible`]).
    Gsm8kFlexible,
    /// `json`: the first JSON object.
    Json,
    /// `regex`: what a pattern finds ([`AnswerFilter`]).
    Regex(RegexOptions),
    /// `choice`: the letter of one of the choices ([`ChoiceFilter`]; lm-eval: `multi_choice_regex`).
    Choice(ChoiceOptions),
}

/// The table of a `regex` filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegexOptions {
    /// The pattern: its first group that is not empty is the answer, or the match where it has no group.
    pub regex: String,
    /// Which match, `first` or `last`; the first by default.
    #[serde(default)]
    pub choose: MatchChoice,
}

/// What a `choice` filter gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceAnswer {
    /// `letter`: its letter in brackets, `(B)`, as lm-eval.
    #[default]
    Letter,
    /// `text`: the text of the choice.
    Text,
}

/// The table of a `choice` filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ChoiceOptions {
    /// The pattern looked for first; a capital letter in brackets by default.
    pub pattern: String,
    /// Which match, `first` or `last`; the first by default.
    pub choose: MatchChoice,
    /// Whether the texts of choices are looked for in lower case; not by default.
    pub ignore_case: bool,
    /// Whether they are looked for without punctuation; not by default.
    pub ignore_punctuation: bool,
    /// What becomes of the letter; it stays by default.
    pub gives: ChoiceAnswer,
}

impl Default for ChoiceOptions {
    fn default() -> Self {
        Self {
            pattern: r"(\([A-Z]\))".to_owned(),
            choose: MatchChoice::default(),
            ignore_case: false,
            ignore_punctuation: false,
            gives: ChoiceAnswer::default(),
        }
    }
}

const PLAIN: [Filter; 6] = [
    Filter::Strip,
    Filter::Lowercase,
    Filter::FirstLine,
    Filter::Gsm8kStrict,
    Filter::Gsm8kFlexible,
    Filter::Json,
];

impl Filter {
    /// The name in files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Strip => "strip",
            Self::Lowercase => "lowercase",
            Self::FirstLine => "first_line",
            Self::Gsm8kStrict => "gsm8k_strict",
            Self::Gsm8kFlexible => "gsm8k_flexible",
            Self::Json => "json",
            Self::Regex(_) => "regex",
            Self::Choice(_) => "choice",
        }
    }

    pub(super) fn init(&self) -> Result<ReadyFilter, EvalError> {
        Ok(match self {
            Self::Strip => ReadyFilter::Strip,
            Self::Lowercase => ReadyFilter::Lowercase,
            Self::FirstLine => ReadyFilter::FirstLine,
            Self::Json => ReadyFilter::Json,
            Self::Gsm8kStrict => ReadyFilter::Regex(AnswerFilter::gsm8k_strict()?),
            Self::Gsm8kFlexible => ReadyFilter::Regex(AnswerFilter::gsm8k_flexible()?),
            Self::Regex(options) => ReadyFilter::Regex(AnswerFilter::new(&options.regex, options.choose)?),
            Self::Choice(options) => {
                let filter = ChoiceFilter::new(&options.pattern, options.choose)?
                    .with_ignore_case(options.ignore_case)
                    .with_ignore_punctuation(options.ignore_punctuation);
                ReadyFilter::Choice(filter, options.gives)
            }
        })
    }
}

impl From<Filter> for Value {
    fn from(filter: Filter) -> Self {
        match &filter {
            Filter::Regex(options) => json!(options),
            Filter::Choice(options) => json!({ "choice": options }),
            plain => plain.name().into(),
        }
    }
}

impl TryFrom<Value> for Filter {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if let Some(name) = value.as_str() {
            let plain = PLAIN.into_iter().find(|filter| filter.name() == name);
            return match plain {
                Some(filter) => Ok(filter),
                None if name == "choice" => Ok(Self::Choice(ChoiceOptions::default())),
                None => Err(format!("found filter `{name}`, wanted {}", wanted())),
            };
        }
        if value.get("regex").is_some() {
            return serde_json::from_value(value).map(Self::Regex).map_err(|error| format!("regex: {error}"));
        }
        match value.as_object() {
            Some(table) if table.len() == 1 && table.contains_key("choice") => {
                let options = serde_json::from_value(table["choice"].clone());
                options.map(Self::Choice).map_err(|error| format!("choice: {error}"))
            }
            _ => Err(format!("found {value}, wanted {}", wanted())),
        }
    }
}

fn wanted() -> String {
    let names: Vec<&str> = PLAIN.iter().map(Filter::name).collect();
    format!("one of {}, choice, {{regex: PATTERN, choose: first|last}}, {{choice: {{..}}}}", names.join(", "))
}

/// A filter with its pattern compiled.
#[derive(Debug, Clone)]
pub(super) enum ReadyFilter {
    Strip,
    Lowercase,
    FirstLine,
    Json,
    Regex(AnswerFilter),
    Choice(ChoiceFilter, ChoiceAnswer),
}

impl ReadyFilter {
    /// The text after this step, `None` where nothing was found.
    ///
    /// # Errors
    /// Choices too long to search for.
    pub(super) fn apply(&self, text: &str, choices: &[String]) -> Result<Option<String>, EvalError> {
        Ok(match self {
            Self::Strip => Some(text.trim_matches(is_space).to_owned()),
            Self::Lowercase => Some(text.to_lowercase()),
            Self::FirstLine => {
                let mut lines = text.lines().map(|line| line.trim_matches(is_space));
                lines.find(|line| !line.is_empty()).map(str::to_owned)
            }
            Self::Json => find_object(text).map(|object| Value::Object(object).to_string()),
            Self::Regex(filter) => filter.find(text),
            Self::Choice(filter, gives) => match (filter.find(text, choices)?, gives) {
                (found, ChoiceAnswer::Letter) => found,
                (found, ChoiceAnswer::Text) => found.and_then(|found| chosen(&found, choices)),
            },
        })
    }
}

/// The choice whose letter was found.
fn chosen(found: &str, choices: &[String]) -> Option<String> {
    let at = letter(found)?;
    choices.get(at).cloned()
}

/// The position of a capital letter, alone or in brackets, in the alphabet.
pub(super) fn letter(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    match inner.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
        _ => None,
    }
}
