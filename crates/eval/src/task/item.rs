//! From a row to what a model is asked, and what it should answer.

use minijinja::context;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Task;
use super::config::{Choices, TaskOutput};
use super::filter::letter;
use super::template::Columns;
use crate::entities::find_object;
use crate::error::EvalError;
use crate::text::is_space;

/// The field, and the name by which templates know the choices.
const CHOICES: &str = "choices";

/// What a model is asked about one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskItem {
    /// Where the row is from, such as `test.jsonl:3`.
    pub place: String,
    /// What the model reads: description, few-shot examples and prompt; empty for `loglikelihood_rolling`.
    pub context: String,
    /// The prompt alone.
    pub prompt: String,
    /// The choices; empty where the task has none.
    pub choices: Vec<String>,
    /// Position of the right choice, where the task has choices and the target names one.
    pub gold: Option<usize>,
    /// The right answers, at least one. For `loglikelihood_rolling` the text to score.
    pub references: Vec<String>,
}

/// A few-shot example.
#[derive(Debug, Clone)]
pub(super) struct Shot {
    pub(super) row: Map<String, Value>,
    /// Prompt, delimiter, target, delimiter.
    text: String,
}

/// A row through all templates but the description.
struct Rendered {
    columns: Columns,
    prompt: String,
    choices: Vec<String>,
    target: Target,
}

/// What the target of a row says.
struct Target {
    gold: Option<usize>,
    references: Vec<String>,
}

impl Task {
    /// What is asked about a row; `place` says in errors and reports where it is from.
    ///
    /// # Errors
    /// [`EvalError::TaskItem`]: a column that a template reads and the row lacks, a value that is no text, choices that
    /// are no list of different texts, a target that names none of them, for entity metrics a reference without a JSON
    /// object, and `num_fewshot` without enough examples.
    pub fn item(&self, row: &Map<String, Value>, place: &str) -> Result<TaskItem, EvalError> {
        let Rendered { columns, prompt, choices, target } = self.render(row, place)?;
        let Target { gold, references } = target;
        let mut context = String::new();
        if self.config.output != TaskOutput::LoglikelihoodRolling {
            context = self.text(&self.description, &columns, place)?;
            for shot in self.shots_for(row, place)? {
                context.push_str(&shot.text);
            }
            context.push_str(&prompt);
        }
        Ok(TaskItem { place: place.to_owned(), context, prompt, choices, gold, references })
    }

    /// The examples for a row: the first that are not the row itself.
    fn shots_for(&self, row: &Map<String, Value>, place: &str) -> Result<Vec<&Shot>, EvalError> {
        let wanted = self.config.num_fewshot;
        let others = self.shots.iter().flatten().filter(|shot| shot.row != *row);
        let shots: Vec<&Shot> = others.take(wanted).collect();
        match shots.len() == wanted {
            true => Ok(shots),
            false => {
                let given = if self.shots.is_some() {
                    "beside the row itself"
                } else {
                    "as no rows were given for them"
                };
                let message = format!("found {} examples {given}, wanted {wanted}", shots.len());
                Err(self.refuse(place, "num_fewshot", message))
            }
        }
    }

    pub(super) fn shot(&self, row: &Map<String, Value>, place: &str) -> Result<Shot, EvalError> {
        let Rendered { prompt, target, .. } = self.render(row, place)?;
        let (between, behind) = (&self.config.target_delimiter, &self.config.fewshot_delimiter);
        let answer = target.references.first().map_or("", String::as_str);
        Ok(Shot { row: row.clone(), text: format!("{prompt}{between}{answer}{behind}") })
    }

    fn render(&self, row: &Map<String, Value>, place: &str) -> Result<Rendered, EvalError> {
        let mut columns = Columns {
            values: minijinja::Value::from(Serde(row.clone())),
            names: row.keys().cloned().collect(),
        };
        let choices = self.choices(&columns, place)?;
        if self.config.choices.is_some() && !row.contains_key(CHOICES) {
            columns.names.push(CHOICES.to_owned());
            let list = minijinja::Value::from(choices.clone());
            columns.values = context! { choices => list, ..columns.values };
        }
        let prompt = self.text(&self.prompt, &columns, place)?;
        let target = self.target(&columns, &choices, place)?;
        Ok(Rendered { columns, prompt, choices, target })
    }

    fn text(&self, template: &super::Template, columns: &Columns, place: &str) -> Result<String, EvalError> {
        let text = self.templates.text(template, columns);
        text.map_err(|message| self.refuse(place, &template.field, message))
    }

