use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// Where a record was read: a file and a 1-based line.
///
/// In a `.json` file that holds one array, `line` is the line on which the element begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The file, as it was given to [`Source::open`](crate::Source::open).
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
}

impl Origin {
    /// An origin from its two parts.
    pub fn new(file: impl Into<Arc<str>>, line: usize) -> Self {
        Self { file: file.into(), line }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or another role that the chat template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message from its two parts.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// The four shapes of a training record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// `text`: plain text, all of it trained.
    Text,
    /// `prompt` and `completion`: the completion is trained.
    Completion,
    /// `messages`: a conversation, the assistant's turns are trained.
    Messages,
    /// `instruction`, `output` and an optional `input`: the output is trained.
    Alpaca,
}

impl Shape {
    /// Every shape, in the order in which they are looked for.
    pub const ALL: [Self; 4] = [Self::Messages, Self::Completion, Self::Alpaca, Self::Text];

    /// The name of the shape: `text`, `completion`, `messages` or `alpaca`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Completion => "completion",
            Self::Messages => "messages",
            Self::Alpaca => "alpaca",
        }
    }

    /// The columns a record of this shape must have.
    pub fn required_columns(self) -> &'static [&'static str] {
        match self {
            Self::Text => &["text"],
            Self::Completion => &["prompt", "completion"],
            Self::Messages => &["messages"],
            Self::Alpaca => &["instruction", "output"],
        }
    }

    /// The columns that a record of this shape takes from an object.
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &["messages", "conversations"],
            Self::Alpaca => &["instruction", "input", "output"],
            _ => self.required_columns(),
        }
    }

    /// Every canonical column, to which a [`ColumnMap`](crate::ColumnMap) may assign a column of the file.
    pub(crate) fn canonical_columns() -> &'static [&'static str] {
        &["messages", "conversations", "prompt", "completion", "instruction", "input", "output", "text"]
    }

    /// `messages; prompt + completion; …`, for error messages.
    pub(crate) fn columns_of_all() -> String {
        let shapes: Vec<String> =
            Self::ALL.iter().map(|shape| shape.required_columns().join(" + ")).collect();
        shapes.join("; ")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a record says, in one of the four shapes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Plain text.
    Text(String),
    /// A prompt and what follows it.
    Completion {
        /// What is given.
        prompt: String,
        /// What is to be learnt.
        completion: String,
    },
    /// A conversation.
    Messages(Vec<Message>),
    /// Stanford Alpaca's instruction record.
    Alpaca {
        /// The task.
        instruction: String,
        /// What the task is about; often empty.
        input: String,
        /// What is to be learnt.
        output: String,
    },
}

impl Body {
    /// The shape of this body.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Text(_) => Shape::Text,
            Self::Completion { .. } => Shape::Completion,
            Self::Messages(_) => Shape::Messages,
            Self::Alpaca { .. } => Shape::Alpaca,
        }
    }
}

/// One training record: what it says and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the record says.
    pub body: Body,
    /// Where it was read.
    pub origin: Origin,
    /// The columns of its object that its shape does not know, in the file's order: labels, groups, times, sources.
    pub extra: Map<String, Value>,
}

impl Record {
    /// A record from its two parts, without further columns.
    pub fn new(body: Body, origin: Origin) -> Self {
        Self { body, origin, extra: Map::new() }
    }

    /// The shape of the record.
    pub fn shape(&self) -> Shape {
        self.body.shape()
    }

    /// The text that is learnt: everything of a text record, else what the assistant says, turns joined by a
    /// line break.
    pub fn trained_text(&self) -> String {
        self.text_of(&["assistant"])
    }

    /// What user and assistant say, in order, joined by line breaks: the text that the leak check looks at.
    ///
    /// System and tool text is left out. The text of a text record counts as the assistant's.
    pub fn user_and_assistant_text(&self) -> String {
        self.text_of(&["user", "assistant"])
    }

    /// `(role, text)` of every turn. A completion or an output is the assistant's, as is a text record.
    pub(crate) fn turns(&self) -> Vec<(&str, &str)> {
        match &self.body {
            Body::Text(text) => vec![("assistant", text.as_str())],
            Body::Completion { prompt, completion } => {
                vec![("user", prompt.as_str()), ("assistant", completion.as_str())]
            }
            Body::Messages(messages) => {
                messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect()
            }
            Body::Alpaca { instruction, input, output } => {
                vec![("user", instruction.as_str()), ("user", input.as_str()), ("assistant", output.as_str())]
            }
        }
    }

    fn text_of(&self, roles: &[&str]) -> String {
        let texts: Vec<&str> = self
            .turns()
            .into_iter()
            .filter(|(role, text)| roles.contains(role) && !text.is_empty())
            .map(|(_, text)| text)
            .collect();
        texts.join("\n")
    }
}
