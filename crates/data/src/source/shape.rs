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

/// The first shape whose columns the object has.
pub(crate) fn recognise(object: &Map<String, Value>, columns: &ColumnMap) -> Option<Shape> {
    Shape::ALL.into_iter().find(|shape| match shape {
        Shape::Messages => conversation_column(object, columns).is_some(),
        _ => shape.required_columns().iter().all(|name| columns.find(object, name).is_some()),
    })
}

fn conversation_column<'a>(object: &Map<String, Value>, columns: &'a ColumnMap) -> Option<&'a str> {
    columns.find(object, "messages").or_else(|| columns.find(object, "conversations"))
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
            Ok(Body::Messages(messages))
        }
        Shape::Alpaca => {
            let (instruction, _) = required_text(object, columns, "instruction", origin)?;
            let input = match columns.find(object, "input") {
                Some(column) => match take(object, column) {
                    Value::Null => String::new(),
                    value => text(value, column, origin)?,
                },
                None => String::new(),
            };
            let (output, column) = required_text(object, columns, "output", origin)?;
            not_blank(&output, column, origin)?;
            Ok(Body::Alpaca { instruction, input, output })
        }
    }
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
    match value {
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
    for key in [role_key, content_key] {
        if !object.contains_key(key) {
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
    let content = text(take(&mut object, content_key), &format!("{place}.{content_key}"), origin)?;
    if !by_speaker {
        return Ok(Message { role, content });
    }
    match SPEAKERS.iter().find(|(speaker, _)| *speaker == role) {
        Some((_, role)) => Ok(Message::new(*role, content)),
        None => Err(DataError::UnknownRole { origin: origin.clone(), column: role_place, found: role }),
    }
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

fn text(value: Value, place: &str, origin: &Origin) -> Result<String, DataError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&other, place, "a string", origin)),
    }
}

fn take(object: &mut Map<String, Value>, column: &str) -> Value {
    object.get_mut(column).map(Value::take).unwrap_or_default()
}

fn wrong_type(value: &Value, column: &str, wanted: &'static str, origin: &Origin) -> DataError {
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

fn assistant_speaks(messages: &[Message], column: &str, origin: &Origin) -> Result<(), DataError> {
    let mut answers = messages.iter().filter(|message| message.role == "assistant").peekable();
    let found = if messages.is_empty() {
        format!("column {column:?} is an empty list")
    } else if answers.peek().is_none() {
        let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
        format!("column {column:?} has the roles {}", roles.join(", "))
    } else if answers.all(|message| message.content.trim().is_empty()) {
        format!("every assistant message in column {column:?} is blank")
    } else {
        return Ok(());
    };
    Err(DataError::NoAssistantText { origin: origin.clone(), found })
}