    fn choices(&self, columns: &Columns, place: &str) -> Result<Vec<String>, EvalError> {
        let mut choices = Vec::new();
        for template in &self.choices {
            if matches!(self.config.choices, Some(Choices::List(_))) {
                choices.push(self.text(template, columns, place)?);
                continue;
            }
            let value = self.templates.value(template, columns);
            let Value::Array(items) = value.map_err(|message| self.refuse(place, CHOICES, message))? else {
                return Err(self.refuse(place, CHOICES, "the expression gives no list of choices"));
            };
            for item in items {
                let text = scalar(&item).map_err(|found| {
                    self.refuse(place, CHOICES, format!("found the choice {found}, wanted a text"))
                })?;
                choices.push(text);
            }
        }
        if self.config.choices.is_some() {
            if choices.len() < 2 {
                let message = format!("found {} choices, wanted at least 2", choices.len());
                return Err(self.refuse(place, CHOICES, message));
            }
            if let Some(at) = choices.iter().position(String::is_empty) {
                return Err(self.refuse(place, CHOICES, format!("choice {at} is empty, wanted a text")));
            }
        }
        Ok(choices)
    }

    fn target(&self, columns: &Columns, choices: &[String], place: &str) -> Result<Target, EvalError> {
        const FIELD: &str = "target";
        let refuse = |message: String| Err(self.refuse(place, FIELD, message));
        let mut found = Vec::new();
        for template in &self.targets {
            let value = self.templates.value(template, columns);
            match value.map_err(|message| self.refuse(place, &template.field, message))? {
                Value::Array(items) => found.extend(items),
                value => found.push(value),
            }
        }
        if found.is_empty() {
            return refuse("found an empty list, wanted at least one reference".to_owned());
        }
        let mut references = Vec::with_capacity(found.len());
        for value in &found {
            match scalar(value) {
                Ok(text) => references.push(text),
                Err(found) => {
                    return refuse(format!("found {found}, wanted a text; | tojson makes one of it"));
                }
            }
        }
        let named = named(&found[0], choices);
        match self.config.output {
            TaskOutput::MultipleChoice => match (&found[..], named) {
                ([_], Some(gold)) => {
                    return Ok(Target { gold: Some(gold), references: vec![choices[gold].clone()] });
                }
                ([value], None) => {
                    let choices = Value::from(choices.to_vec());
                    return refuse(format!(
                        "found {value}, wanted an index, a letter or the text of one of {choices}"
                    ));
                }
                _ => return refuse(format!("found {} answers, wanted one of the choices", found.len())),
            },
            TaskOutput::LoglikelihoodRolling => {
                if found.len() > 1 || references[0].is_empty() {
                    return refuse(format!(
                        "found {}, wanted one text that is not empty",
                        Value::from(references)
                    ));
                }
            }
            TaskOutput::GenerateUntil => {
                for (value, reference) in found.iter().zip(&mut references) {
                    if let Some(gold) = index(value, choices) {
                        reference.clone_from(&choices[gold]);
                    }
                }
            }
        }
        let wants_json = self.config.metrics.iter().any(|metric| metric.metric.wants_json());
        let no_json = references.iter().find(|reference| wants_json && find_object(reference).is_none());
        if let Some(reference) = no_json {
            return refuse(format!("found {reference:?}, wanted a JSON object for the entity metrics"));
        }
        Ok(Target { gold: named, references })
    }
}

/// A text, a number or a truth value as text; else what it is.
fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null => Err("null".to_owned()),
        Value::Array(_) => Err("a list".to_owned()),
        Value::Object(_) => Err("an object".to_owned()),
    }
}

/// The choice that a target names.
fn named(target: &Value, choices: &[String]) -> Option<usize> {
    if choices.is_empty() {
        return None;
    }
    if let Some(at) = index(target, choices) {
        return Some(at);
    }
    let text = target.as_str()?.trim_matches(is_space);
    let same = choices.iter().position(|choice| choice.trim_matches(is_space) == text);
    same.or_else(|| letter(text).filter(|at| *at < choices.len()))
}

/// The choice that a target names by its number: digits do so unless choices are numbers themselves.
fn index(target: &Value, choices: &[String]) -> Option<usize> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let at = match target {
        Value::Number(number) => usize::try_from(number.as_u64()?).ok()?,
        Value::String(text) => {
            let text = text.trim_matches(is_space);
            let numbers = choices.iter().any(|choice| digits(choice.trim_matches(is_space)));
            if numbers || !digits(text) {
                return None;
            }
            text.parse().ok()?
        }
        _ => return None,
    };
    (at < choices.len()).then_some(at)
}
