//! Records straight from their lines, without a JSON value in between.
//!
//! The reference is [`Assembler::record`](super::records::Assembler::record) over
//! [`parse_line`](super::jsonl::parse_line). A record that is read here is the one the reference gives; on all else, the
//! errors among it, this file has nothing to say, and the reference reads the line.

mod chat;
mod scanner;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use self::scanner::Scanner;
use super::columns::ColumnMap;
use super::shape;
use crate::record::{Body, Message, Origin, Shape};

/// The canonical columns, as bits of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Messages,
    Conversations,
    Prompt,
    Completion,
    Instruction,
    Input,
    Output,
    Text,
    Question,
    Context,
    Answer,
    Answers,
}

use Column::{
    Answer, Answers, Completion, Context, Conversations, Input, Instruction, Messages, Output, Prompt,
    Question, Text,
};

/// In the order of [`Shape::canonical_columns`].
const COLUMNS: [Column; 12] = [
    Messages,
    Conversations,
    Prompt,
    Completion,
    Instruction,
    Input,
    Output,
    Text,
    Question,
    Context,
    Answer,
    Answers,
];

/// A set of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Set(u16);

impl Set {
    fn insert(&mut self, column: Column) {
        self.0 |= 1 << column as u16;
    }

    fn has(self, column: Column) -> bool {
        self.0 & (1 << column as u16) != 0
    }

    /// As [`shape::recognise`].
    fn shape(self) -> Option<Shape> {
        Shape::ALL.into_iter().find(|shape| match shape {
            Shape::Messages => self.has(Messages) || self.has(Conversations),
            Shape::Completion => self.has(Prompt) && self.has(Completion),
            Shape::Alpaca => self.has(Instruction) && self.has(Output),
            Shape::Text => self.has(Text),
            Shape::Question => self.has(Question) && (self.has(Answer) || self.has(Answers)),
        })
    }
}

/// Reads the lines of a file whose shape is known.
#[derive(Debug)]
pub(super) struct Direct {
    shape: Shape,
    /// Whether the caller fixed the shape, so that no other is looked for.
    fixed: bool,
    /// The columns of the file that stand for canonical ones.
    names: Vec<(Column, String)>,
    /// The columns that are mapped, and must be in every record.
    mapped: Set,
}

impl Direct {
    /// `None` where the mapping goes into what a column holds.
    pub(super) fn new(shape: Shape, fixed: bool, columns: &ColumnMap) -> Option<Self> {
        if columns.has_paths() {
            return None;
        }
        let (mut names, mut mapped) = (Vec::with_capacity(COLUMNS.len()), Set::default());
        for (column, name) in COLUMNS.into_iter().zip(Shape::canonical_columns()) {
            if columns.is_mapped(name) {
                mapped.insert(column);
            }
            if let Some(name) = columns.column(name) {
                names.push((column, name.to_owned()));
            }
        }
        Some(Self { shape, fixed, names, mapped })
    }

    /// The body of the record and its other columns; `None` where the reference has to decide. The scratch is memory
    /// from line to line.
    pub(super) fn read(
        &self,
        line: &str,
        scratch: &mut String,
        origin: &Origin,
    ) -> Option<(Body, Map<String, Value>)> {
        let found = self.columns(Scanner::new(line), scratch)?;
        let missing = self.mapped.0 & !found.columns.0 != 0;
        let other = !self.fixed && found.columns.shape().is_some_and(|shape| shape != self.shape);
        // Of these two, the reference keeps the second beside the record.
        let both = found.columns.has(Messages) && found.columns.has(Conversations);
        if missing || other || (both && self.shape == Shape::Messages) {
            return None;
        }
        self.body(found, origin)
    }

    fn columns(&self, mut scanner: Scanner<'_>, scratch: &mut String) -> Option<Found> {
        let mut found = Found::default();
        scanner.take(b'{')?;
        loop {
            let name = scanner.string(scratch)?;
            let column = self.names.iter().find(|(_, known)| known == name).map(|(column, _)| *column);
            let part = column.and_then(|column| self.part(column));
            let part = part.unwrap_or_else(|| Part::Other(name.to_owned()));
            scanner.take(b':')?;
            match part {
                Part::Text(column) => found.texts[column as usize] = scanner.text(scratch)?,
                Part::Messages => found.messages = Some(chat::turns(&mut scanner, scratch)?),
                Part::Other(name) => {
                    found.extra.insert(name, scanner.value(scratch)?);
                }
            }
            if let Some(column) = column {
                found.columns.insert(column);
            }
            if !scanner.has_more(b'}')? {
                return scanner.peek().is_none().then_some(found);
            }
        }
    }

    /// As [`shape::body`].
    fn body(&self, mut found: Found, origin: &Origin) -> Option<(Body, Map<String, Value>)> {
        let said = |text: String| (!text.trim().is_empty()).then_some(text);
        let body = match self.shape {
            Shape::Text => Body::Text(said(found.take(Text)?)?),
            Shape::Completion => {
                let (prompt, completion) = (found.take(Prompt)?, said(found.take(Completion)?)?);
                Body::Completion { prompt, completion }
            }
            Shape::Messages => {
                let messages = found.messages?;
                shape::assistant_speaks(&messages, "messages", origin).ok()?;
                if let Some(value) = found.extra.get_mut("tools") {
                    *value = shape::tools(value.take(), origin).ok()?;
                }
                Body::Messages(messages)
            }
            Shape::Alpaca => Body::Alpaca {
                instruction: found.take(Instruction)?,
                input: found.take(Input).unwrap_or_default(),
                output: said(found.take(Output)?)?,
            },
            Shape::Question => {
                let answer = match found.columns.has(Answer) {
                    true => found.take(Answer)?,
                    false => {
                        let (_, name) = self.names.iter().find(|(column, _)| *column == Answers)?;
                        shape::first_answer(found.extra.get(name)?, name, origin).ok()?
                    }
                };
                let (question, context) = (found.take(Question)?, found.take(Context).unwrap_or_default());
                Body::Question { question, context, answer: said(answer)? }
            }
        };
        Some((body, found.extra))
    }

    /// What a column of the record is read as; `None` for one that is not in the body.
    fn part(&self, column: Column) -> Option<Part> {
        match (self.shape, column) {
            (Shape::Messages, Messages | Conversations) => Some(Part::Messages),
            (Shape::Text, Text)
            | (Shape::Completion, Prompt | Completion)
            | (Shape::Alpaca, Instruction | Input | Output)
            | (Shape::Question, Question | Context | Answer) => Some(Part::Text(column)),
            _ => None,
        }
    }
}

enum Part {
    Text(Column),
    Messages,
    /// A column that is kept beside the body.
    Other(String),
}

/// What one line holds.
#[derive(Default)]
struct Found {
    columns: Set,
    /// By column; null is `None`.
    texts: [Option<String>; COLUMNS.len()],
    messages: Option<Vec<Message>>,
    extra: Map<String, Value>,
}

impl Found {
    fn take(&mut self, column: Column) -> Option<String> {
        self.texts[column as usize].take()
    }
}
