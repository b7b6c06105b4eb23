//! The files of a model directory that say something about its tokenizer.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::DataError;

/// An error about a tokenizer's file.
pub(super) fn error(path: &Path, message: impl Into<String>) -> DataError {
    DataError::Tokenizer { path: path.to_owned(), message: message.into() }
}

/// The text of a file; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, DataError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Read { path: path.to_owned(), source }),
    }
}

/// The JSON object in a file; `None` if there is no such file.
pub(super) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, DataError> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(error(path, "not a JSON object")),
        Err(syntax) => Err(error(path, format!("not valid JSON: {syntax}"))),
    }
}

/// The text of a token in a configuration, which is a string or an object with `content`; `None` where it is not set.
pub(super) fn token_text<'a>(config: &'a Map<String, Value>, role: &str) -> Result<Option<&'a str>, String> {
    match config.get(role) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Object(token)) => match token.get("content") {
            Some(Value::String(text)) => Ok(Some(text)),
            _ => Err(format!("{role} is an object without a string `content`")),
        },
        Some(_) => Err(format!("{role} is neither a string nor an object")),
    }
}

/// The source in `chat_template`: a string, or the template named `default` (else the only one) of a list.
pub(super) fn chat_template_of(
    config: &Map<String, Value>,
    path: &Path,
) -> Result<Option<String>, DataError> {
    let named = match config.get("chat_template") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(source)) => return Ok(Some(source.clone())),
        Some(Value::Array(named)) => named,
        Some(_) => {
            return Err(error(path, "chat_template is neither a string nor a list of named templates"));
        }
    };
    let mut templates = Vec::with_capacity(named.len());
    for (index, entry) in named.iter().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        match (text("name"), text("template")) {
            (Some(name), Some(source)) => templates.push((name, source)),
            _ => {
                let message = format!("chat_template[{index}] has no strings `name` and `template`");
                return Err(error(path, message));
            }
        }
    }
    let default = templates.iter().find(|(name, _)| *name == "default");
    match (default, templates.as_slice()) {
        (Some((_, source)), _) | (None, [(_, source)]) => Ok(Some((*source).to_owned())),
        (None, []) => Ok(None),
        (None, _) => {
            let names: Vec<&str> = templates.iter().map(|(name, _)| *name).collect();
            Err(error(
                path,
                format!("chat_template has no template named default, only {}", names.join(", ")),
            ))
        }
    }
}
