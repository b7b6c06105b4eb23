use serde_json::{Map, Value};

use super::columns::{ColumnMap, missing};
use crate::error::DataError;
use crate::record::{Body, Message, Origin, Shape};

/// The speakers of `conversations`, as ShareGPT files spell them, and the roles they stand for.
const SPEAKERS: [(&str, &str); 9] = [
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("assistant", "assistant"),
    ("model", "assistant"),
    ("system", "system"),
    ("tool", "tool"),
    ("observation", "tool"),
];

/// The spellings of [`SPEAKERS`], for error messages.
pub(crate) fn speakers() -> [&'static str; SPEAKERS.len()] {
    SPEAKERS.map(|(speaker, _)| speaker)
}

/// The role of a speaker.
pub(super) fn role_of(speaker: &str) -> Option<&'static str> {
    SPEAKERS.iter().find(|(known, _)| *known == speaker).map(|(_, role)| *role)
}

/// The first shape whose columns the object has.
pub(crate) fn recognise(object: &Map<String, Value>, columns: &ColumnMap) -> Option<Shape> {
    Shape::ALL.into_iter().find(|shape| match shape {
        Shape::Messages => conversation_column(object, columns).is_some(),
        Shape::Question => {
            columns.find(object, "question").is_some() && answer_column(object, columns).is_some()
        }
        _ => shape.required_columns().iter().all(|name| columns.find(object, name).is_some()),
    })
}

/// What to do with columns that no shape has, behind the message that says so.
pub(crate) fn advice(found: &[String]) -> &'static str {
    match found.iter().any(|name| name == "tokens") && found.iter().any(|name| name.ends_with("tags")) {
        true => {
            "; tokens and their tags are no text to train on: `Source::rows` reads them, for a task whose template makes \
             a prompt and a completion of them"
        }
        false => "",
    }
}

fn conversation_column<'a>(object: &Map<String, Value>, columns: &'a ColumnMap) -> Option<&'a str> {
    columns.find(object, "messages").or_else(|| columns.find(object, "conversations"))
}

fn answer_column<'a>(object: &Map<String, Value>, columns: &'a ColumnMap) -> Option<&'a str> {
    columns.find(object, "answer").or_else(|| columns.find(object, "answers"))
}

/// The columns of the object that are in the body, and need not be kept beside it.
pub(crate) fn used_columns(shape: Shape, object: &Map<String, Value>, columns: &ColumnMap) -> Vec<String> {
    let used: Vec<Option<&str>> = match shape {
        Shape::Messages => vec![conversation_column(object, columns)],
        _ => shape.columns().iter().map(|name| columns.find(object, name)).collect(),
    };
    used.into_iter().flatten().map(str::to_owned).collect()
}

/// Takes the body out of the object and checks that there is something to learn.
pub(crate) fn body(
    shape: Shape,
    object: &mut Map<String, Value>,
    columns: &ColumnMap,
    origin: &Origin,
) -> Result<Body, DataError> {
    match shape {
        Shape::Text => {
            let (text, column) = required_text(object, columns, "text", origin)?;
            not_blank(&text, column, origin)?;
            Ok(Body::Text(text))
        }
        Shape::Completion => completion(object, columns, origin),
        Shape::Messages => {
            let column =
                conversation_column(object, columns).ok_or_else(|| missing(object, "messages", origin))?;
            let messages = messages(take(object, column), column, origin)?;
            assistant_speaks(&messages, column, origin)?;
            if let Some(value) = object.get_mut("tools") {
                *value = tools(value.take(), origin)?;
            }
            Ok(Body::Messages(messages))
        }
        Shape::Alpaca => {
            let (instruction, _) = required_text(object, columns, "instruction", origin)?;
            let input = optional_text(object, columns, "input", origin)?;
            let (output, column) = required_text(object, columns, "output", origin)?;
            not_blank(&output, column, origin)?;
            Ok(Body::Alpaca { instruction, input, output })
        }
        Shape::Question => {
            let (question, _) = required_text(object, columns, "question", origin)?;
            let context = optional_text(object, columns, "context", origin)?;
            let (answer, column) = match columns.find(object, "answer") {
                Some(column) => (text(take(object, column), column, origin)?, column),
                None => match columns.find(object, "answers") {
                    Some(column) => (first_answer(&object[column], column, origin)?, column),
                    None => {
                        return Err(missing(object, columns.column("answer").unwrap_or("answer"), origin));
                    }
                },
            };
            not_blank(&answer, column, origin)?;
            Ok(Body::Question { question, context, answer })
        }
    }
}

