use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use serde_json::{Map, Value};

/// Where a record was read: a file, a 1-based line and, where that line does not tell, the number of the record.
///
/// In a `.json` file that holds one array, `line` is the line on which the element begins. Shown as `file:line`, or as
/// `file record number`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The file, as it was given to [`Source::open`](crate::Source::open).
    pub file: Arc<str>,
    /// The line, counted from 1; in a Parquet file the row.
    pub line: usize,
    /// The number of the record in its file, counted from 1, where records share a line (elements of an array that
    /// begin on the same line, questions of SQuAD's nested file, rows of a table whose lines end in a lone CR) or the
    /// file has none (Parquet).
    pub record: Option<NonZeroU64>,
}

impl Origin {
    /// The place of a line.
    pub fn new(file: impl Into<Arc<str>>, line: usize) -> Self {
        Self { file: file.into(), line, record: None }
    }

    /// Sets the number of the record in its file, counted from 1; 0 is none.
    #[must_use]
    pub fn with_record(mut self, record: u64) -> Self {
        self.record = NonZeroU64::new(record);
        self
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            None => write!(f, "{}:{}", self.file, self.line),
            Some(record) => write!(f, "{} record {record}", self.file),
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or another role that the chat template knows.
    pub role: String,
    /// What is said; empty if the assistant only calls tools.
    pub content: String,
    /// What else the turn has, for the chat template: `tool_calls`, `tool_call_id`, `reasoning_content`, …, and the
    /// `name` of a tool (of other speakers it is not kept).
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message from its two parts.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), extra: Map::new() }
    }

    /// The calls of tools that the assistant makes in this turn.
    pub fn tool_calls(&self) -> &[Value] {
        self.extra.get("tool_calls").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn to_json(&self) -> Value {
        let turn = [("role", &self.role), ("content", &self.content)];
        let turn = turn.map(|(key, text)| (key.to_owned(), Value::String(text.clone())));
        let extra = self.extra.iter().filter(|(key, _)| !matches!(key.as_str(), "role" | "content"));
        let extra = extra.map(|(key, value)| (key.clone(), value.clone()));
        Value::Object(turn.into_iter().chain(extra).collect())
    }
}

/// The shapes of a training record.
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
    /// `question`, an optional `context`, and `answer` or `answers`: the answer is trained.
    ///
    /// The user's turn is the context, a blank line and the question. Without a chat template, a line break stands
    /// between the question and the answer.
    Question,
}

impl Shape {
    /// Every shape, in the order in which they are looked for.
    pub const ALL: [Self; 5] = [Self::Messages, Self::Completion, Self::Alpaca, Self::Text, Self::Question];

    /// The name of the shape: `text`, `completion`, `messages`, `alpaca` or `question`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Completion => "completion",
            Self::Messages => "messages",
            Self::Alpaca => "alpaca",
            Self::Question => "question",
        }
    }

    /// The columns a record of this shape must have.
    pub fn required_columns(self) -> &'static [&'static str] {
        match self {
            Self::Text => &["text"],
            Self::Completion => &["prompt", "completion"],
            Self::Messages => &["messages"],
            Self::Alpaca => &["instruction", "output"],
            Self::Question => &["question", "answer"],
        }
    }

    /// The columns that a record of this shape is written under.
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Alpaca => &["instruction", "input", "output"],
            Self::Question => &["question", "context", "answer"],
            _ => self.required_columns(),
        }
    }

    /// Every canonical column, to which a [`ColumnMap`](crate::ColumnMap) may assign a column of the file.
    pub(crate) fn canonical_columns() -> &'static [&'static str] {
        &[
            "messages",
            "conversations",
            "prompt",
            "completion",
            "instruction",
            "input",
            "output",
            "text",
            "question",
            "context",
            "answer",
            "answers",
        ]
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

/// What a record says, in one of the shapes.
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
    /// A question and its answer.
    Question {
        /// What is asked.
        question: String,
        /// The text that the question is about; often empty.
        context: String,
        /// What is to be learnt.
        answer: String,
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
            Self::Question { .. } => Shape::Question,
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
            Body::Question { question, context, answer } => {
                vec![("user", context.as_str()), ("user", question.as_str()), ("assistant", answer.as_str())]
            }
        }
    }

    /// The tools that the assistant may call: the column `tools` of a conversation, as JSON schemas.
    pub fn tools(&self) -> &[Value] {
        self.extra.get("tools").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The record as one JSON object: the canonical columns of its shape, then the others.
    ///
    /// Reading it under [`Record::shape`] gives the record again. A column of `extra` that has the name of one of
    /// those canonical columns (a mapping allows that) is written with `extra_` before its name.
    ///
    /// ```
    /// use burnisher_data::{Body, Origin, Record};
    ///
    /// let record = Record::new(Body::Text("t".to_owned()), Origin::new("a.jsonl", 1));
    /// assert_eq!(serde_json::Value::Object(record.to_json()).to_string(), r#"{"text":"t"}"#);
    /// ```
    pub fn to_json(&self) -> Map<String, Value> {
        let text = |text: &str| Value::String(text.to_owned());
        let values: Vec<Value> = match &self.body {
            Body::Text(all) => vec![text(all)],
            Body::Completion { prompt, completion } => vec![text(prompt), text(completion)],
            Body::Messages(messages) => vec![messages.iter().map(Message::to_json).collect()],
            Body::Alpaca { instruction, input, output } => {
                vec![text(instruction), text(input), text(output)]
            }
            Body::Question { question, context, answer } => {
                vec![text(question), text(context), text(answer)]
            }
        };
        let names = self.shape().columns().iter().map(|name| (*name).to_owned());
        let mut object: Map<String, Value> = names.zip(values).collect();
        for (name, value) in &self.extra {
            let mut free = name.clone();
            while object.contains_key(&free) || (free != *name && self.extra.contains_key(&free)) {
                free.insert_str(0, "extra_");
            }
            object.insert(free, value.clone());
        }
        object
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
