//! Reading task files, and finding all that is wrong with one.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::config::TaskConfig;
use crate::error::{EvalError, TaskProblem};

const FIELDS: [&str; 17] = [
    "task",
    "data",
    "examples_data",
    "num_fewshot",
    "fewshot_delimiter",
    "target_delimiter",
    "description",
    "prompt",
    "target",
    "choices",
    "output",
    "form",
    "generation",
    "filters",
    "metrics",
    "limit",
    "seed",
];

/// Fields of lm-eval's task files that are called otherwise here.
const LM_EVAL: [(&str, &str); 8] = [
    ("doc_to_text", "prompt"),
    ("doc_to_target", "target"),
    ("doc_to_choice", "choices"),
    ("output_type", "output"),
    ("generation_kwargs", "generation"),
    ("filter_list", "filters"),
    ("metric_list", "metrics"),
    ("dataset_path", "data"),
];

impl TaskConfig {
    /// Reads and checks a task file: TOML if its name ends in `.toml`, YAML if in `.yaml` or `.yml`.
    ///
    /// # Errors
    /// [`EvalError::TaskFile`] for a file that cannot be read as either; [`EvalError::Task`] with all unknown and
    /// missing fields and all wrong values, templates and patterns among them.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, EvalError> {
        let path = path.as_ref();
        let fields =
            read(path).map_err(|message| EvalError::TaskFile { path: path.to_path_buf(), message })?;
        let failed = |problems| EvalError::Task { task: path.display().to_string(), problems };
        let config = from_fields(fields).map_err(failed)?;
        config.clone().prepare().map_err(failed)?;
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, String> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let format = match ending.as_str() {
        "toml" => "TOML",
        "yaml" | "yml" => "YAML",
        _ => return Err(format!("found the ending {ending:?}; wanted .toml, .yaml or .yml")),
    };
    let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    // YAML 1.1 reads a choice `no` as false.
    let options = serde_saphyr::options! { strict_booleans: true };
    let parsed: Result<Value, String> = match format {
        "TOML" => toml::from_str(&text).map_err(|error| error.to_string()),
        _ => serde_saphyr::from_str_with_options(&text, options).map_err(|error| error.to_string()),
    };
    match parsed {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(format!("found {} {}, wanted the fields of a task", format, kind(&other))),
        Err(message) => Err(format!("not valid {format}: {}", message.trim_end())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "without anything",
        Value::Array(_) => "that is a list",
        _ => "that is one value",
    }
}

/// The configuration, or every field that is unknown or of a wrong type.
fn from_fields(fields: Map<String, Value>) -> Result<TaskConfig, Vec<TaskProblem>> {
    let mut problems = Vec::new();
    for (name, value) in &fields {
        if !FIELDS.contains(&name.as_str()) {
            problems.push(TaskProblem::new(name, unknown(name)));
        } else if let Err(message) = alone(name, value) {
            problems.push(TaskProblem::new(name, message));
        }
    }
    if !fields.contains_key("task") {
        problems.push(TaskProblem::new("task", "missing; wanted the name of the task"));
    }
    match problems.is_empty() {
        true => serde_json::from_value(Value::Object(fields))
            .map_err(|error| vec![TaskProblem::new("the file", error.to_string())]),
        false => Err(problems),
    }
}

/// Whether the field by itself can be read.
fn alone(name: &str, value: &Value) -> Result<(), String> {
    let mut fields = Map::new();
    fields.insert("task".to_owned(), "task".into());
    // Items of a list one by one, so that the message can say which.
    if let ("filters" | "metrics", Value::Array(items)) = (name, value) {
        for (at, item) in items.iter().enumerate() {
            fields.insert(name.to_owned(), Value::Array(vec![item.clone()]));
            parse(&fields).map_err(|message| format!("[{at}]: {message}"))?;
        }
        return Ok(());
    }
    fields.insert(name.to_owned(), value.clone());
    parse(&fields)
}

fn parse(fields: &Map<String, Value>) -> Result<(), String> {
    let parsed = serde_json::from_value::<TaskConfig>(Value::Object(fields.clone()));
    parsed.map(|_| ()).map_err(|error| error.to_string())
}

fn unknown(name: &str) -> String {
    if let Some((_, ours)) = LM_EVAL.iter().find(|(theirs, _)| *theirs == name) {
        return format!("unknown field; lm-eval's {name} is called {ours} here");
    }
    let nearest = FIELDS.iter().min_by_key(|field| distance(name, field));
    match nearest.filter(|field| distance(name, field) <= 3) {
        Some(field) => format!("unknown field; the nearest known one is {field}"),
        None => format!("unknown field; wanted one of {}", FIELDS.join(", ")),
    }
}

/// Characters to insert, delete or replace.
fn distance(left: &str, right: &str) -> u64 {
    crate::error_rate::text_errors(left, right, crate::error_rate::ErrorUnit::Characters).edits
}