/// The first of several answers: `{"text": [..]}` as in SQuAD, or a list of strings.
pub(super) fn first_answer(answers: &Value, column: &str, origin: &Origin) -> Result<String, DataError> {
    let (texts, place) = match answers {
        Value::Object(object) => (object.get("text").unwrap_or(&Value::Null), format!("{column}.text")),
        other => (other, column.to_owned()),
    };
    match texts {
        Value::Array(texts) => match texts.first() {
            Some(first) => text(first.clone(), &format!("{place}[0]"), origin),
            None => Err(DataError::NoAssistantText {
                origin: origin.clone(),
                found: format!("column {place:?} is an empty list"),
            }),
        },
        other => Err(wrong_type(other, &place, "a list of answers", origin)),
    }
}

/// The column `tools` as a list, or null where the record has none.
pub(super) fn tools(value: Value, origin: &Origin) -> Result<Value, DataError> {
    match list_in_text(value) {
        value @ (Value::Array(_) | Value::Null) => Ok(value),
        other => Err(wrong_type(&other, "tools", "a list of tools", origin)),
    }
}

/// A list that was written as text: what tables, and files made from them, hold in a cell.
fn list_in_text(value: Value) -> Value {
    if let Value::String(text) = &value
        && text.trim_start().starts_with('[')
        && let Ok(list @ Value::Array(_)) = serde_json::from_str(text)
    {
        return list;
    }
    value
}

/// `prompt` and `completion`: two strings, or two lists of messages.
fn completion(
    object: &mut Map<String, Value>,
    columns: &ColumnMap,
    origin: &Origin,
) -> Result<Body, DataError> {
    let prompt_column = required(object, columns, "prompt", origin)?;
    let completion_column = required(object, columns, "completion", origin)?;
    let prompt = take(object, prompt_column);
    let completion = take(object, completion_column);
    if !prompt.is_array() {
        let prompt = text(prompt, prompt_column, origin)?;
        let completion = text(completion, completion_column, origin)?;
        not_blank(&completion, completion_column, origin)?;
        return Ok(Body::Completion { prompt, completion });
    }
    let mut turns = messages(prompt, prompt_column, origin)?;
    // A conversation trains every assistant turn: one inside the prompt would be trained against the file's
    // word.
    if let Some(index) = turns.iter().position(|message| message.role == "assistant") {
        return Err(DataError::WrongType {
            origin: origin.clone(),
            column: format!("{prompt_column}[{index}].role"),
            wanted: "a role other than assistant (a conversation of several turns belongs in `messages`)",
            found: "assistant",
        });
    }
    let answers = messages(completion, completion_column, origin)?;
    assistant_speaks(&answers, completion_column, origin)?;
    turns.extend(answers);
    Ok(Body::Messages(turns))
}

fn messages(value: Value, column: &str, origin: &Origin) -> Result<Vec<Message>, DataError> {
    match list_in_text(value) {
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| message(item, &format!("{column}[{index}]"), origin))
            .collect(),
        other => Err(wrong_type(&other, column, "a list of messages", origin)),
    }
}

/// `{role, content}`, or ShareGPT's `{from, value}`.
fn message(value: Value, place: &str, origin: &Origin) -> Result<Message, DataError> {
    let Value::Object(mut object) = value else {
        return Err(wrong_type(&value, place, "an object with `role` and `content`", origin));
    };
    let by_speaker = !object.contains_key("role") && object.contains_key("from");
    let (role_key, content_key) = if by_speaker { ("from", "value") } else { ("role", "content") };
    let calls = matches!(object.get("tool_calls"), Some(Value::Array(calls)) if !calls.is_empty());
    let wanted = if calls { &[role_key][..] } else { &[role_key, content_key] };
    for key in wanted {
        if !object.contains_key(*key) {
            let wanted = format!("{place}.{key}");
            return Err(DataError::MissingColumn {
                origin: origin.clone(),
                wanted,
                found: object.keys().map(|found| format!("{place}.{found}")).collect(),
                nearest: None,
            });
        }
    }
    let role_place = format!("{place}.{role_key}");
    let role = text(take(&mut object, role_key), &role_place, origin)?;
    let content = match take(&mut object, content_key) {
        // The assistant calls tools and says nothing.
        Value::Null if calls => String::new(),
        Value::Array(parts) => parts_of_text(parts, &format!("{place}.{content_key}"), origin)?,
        value => text(value, &format!("{place}.{content_key}"), origin)?,
    };
    let role = match by_speaker {
        false => role,
        true => match role_of(&role) {
            Some(role) => role.to_owned(),
            None => {
                return Err(DataError::UnknownRole {
                    origin: origin.clone(),
                    column: role_place,
                    found: role,
                });
            }
        },
    };
    object.shift_remove(role_key);
    object.shift_remove(content_key);
    if role != "tool" {
        object.shift_remove("name");
    }
    Ok(Message { role, content, extra: object })
}

