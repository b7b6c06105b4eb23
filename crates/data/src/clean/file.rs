//! Pipelines in TOML and YAML.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::step::{ALL, Step};
use crate::error::DataError;
use crate::source::nearest;

/// The key of the list, and within a step the key of its name.
const STEPS: &str = "steps";
const STEP: &str = "step";

/// Steps from a file: YAML if its name ends in `yaml` or `yml`, else TOML.
pub(super) fn read(path: &Path) -> Result<Vec<Step>, DataError> {
    let text =
        fs::read_to_string(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let place = path.display().to_string();
    let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    if is_yaml { from_yaml(&place, &text) } else { from_toml(&place, &text) }
}

pub(super) fn from_toml(place: &str, text: &str) -> Result<Vec<Step>, DataError> {
    let value: Result<Value, _> = toml::from_str(text);
    steps(place, value.map_err(|error| wrong(place, error.to_string().trim_end()))?)
}

pub(super) fn from_yaml(place: &str, text: &str) -> Result<Vec<Step>, DataError> {
    let value: Result<Value, _> = serde_saphyr::from_str(text);
    steps(place, value.map_err(|error| wrong(place, error))?)
}

fn wrong(place: &str, message: impl ToString) -> DataError {
    DataError::Pipeline { place: place.to_owned(), message: message.to_string() }
}

fn unknown<'a>(
    place: &str,
    what: &'static str,
    found: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> DataError {
    DataError::UnknownInPipeline {
        place: place.to_owned(),
        what,
        found: found.to_owned(),
        nearest: nearest(found, known.clone()),
        known: known.map(str::to_owned).collect(),
    }
}

fn steps(place: &str, value: Value) -> Result<Vec<Step>, DataError> {
    let Value::Object(mut object) = value else {
        return Err(wrong(place, "a pipeline is a table with the list `steps`"));
    };
    let list = object.remove(STEPS);
    if let Some(other) = object.keys().next() {
        return Err(unknown(place, "field", other, [STEPS].into_iter()));
    }
    let Some(Value::Array(list)) = list else {
        return Err(wrong(place, "the list `steps` is missing"));
    };
    list.into_iter()
        .enumerate()
        .map(|(number, step)| read_step(&format!("{place}: steps[{number}]"), step))
        .collect()
}

/// A step: its name alone, or a table with the name in `step` and fields beside it.
fn read_step(place: &str, value: Value) -> Result<Step, DataError> {
    let (name, fields) = match value {
        Value::String(name) => (name, Map::new()),
        Value::Object(mut fields) => match fields.remove(STEP) {
            Some(Value::String(name)) => (name, fields),
            _ => return Err(wrong(place, "the step's name is missing: `step = \"white_space\"`")),
        },
        _ => return Err(wrong(place, "a step is a name or a table with the name in `step`")),
    };
    let Some(about) = ALL.iter().find(|about| about.name == name) else {
        return Err(unknown(place, STEP, &name, ALL.iter().map(|about| about.name)));
    };
    for field in fields.keys() {
        if !about.fields.iter().any(|known| known.name == field) {
            let place = format!("{place} ({name})");
            return Err(unknown(&place, "field", field, about.fields.iter().map(|known| known.name)));
        }
    }
    Step::read(&name, fields).map_err(|message| wrong(&format!("{place} ({name})"), message))
}

/// Every step with its fields, their defaults and what they mean.
pub(super) fn reference() -> String {
    let mut out = String::from(
        "# Every step of a cleaning pipeline with its defaults. Steps run in the order of the file.\n",
    );
    for about in ALL {
        let step = (about.defaults)();
        let values = step.values();
        // Writing to a string does not fail.
        let _ = writeln!(out, "\n#{}\n[[{STEPS}]]\n{STEP} = \"{}\"", about.about, about.name);
        for field in about.fields {
            let value = toml::Value::try_from(&values[field.name]).map(|value| value.to_string());
            let _ = writeln!(out, "#{}\n{} = {}", field.about, field.name, value.unwrap_or_default());
        }
    }
    out
}
