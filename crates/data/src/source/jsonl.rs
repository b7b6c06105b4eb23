use std::io::{BufRead, Read};
use std::mem;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::Value;

use super::elements::{Element, FileContext, Payload};
use crate::error::DataError;
use crate::record::Origin;

/// Bytes of lines that are parsed side by side.
const BATCH: usize = 16 * 1024 * 1024;

/// Lines of a stream, none of which is held in memory beyond a limit.
pub(crate) struct LineReader {
    reader: Box<dyn BufRead + Send>,
    /// The number of the line last read, from 1.
    line: usize,
    context: FileContext,
    failed: bool,
}

impl LineReader {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, context: FileContext) -> Self {
        Self { reader, line: 0, context, failed: false }
    }

    /// Appends the next line that is not blank, and returns its number; `None` at the end. A line that is too long is
    /// skipped and an error, a stream that cannot be read has no further lines.
    pub(crate) fn next(&mut self, buffer: &mut Vec<u8>) -> Option<Result<Origin, DataError>> {
        let start = buffer.len();
        while !self.failed {
            buffer.truncate(start);
            let limit = self.context.max_record_bytes;
            let mut limited = self.reader.by_ref().take((limit as u64).saturating_add(1));
            self.line += 1;
            match limited.read_until(b'\n', buffer) {
                Ok(0) => return None,
                Ok(read) if read > limit && buffer.last() != Some(&b'\n') => {
                    buffer.truncate(start);
                    if let Err(error) = self.reader.skip_until(b'\n') {
                        return Some(Err(self.fail(&error)));
                    }
                    return Some(Err(DataError::RecordTooLong { origin: self.origin(), limit }));
                }
                Ok(_) => {}
                Err(error) => {
                    buffer.truncate(start);
                    return Some(Err(self.fail(&error)));
                }
            }
            let line = &buffer[start..];
            let end = start + line.trim_ascii_end().len();
            buffer.truncate(end);
            if end > start && !buffer[start..].trim_ascii_start().is_empty() {
                return Some(Ok(self.origin()));
            }
        }
        None
    }

    fn fail(&mut self, error: &std::io::Error) -> DataError {
        self.failed = true;
        self.context.damaged(self.line, error)
    }

    fn origin(&self) -> Origin {
        self.context.origin(self.line)
    }
}

/// One value per line.
pub(crate) struct Lines {
    lines: LineReader,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(lines: LineReader) -> Self {
        Self { lines, buffer: Vec::new() }
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        self.buffer.clear();
        let origin = self.lines.next(&mut self.buffer)?;
        Some(origin.and_then(|origin| parse_line(&self.buffer, origin)))
    }
}

/// One value per line, parsed in batches on all cores. What comes out is what [`Lines`] gives.
pub(crate) struct ParallelLines {
    lines: LineReader,
    buffer: Vec<u8>,
    parsed: std::vec::IntoIter<Result<Element, DataError>>,
}

impl ParallelLines {
    pub(crate) fn new(lines: LineReader) -> Self {
        Self { lines, buffer: Vec::new(), parsed: Vec::new().into_iter() }
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        if self.parsed.as_slice().is_empty() {
            self.parsed = self.parse_batch().into_iter();
        }
        self.parsed.next()
    }

    fn parse_batch(&mut self) -> Vec<Result<Element, DataError>> {
        let mut buffer = mem::take(&mut self.buffer);
        buffer.clear();
        let mut found = Vec::new();
        while buffer.len() < BATCH {
            let start = buffer.len();
            match self.lines.next(&mut buffer) {
                Some(Ok(origin)) => found.push(Ok((start..buffer.len(), origin))),
                Some(Err(error)) => found.push(Err(error)),
                None => break,
            }
        }
        let parsed = found
            .into_par_iter()
            .map(|line| line.and_then(|(range, origin)| parse_line(&buffer[range], origin)))
            .collect();
        self.buffer = buffer;
        parsed
    }
}

pub(crate) fn parse_line(bytes: &[u8], origin: Origin) -> Result<Element, DataError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            return Err(DataError::Utf8 { origin, column: error.valid_up_to() + 1 });
        }
    };
    match serde_json::from_str(text) {
        Ok(value) => Ok(Element { origin, payload: Payload::Json(value) }),
        Err(error) => Err(json_error(origin, &error, error.column())),
    }
}

/// The elements of one array that fills the file, read one by one.
pub(crate) struct Array {
    reader: Box<dyn BufRead + Send>,
    context: FileContext,
    /// The line of the next byte, from 1, and the bytes before it on that line.
    line: usize,
    column: usize,
    buffer: Vec<u8>,
    /// Nothing but `[` has been read.
    first: bool,
    finished: bool,
}