/// A content of parts (`{"type": "text", "text": ..}`), one after the other. Images and sounds are refused.
fn parts_of_text(parts: Vec<Value>, place: &str, origin: &Origin) -> Result<String, DataError> {
    let mut content = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        let place = format!("{place}[{index}]");
        let Value::Object(mut part) = part else {
            return Err(wrong_type(&part, &place, "an object with `type` and `text`", origin));
        };
        match part.get("type") {
            Some(Value::String(kind)) if kind == "text" => {}
            other => {
                return Err(DataError::WrongType {
                    origin: origin.clone(),
                    column: format!("{place}.type"),
                    wanted: "\"text\", the only type of part that is read",
                    found: other.map_or("nothing", |value| match value {
                        Value::String(_) => "another type",
                        value => kind(value),
                    }),
                });
            }
        }
        content.push_str(&text(take(&mut part, "text"), &format!("{place}.text"), origin)?);
    }
    Ok(content)
}

/// The file's column for a canonical column that must be there.
fn required<'a>(
    object: &Map<String, Value>,
    columns: &'a ColumnMap,
    name: &'a str,
    origin: &Origin,
) -> Result<&'a str, DataError> {
    columns.find(object, name).ok_or_else(|| missing(object, columns.column(name).unwrap_or(name), origin))
}

fn required_text<'a>(
    object: &mut Map<String, Value>,
    columns: &'a ColumnMap,
    name: &'a str,
    origin: &Origin,
) -> Result<(String, &'a str), DataError> {
    let column = required(object, columns, name, origin)?;
    Ok((text(take(object, column), column, origin)?, column))
}

/// An optional column that may also be null.
fn optional_text(
    object: &mut Map<String, Value>,
    columns: &ColumnMap,
    name: &str,
    origin: &Origin,
) -> Result<String, DataError> {
    match columns.find(object, name) {
        Some(column) => match take(object, column) {
            Value::Null => Ok(String::new()),
            value => text(value, column, origin),
        },
        None => Ok(String::new()),
    }
}

fn text(value: Value, place: &str, origin: &Origin) -> Result<String, DataError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&other, place, "a string", origin)),
    }
}

fn take(object: &mut Map<String, Value>, column: &str) -> Value {
    object.get_mut(column).map(Value::take).unwrap_or_default()
}

pub(in crate::source) fn wrong_type(
    value: &Value,
    column: &str,
    wanted: &'static str,
    origin: &Origin,
) -> DataError {
    DataError::WrongType { origin: origin.clone(), column: column.to_owned(), wanted, found: kind(value) }
}

/// The JSON type of a value, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn not_blank(text: &str, column: &str, origin: &Origin) -> Result<(), DataError> {
    if text.trim().is_empty() {
        return Err(DataError::NoAssistantText {
            origin: origin.clone(),
            found: format!("column {column:?} is blank"),
        });
    }
    Ok(())
}

pub(super) fn assistant_speaks(messages: &[Message], column: &str, origin: &Origin) -> Result<(), DataError> {
    let mut answers = messages.iter().filter(|message| message.role == "assistant").peekable();
    let found = if messages.is_empty() {
        format!("column {column:?} is an empty list")
    } else if answers.peek().is_none() {
        let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
        format!("column {column:?} has the roles {}", roles.join(", "))
    } else if answers.all(|message| message.content.trim().is_empty() && message.tool_calls().is_empty()) {
        format!("every assistant message in column {column:?} is blank")
    } else {
        return Ok(());
    };
    Err(DataError::NoAssistantText { origin: origin.clone(), found })
}
