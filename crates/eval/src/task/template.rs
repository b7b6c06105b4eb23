//! Templates of tasks over the columns of a row.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::thread;

use minijinja::{Environment, Error, ErrorKind};
use serde_json::Value as Json;

use super::jinja;
use crate::error::TaskProblem;

/// The longest templates that lm-eval has are a tenth of it.
const MAX_SOURCE_BYTES: usize = 1 << 16;

/// The engine's compiler goes a call deeper for each operator of a chain, and an operator may be one byte.
const STACK_PER_BYTE: usize = 4096;

/// Columns that a message names.
const SHOWN_COLUMNS: usize = 20;

/// All templates of a task, compiled.
#[derive(Debug, Clone)]
pub(super) struct Templates {
    environment: Environment<'static>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// The field it stands in, which is its name in the engine.
    pub(super) field: String,
    source: String,
    /// What stands between `{{` and `}}`, if it is nothing else.
    expression: Option<String>,
    /// The columns it reads.
    columns: BTreeSet<String>,
}

impl Template {
    pub(super) fn is_expression(&self) -> bool {
        self.expression.is_some()
    }
}

/// The columns of a row, as the engine sees them.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) values: minijinja::Value,
    pub(super) names: Vec<String>,
}

impl Templates {
    pub(super) fn new() -> Self {
        Self { environment: jinja::environment() }
    }

    /// Compiles the template of a field.
    pub(super) fn add(&mut self, field: String, source: &str) -> Result<Template, TaskProblem> {
        if source.len() > MAX_SOURCE_BYTES {
            let message = format!("found {} bytes, wanted at most {MAX_SOURCE_BYTES}", source.len());
            return Err(TaskProblem::new(field, message));
        }
        let environment = &mut self.environment;
        let compile = || {
            environment.add_template_owned(field.clone(), source.to_owned())?;
            let expression = inner(source).map(str::to_owned).filter(|inner| {
                let values = format!("{{{{ ({inner}) | tojson }}}}");
                environment.add_template_owned(json_name(&field), values).is_ok()
            });
            let columns = environment.get_template(&field)?.undeclared_variables(false).into_iter().collect();
            Ok(Template { field: field.clone(), source: source.to_owned(), expression, columns })
        };
        let compiled = thread::scope(|scope| {
            let builder = thread::Builder::new().stack_size(STACK_PER_BYTE * (source.len() + 512));
            builder.spawn_scoped(scope, compile).map(thread::ScopedJoinHandle::join)
        });
        let message = match compiled {
            Ok(Ok(Ok(template))) => return Ok(template),
            Ok(Ok(Err(error))) => no_template(&error, source),
            Ok(Err(_)) => "cannot be compiled".to_owned(),
            Err(error) => format!("no thread to compile it: {error}"),
        };
        Err(TaskProblem::new(field, message))
    }

    /// The text of a template, or what is wrong.
    pub(super) fn text(&self, template: &Template, columns: &Columns) -> Result<String, String> {
        self.render(&template.field, columns).map_err(|error| {
            let range = error.range().and_then(|range| template.source.get(range));
            explain(&error, template, range, columns)
        })
    }

    /// The value of a template that is one expression, else its text.
    pub(super) fn value(&self, template: &Template, columns: &Columns) -> Result<Json, String> {
        let Some(expression) = &template.expression else {
            return self.text(template, columns).map(Json::String);
        };
        let json = self
            .render(&json_name(&template.field), columns)
            .map_err(|error| explain(&error, template, Some(expression), columns))?;
        match serde_json::from_str(&json) {
            // The white space around the expression belongs to the text.
            Ok(Json::String(_) | Json::Null) | Err(_) => self.text(template, columns).map(Json::String),
            Ok(value) => Ok(value),
        }
    }

    fn render(&self, name: &str, columns: &Columns) -> Result<String, Error> {
        self.environment.get_template(name)?.render(&columns.values)
    }
}

fn json_name(field: &str) -> String {
    format!("{field} as a value")
}

/// What stands between the braces, if the source has but one pair of them. What it takes for an expression may still
/// be none.
fn inner(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner).trim())
}

fn no_template(error: &Error, source: &str) -> String {
    let line = match error.line() {
        Some(line) if source.lines().nth(1).is_some() => format!(" in line {line}"),
        _ => String::new(),
    };
    format!("not a Jinja template: {}{line}; the template is {source:?}", details(error))
}

/// The engine's words with its causes.
fn details(error: &Error) -> String {
    let mut message = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}

/// Why a template gives no text for a row; `part` is what failed in it.
fn explain(error: &Error, template: &Template, part: Option<&str>, columns: &Columns) -> String {
    let quoted = |name: &String| format!("`{name}`");
    let missing: Vec<String> =
        template.columns.iter().filter(|name| !columns.names.contains(name)).map(quoted).collect();
    let what = match (error.kind(), part) {
        (ErrorKind::UndefinedError, _) if !missing.is_empty() => {
            let mut known: Vec<String> = columns.names.iter().take(SHOWN_COLUMNS).map(quoted).collect();
            if columns.names.len() > SHOWN_COLUMNS {
                known.push("…".to_owned());
            }
            let (noun, verb) = if missing.len() == 1 { ("column", "is") } else { ("columns", "are") };
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("the {noun} {} {verb} not there; the row has {known}", missing.join(", "))
        }
        (ErrorKind::UndefinedError, Some(part)) => format!("`{part}` is undefined"),
        (_, Some(part)) => format!("{} (at `{part}`)", details(error)),
        (_, None) => details(error),
    };
    format!("{what}; the template is {:?}", template.source)
}