impl Array {
    /// The array whose opening bracket is the first byte of `reader` that is not white space.
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, context: FileContext) -> Result<Self, DataError> {
        let mut array =
            Self { reader, context, line: 1, column: 0, buffer: Vec::new(), first: true, finished: false };
        array.peek()?;
        array.step(b'[');
        Ok(array)
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        if self.finished {
            return None;
        }
        let element = self.element();
        // After a broken element, where the next one begins is a guess.
        self.finished |= element.is_err();
        element.transpose()
    }

    fn element(&mut self) -> Result<Option<Element>, DataError> {
        match self.peek()? {
            Some(b']') => {
                self.step(b']');
                self.finished = true;
                return match self.peek()? {
                    Some(_) => Err(self.error("characters after the end of the array")),
                    None => Ok(None),
                };
            }
            None => return Err(self.error(NO_END)),
            Some(_) if self.first => self.first = false,
            Some(b',') => {
                self.step(b',');
                if self.peek()?.is_none() {
                    return Err(self.error(NO_END));
                }
            }
            Some(_) => return Err(self.error("expected `,` or `]`")),
        }
        let (origin, before) = (self.context.origin(self.line), self.column);
        self.take_element()?;
        parse_element(&self.buffer, &origin, before).map(Some)
    }

    /// Moves the bytes of the next element to the buffer: all up to the bracket that closes it, or up to the end of a
    /// number or a word. Whether they are JSON is the parser's business.
    fn take_element(&mut self) -> Result<(), DataError> {
        self.buffer.clear();
        let start = self.line;
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        loop {
            let block = self.reader.fill_buf().map_err(|error| self.context.damaged(self.line, &error))?;
            let mut used = 0;
            let mut ended = block.is_empty();
            for byte in block {
                let ends_after = if in_text {
                    in_text = escaped || *byte != b'"';
                    escaped = !escaped && *byte == b'\\';
                    !in_text && depth == 0
                } else {
                    match byte {
                        b'"' => in_text = true,
                        b'{' | b'[' => depth += 1,
                        // The array's own bracket, after a number or a word.
                        b'}' | b']' if depth == 0 && self.buffer.len() + used > 0 => {
                            ended = true;
                            break;
                        }
                        b'}' | b']' => depth = depth.saturating_sub(1),
                        b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                            ended = true;
                            break;
                        }
                        _ => {}
                    }
                    matches!(byte, b'}' | b']') && depth == 0
                };
                used += 1;
                self.column += 1;
                if *byte == b'\n' {
                    (self.line, self.column) = (self.line + 1, 0);
                }
                if ends_after {
                    ended = true;
                    break;
                }
            }
            self.buffer.extend_from_slice(&block[..used]);
            self.reader.consume(used);
            if self.buffer.len() > self.context.max_record_bytes {
                return Err(DataError::RecordTooLong {
                    origin: self.context.origin(start),
                    limit: self.context.max_record_bytes,
                });
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Skips white space and returns the byte that follows.
    fn peek(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            let block = self.reader.fill_buf().map_err(|error| self.context.damaged(self.line, &error))?;
            match block.first() {
                Some(byte) if byte.is_ascii_whitespace() => {
                    let byte = *byte;
                    self.step(byte);
                }
                other => return Ok(other.copied()),
            }
        }
    }

    /// Goes past `byte`, which is next.
    fn step(&mut self, byte: u8) {
        self.reader.consume(1);
        (self.line, self.column) =
            if byte == b'\n' { (self.line + 1, 0) } else { (self.line, self.column + 1) };
    }

    fn error(&self, message: &str) -> DataError {
        DataError::Json {
            origin: self.context.origin(self.line),
            message: format!("{message} (column {})", self.column + 1),
        }
    }
}

const NO_END: &str = "the array has no end; is the file cut off?";

/// An element whose first byte has `before` bytes of its line before it.
fn parse_element(bytes: &[u8], origin: &Origin, before: usize) -> Result<Element, DataError> {
    let at = |line: usize| Origin { file: Arc::clone(&origin.file), line };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let newlines = good.iter().filter(|byte| **byte == b'\n').count();
            let column = match good.iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => good.len() - newline,
                None => before + good.len() + 1,
            };
            return Err(DataError::Utf8 { origin: at(origin.line + newlines), column });
        }
    };
    match serde_json::from_str::<Value>(text) {
        Ok(value) => Ok(Element { origin: origin.clone(), payload: Payload::Json(value) }),
        Err(error) => {
            // The parser counts from the start of the element.
            let before = if error.line() <= 1 { before } else { 0 };
            let origin = at(origin.line + error.line().saturating_sub(1));
            Err(json_error(origin, &error, before + error.column()))
        }
    }
}

/// The parser's words without its own line number, which counts from the start of the record.
fn json_error(origin: Origin, error: &serde_json::Error, column: usize) -> DataError {
    let text = error.to_string();
    let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
    let hint = if error.is_eof() { "; is the record cut off?" } else { "" };
    DataError::Json { origin, message: format!("{cause} (column {column}){hint}") }
}
