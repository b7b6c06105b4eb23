use std::io::{BufRead, Read};

use super::elements::{Element, FileContext, Payload};
use super::jsonl::LineReader;
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
    Paragraphs { lines: LineReader, next: Option<(Origin, Vec<u8>)>, context: FileContext },
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
        return Err(DataError::RecordTooLong { origin: context.origin(1), limit });
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    element(bytes, context.origin(1)).map(Some)
}

fn paragraph(
    lines: &mut LineReader,
    next: &mut Option<(Origin, Vec<u8>)>,
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
        if text.len() + line.len() >= context.max_record_bytes {
            let limit = context.max_record_bytes;
            return Err(DataError::RecordTooLong { origin, limit });
        }
        last = at.line;
        text.push(b'\n');
        text.extend_from_slice(&line);
    }
    element(text, origin).map(Some)
}

fn read_line(lines: &mut LineReader) -> Result<Option<(Origin, Vec<u8>)>, DataError> {
    let mut line = Vec::new();
    let origin = lines.next(&mut line).transpose()?;
    Ok(origin.map(|origin| (origin, line)))
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
