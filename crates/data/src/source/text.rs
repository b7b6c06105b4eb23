use std::io::{BufRead, Read};

use super::elements::{Element, FileContext, Payload};
use super::lines::LineReader;
use crate::error::DataError;
use crate::record::Origin;

/// What of a plain text file makes one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TextUnit {
    /// The whole file.
    #[default]
    File,
    /// Each run of lines between blank lines.
    Paragraph,
    /// Each line that is not blank.
    Line,
}

/// The records of a plain text file.
pub(crate) enum Text {
    File { reader: Option<Box<dyn BufRead + Send>>, context: FileContext },
    Paragraphs { lines: LineReader, next: Option<Line>, context: FileContext },
    Lines { lines: LineReader },
}

impl Text {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, unit: TextUnit, context: FileContext) -> Self {
        match unit {
            TextUnit::File => Self::File { reader: Some(reader), context },
            TextUnit::Paragraph => {
                let lines = LineReader::new(reader, context.clone());
                Self::Paragraphs { lines, next: None, context }
            }
            TextUnit::Line => Self::Lines { lines: LineReader::new(reader, context) },
        }
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        match self {
            Self::File { reader, context } => whole(reader.take()?, context).transpose(),
            Self::Lines { lines } => {
                let mut line = Vec::new();
                Some(lines.next(&mut line)?.and_then(|origin| element(line, origin)))
            }
            Self::Paragraphs { lines, next, context } => paragraph(lines, next, context).transpose(),
        }
    }
}

/// `None` for a blank file.
fn whole(reader: Box<dyn BufRead + Send>, context: &FileContext) -> Result<Option<Element>, DataError> {
    let limit = context.max_record_bytes;
    let mut bytes = Vec::new();
    let read = reader.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| context.damaged(1, &error))?;
    if bytes.len() > limit {
        return Err(context.too_long(1));
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    element(bytes, context.origin(1)).map(Some)
}

/// A line and where it stands; `None` for one that is too long.
type Line = (Origin, Option<Vec<u8>>);

/// A paragraph that is too long, or that has a line which is, is skipped whole.
fn paragraph(
    lines: &mut LineReader,
    next: &mut Option<Line>,
    context: &FileContext,
) -> Result<Option<Element>, DataError> {
    let Some((origin, mut text)) = (match next.take() {
        Some(first) => Some(first),
        None => read_line(lines)?,
    }) else {
        return Ok(None);
    };
    let mut last = origin.line;
    while let Some((at, line)) = read_line(lines)? {
        if at.line != last + 1 {
            *next = Some((at, line));
            break;
        }
        last = at.line;
        text = match (text, line) {
            (Some(mut text), Some(line)) if text.len() + line.len() < context.max_record_bytes => {
                text.push(b'\n');
                text.extend_from_slice(&line);
                Some(text)
            }
            _ => None,
        };
    }
    match text {
        Some(text) => element(text, origin).map(Some),
        None => Err(context.too_long(origin.line)),
    }
}

fn read_line(lines: &mut LineReader) -> Result<Option<Line>, DataError> {
    let mut line = Vec::new();
    match lines.next(&mut line) {
        None => Ok(None),
        Some(Ok(origin)) => Ok(Some((origin, Some(line)))),
        Some(Err(DataError::RecordTooLong { origin, .. })) => Ok(Some((origin, None))),
        Some(Err(error)) => Err(error),
    }
}

fn element(bytes: Vec<u8>, origin: Origin) -> Result<Element, DataError> {
    let nul = bytes.iter().position(|byte| *byte == 0);
    let (good, column_of) = match (String::from_utf8(bytes), nul) {
        (Ok(text), None) => return Ok(Element { origin, payload: Payload::Text(text) }),
        (Ok(text), Some(nul)) => (text.into_bytes(), nul),
        (Err(error), _) => {
            let at = error.utf8_error().valid_up_to();
            (error.into_bytes(), at)
        }
    };
    let before = &good[..column_of];
    let newlines = before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let (line, column) = (origin.line + newlines, before.len() - start + 1);
    let origin = Origin { line, ..origin };
    match good[column_of] {
        0 => Err(DataError::BinaryText { origin, column }),
        _ => Err(DataError::Utf8 { origin, column }),
    }
}
