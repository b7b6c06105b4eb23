//! The form of answers: how examples show it to the model, and how answers are read.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::extraction::Extraction;
use super::yaml;
use crate::error::DataError;

static FENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"```([A-Za-z0-9_+-]+)?(?:\s*\n)?((?s:.*?))```").expect("a pattern written in this file")
});
static THINKING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?is)<think>.*?</think>\s*").expect("a pattern written in this file"));

/// The language of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// JSON.
    #[default]
    Json,
    /// YAML.
    Yaml,
}

impl Language {
    fn tag(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Yaml => "yaml",
        }
    }

    fn has_tag(self, tag: &str) -> bool {
        let tag = tag.to_lowercase();
        tag == self.tag() || (self == Self::Yaml && tag == "yml")
    }
}

/// Whether the answer stands between lines of three backticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fences {
    /// Examples show them; an answer without is read too, and so is a single block with another tag.
    #[default]
    Lenient,
    /// Exactly one block with the language's tag or none.
    Strict,
    /// Neither shown nor looked for.
    Off,
}

/// Whether a bare list of extractions is an answer although the format has a wrapper.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TopLevelList {
    /// Yes.
    #[default]
    Accept,
    /// No.
    Refuse,
}

/// The form of answers. The rules are those of langextract 1.7.1 (`core/format_handler.py`, `resolver.py`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerFormat {
    /// JSON or YAML.
    pub language: Language,
    /// Whether there are fences.
    pub fences: Fences,
    /// The key of the object around the list of extractions; `None` for a bare list.
    pub wrapper: Option<String>,
    /// Whether a bare list is accepted where a wrapper is wanted.
    pub top_level_list: TopLevelList,
    /// What follows a class in the key of its attributes.
    pub attribute_suffix: String,
}

impl Default for AnswerFormat {
    fn default() -> Self {
        Self {
            language: Language::Json,
            fences: Fences::Lenient,
            wrapper: Some("extractions".to_owned()),
            top_level_list: TopLevelList::Accept,
            attribute_suffix: "_attributes".to_owned(),
        }
    }
}

impl AnswerFormat {
    /// Sets the language.
    #[must_use]
    pub fn with_language(mut self, language: Language) -> Self {
        self.language = language;
        self
    }

    /// Sets the fences.
    #[must_use]
    pub fn with_fences(mut self, fences: Fences) -> Self {
        self.fences = fences;
        self
    }

