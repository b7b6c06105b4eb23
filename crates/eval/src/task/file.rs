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
        from_fields(fields).map_err(failed)
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
        Err(message) => {
            let unquoted = format == "YAML" && message.contains("expected string scalar");
            let hint = if unquoted { "\nA template that begins with {{ needs quotes." } else { "" };
            Err(format!("not valid {format}: {}{hint}", message.trim_end()))
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "without anything",
        Value::Array(_) => "that is a list",
        _ => "that is one value",
    }
}

/// The configuration, or all that is wrong with it.
fn from_fields(mut fields: Map<String, Value>) -> Result<TaskConfig, Vec<TaskProblem>> {
    let mut problems = Vec::new();
    if !fields.contains_key("task") {
        problems.push(TaskProblem::new("task", "missing; wanted the name of the task"));
        fields.insert("task".to_owned(), "task".into());
    }
    let mut bad = Vec::new();
    for (name, value) in &fields {
        let found = match FIELDS.contains(&name.as_str()) {
            true => alone(name, value),
            false => Err(TaskProblem::new(name, unknown(name))),
        };
        if let Err(problem) = found {
            bad.push(name.clone());
            problems.push(problem);
        }
    }
    for name in &bad {
        fields.shift_remove(name);
    }
    let config = serde_json::from_value::<TaskConfig>(Value::Object(fields))
        .map_err(|error| vec![TaskProblem::new("the file", error.to_string())])?;
    // What the other fields are checked against.
    let is_bad = |name: &str| bad.iter().any(|bad| bad == name);
    if !is_bad("output") && !is_bad("choices") {
        let others = config.clone().prepare().err().unwrap_or_default();
        let root =
            |problem: &TaskProblem| problem.field.split(['[', '.']).next().unwrap_or_default().to_owned();
        problems.extend(others.into_iter().filter(|problem| !is_bad(&root(problem))));
    }
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Whether the field by itself can be read; of lists, each item.
fn alone(name: &str, value: &Value) -> Result<(), TaskProblem> {
    let mut fields = Map::new();
    fields.insert("task".to_owned(), "task".into());
    let mut check = |field: String, value: Value| {
        fields.insert(name.to_owned(), value);
        parse(&fields).map_err(|message| TaskProblem::new(field, message))
    };
    match value {
        Value::Array(items) if matches!(name, "filters" | "metrics") => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(at, item)| check(format!("{name}[{at}]"), Value::Array(vec![item.clone()])))
        }
        _ => check(name.to_owned(), value.clone()),
    }
}

fn parse(fields: &Map<String, Value>) -> Result<(), String> {
    let parsed = serde_json::from_value::<TaskConfig>(Value::Object(fields.clone()));
    parsed.map(|_| ()).map_err(|error| {
        let message = error.to_string();
        let whole = "expected a whole number of at least 0";
        message
            .replace("expected usize", whole)
            .replace("expected u64", whole)
            .replace("expected f64", "expected a number")
    })
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
