use std::io::BufRead;
use std::sync::Arc;

use serde_json::Value;

use super::elements::{Element, FileContext, Payload};
use super::jsonl::json_error;
use crate::error::DataError;
use crate::record::Origin;

const NO_END: &str = "the array has no end; is the file cut off?";

/// The elements of one array that fills the file, read one by one.
pub(crate) struct Array {
    reader: Box<dyn BufRead + Send>,
    context: FileContext,
    /// The line of the next byte, from 1, and the bytes before it on that line.
    line: usize,
    column: usize,
    buffer: Vec<u8>,
    /// Elements that were begun, and the line on which the last of them begins.
    begun: u64,
    last_line: usize,
    /// Whether an element follows, where that was looked at.
    follows: Option<Result<bool, DataError>>,
    finished: bool,
}

impl Array {
    /// The array whose opening bracket is the first byte of `reader` that is not white space.
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, context: FileContext) -> Result<Self, DataError> {
        let mut array = Self {
            reader,
            context,
            line: 1,
            column: 0,
            buffer: Vec::new(),
            begun: 0,
            last_line: 0,
            follows: None,
            finished: false,
        };
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
        self.finished = !matches!(element, Ok(Some(_)));
        element.transpose()
    }

    fn element(&mut self) -> Result<Option<Element>, DataError> {
        let follows = self.follows.take();
        if !follows.unwrap_or_else(|| self.look_ahead())? {
            return Ok(None);
        }
        let (mut origin, before) = (self.context.origin(self.line), self.column);
        self.begun += 1;
        if self.last_line == origin.line {
            origin = origin.with_record(self.begun);
        }
        self.last_line = origin.line;
        self.take_element(&origin)?;
        let follows = self.look_ahead();
        if matches!(follows, Ok(true)) && self.line == origin.line {
            origin = origin.with_record(self.begun);
        }
        self.follows = Some(follows);
        parse_element(&self.buffer, origin, before).map(Some)
    }

    /// Goes to the beginning of the next element; false at the end of the array.
    fn look_ahead(&mut self) -> Result<bool, DataError> {
        match self.peek()? {
            Some(b']') => {
                self.step(b']');
                match self.peek()? {
                    Some(_) => Err(self.error("characters after the end of the array")),
                    None => Ok(false),
                }
            }
            None => Err(self.error(NO_END)),
            Some(_) if self.begun == 0 => Ok(true),
            Some(b',') => {
                self.step(b',');
                match self.peek()? {
                    Some(_) => Ok(true),
                    None => Err(self.error(NO_END)),
                }
            }
            Some(_) => Err(self.error("expected `,` or `]`")),
        }
    }

    /// Moves the bytes of the next element to the buffer: all up to the bracket that closes it, or up to the end of a
    /// number or a word. Whether they are JSON is the parser's business.
    fn take_element(&mut self, origin: &Origin) -> Result<(), DataError> {
        self.buffer.clear();
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
                let (origin, limit) = (origin.clone(), self.context.max_record_bytes);
                return Err(DataError::RecordTooLong { origin, limit });
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

/// An element whose first byte has `before` bytes of its line before it.
fn parse_element(bytes: &[u8], origin: Origin, before: usize) -> Result<Element, DataError> {
    // A column is one of a line.
    let at = |line: usize| Origin { file: Arc::clone(&origin.file), line, record: None };
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
        Ok(value) => Ok(Element { origin, payload: Payload::Json(value) }),
        Err(error) => {
            // The parser counts from the start of the element.
            let before = if error.line() <= 1 { before } else { 0 };
            let origin = at(origin.line + error.line().saturating_sub(1));
            Err(json_error(origin, &error, before + error.column()))
        }
    }
}