    /// Sets the wrapper's key, or none.
    #[must_use]
    pub fn with_wrapper(mut self, wrapper: Option<String>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// Sets whether a bare list is accepted.
    #[must_use]
    pub fn with_top_level_list(mut self, list: TopLevelList) -> Self {
        self.top_level_list = list;
        self
    }

    /// The answer that holds these extractions.
    ///
    /// YAML is printed as PyYAML's `safe_dump` prints it, but long lines are not folded.
    pub fn render(&self, extractions: &[Extraction]) -> String {
        let item = |e: &Extraction| {
            let attributes = Value::Object(e.attributes.clone().unwrap_or_default());
            json!({ e.class.clone(): e.text, format!("{}{}", e.class, self.attribute_suffix): attributes })
        };
        let list = Value::Array(extractions.iter().map(item).collect());
        let answer = match &self.wrapper {
            Some(key) => json!({ key.clone(): list }),
            None => list,
        };
        let text = match self.language {
            Language::Json => format!("{answer:#}"),
            Language::Yaml => yaml::dump(&answer),
        };
        match self.fences {
            Fences::Off => text,
            _ => format!("```{}\n{}\n```", self.language.tag(), text.trim()),
        }
    }

    /// Reads an answer. Numbers become text; `<think>` … `</think>` is ignored.
    ///
    /// ```
    /// use burnisher_data::extract::AnswerFormat;
    ///
    /// let answer = "Here it is:\n```json\n{\"extractions\": [{\"dose\": 100, \"dose_attributes\": {\"unit\": \"mg\"}}]}\n```";
    /// let found = AnswerFormat::default().parse(answer)?;
    /// assert_eq!((found[0].class.as_str(), found[0].text.as_str()), ("dose", "100"));
    /// # Ok::<(), burnisher_data::DataError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DataError::Answer`] if the answer has no or several blocks, is not valid JSON (YAML), lacks the wrapper, or
    /// holds an extraction whose text is a list, an object or null, or whose attributes are no object.
    pub fn parse(&self, answer: &str) -> Result<Vec<Extraction>, DataError> {
        let first = match self.value(answer) {
            Err(_) if self.fences != Fences::Strict && THINKING.is_match(answer) => {
                self.value(&THINKING.replace_all(answer, ""))
            }
            read => read,
        };
        let items = self.items(first?)?;
        let mut found = Vec::new();
        for (group, item) in items.into_iter().enumerate() {
            let Value::Object(item) = item else {
                return Err(refuse(format!("item {group} of the list is {}, wanted an object", kind(&item))));
            };
            self.group(group, &item, &mut found)?;
        }
        Ok(found)
    }

    fn value(&self, answer: &str) -> Result<Value, DataError> {
        if answer.is_empty() {
            return Err(refuse("the answer is empty"));
        }
        let content = self.content(answer)?;
        match self.language {
            Language::Json => {
                serde_json::from_str(content).map_err(|e| refuse(format!("not valid JSON: {e}")))
            }
            Language::Yaml => serde_saphyr::from_str(content).map_err(|e| {
                let message = e.to_string();
                refuse(format!("not valid YAML: {}", message.lines().next().unwrap_or_default()))
            }),
        }
    }

    fn content<'a>(&self, answer: &'a str) -> Result<&'a str, DataError> {
        if self.fences == Fences::Off {
            return Ok(answer.trim());
        }
        let blocks: Vec<(Option<&str>, &str)> = FENCE
            .captures_iter(answer)
            .map(|block| {
                (block.get(1).map(|tag| tag.as_str()), block.get(2).map_or("", |body| body.as_str()))
            })
            .collect();
        let known: Vec<&str> = blocks
            .iter()
            .filter(|(tag, _)| tag.is_none_or(|tag| self.language.has_tag(tag)))
            .map(|(_, body)| *body)
            .collect();
        let tag = self.language.tag();
        match (known.as_slice(), blocks.as_slice()) {
            ([body], _) => Ok(body.trim()),
            ([], [(_, body)]) if self.fences == Fences::Lenient => Ok(body.trim()),
            ([], []) if self.fences == Fences::Lenient => Ok(answer.trim()),
            ([], _) => Err(refuse(format!("no {tag} block in the answer"))),
            (several, _) => Err(refuse(format!("{} {tag} blocks in the answer, wanted one", several.len()))),
        }
    }

    fn items(&self, value: Value) -> Result<Vec<Value>, DataError> {
        let list = match (value, &self.wrapper) {
            (Value::Object(mut object), Some(key)) => object
                .remove(key)
                .ok_or_else(|| refuse(format!("the answer has no key {key:?}, but {}", keys(&object))))?,
            (Value::Object(mut object), None) => match object.remove("extractions") {
                Some(list) => list,
                None => Value::Array(vec![Value::Object(object)]),
            },
            (Value::Array(list), wrapper) => {
                if self.top_level_list == TopLevelList::Refuse {
                    let wanted = wrapper.as_deref().unwrap_or("extractions");
                    return Err(refuse(format!(
                        "the answer is a list, wanted an object with the key {wanted:?}"
                    )));
                }
                Value::Array(list)
            }
            (other, _) => {
                return Err(refuse(format!("the answer is {}, wanted an object or a list", kind(&other))));
            }
        };
        match list {
            Value::Array(list) => Ok(list),
            other => Err(refuse(format!("the extractions are {}, wanted a list", kind(&other)))),
        }
    }

    fn group(
        &self,
        group: usize,
        item: &Map<String, Value>,
        found: &mut Vec<Extraction>,
    ) -> Result<(), DataError> {
        for (class, value) in item {
            if !self.attribute_suffix.is_empty() && class.ends_with(&self.attribute_suffix) {
                if !matches!(value, Value::Object(_) | Value::Null) {
                    return Err(refuse(format!("{class:?} is {}, wanted an object", kind(value))));
                }
                continue;
            }
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                other => return Err(refuse(format!("{class:?} is {}, wanted text", kind(other)))),
            };
            let attributes = item.get(&format!("{class}{}", self.attribute_suffix));
            found.push(Extraction {
                class: class.clone(),
                text,
                attributes: attributes.and_then(Value::as_object).cloned(),
                index: found.len() + 1,
                group,
                ..Extraction::default()
            });
        }
        Ok(())
    }
}

fn refuse(message: impl Into<String>) -> DataError {
    DataError::Answer { message: message.into() }
}

fn keys(object: &Map<String, Value>) -> String {
    let names: Vec<String> = object.keys().take(5).map(|key| format!("{key:?}")).collect();
    if names.is_empty() { "none at all".to_owned() } else { names.join(", ") }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
