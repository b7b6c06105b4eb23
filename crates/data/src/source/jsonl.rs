use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Deserializer, Value};

use crate::error::DataError;
use crate::record::Origin;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One JSON value of a file and where it begins.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// The values of a file, in order.
#[derive(Debug)]
pub(crate) enum Elements {
    Lines(Lines),
    Array(Array),
}

impl Elements {
    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Array(array) => array.next(),
        }
    }
}

/// Opens a file: an array if its name ends in `.json` and its first character is `[`, else JSON lines.
pub(crate) fn open(path: &Path) -> Result<Elements, DataError> {
    let read_error = |source| DataError::Read { path: path.to_path_buf(), source };
    let file: Arc<str> = path.display().to_string().into();
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        let bytes = fs::read(path).map_err(read_error)?;
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Array::new(file, bytes).map(Elements::Array);
        }
    }
    let reader = BufReader::new(File::open(path).map_err(read_error)?);
    Ok(Elements::Lines(Lines { reader, path: path.to_path_buf(), file, line: 0, buffer: Vec::new() }))
}

/// One value per line.
#[derive(Debug)]
pub(crate) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    file: Arc<str>,
    line: usize,
    buffer: Vec<u8>,
}

impl Lines {
    fn next(&mut self) -> Option<Result<Element, DataError>> {
        loop {
            self.buffer.clear();
            match self.reader.read_until(b'\n', &mut self.buffer) {
                Ok(0) => return None,
                Ok(_) => self.line += 1,
                Err(source) => {
                    return Some(Err(DataError::Read { path: self.path.clone(), source }));
                }
            }
            let mut bytes = self.buffer.trim_ascii_end();
            if self.line == 1 {
                bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
            }
            if !bytes.trim_ascii_start().is_empty() {
                return Some(parse_line(bytes, Origin { file: Arc::clone(&self.file), line: self.line }));
            }
        }
    }
}

fn parse_line(bytes: &[u8], origin: Origin) -> Result<Element, DataError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            return Err(DataError::Utf8 { origin, column: error.valid_up_to() + 1 });
        }
    };
    match serde_json::from_str(text) {
        Ok(value) => Ok(Element { origin, value }),
        Err(error) => Err(json_error(origin, &error, error.column())),
    }
}

/// The elements of one array that fills the file.
#[derive(Debug)]
pub(crate) struct Array {
    text: String,
    file: Arc<str>,
    position: usize,
    /// The line of `position`, from 1.
    line: usize,
    /// Nothing but `[` has been read.
    first: bool,
    finished: bool,
}

impl Array {
    fn new(file: Arc<str>, bytes: &[u8]) -> Result<Self, DataError> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let before = &bytes[..error.valid_up_to()];
                let line_start =
                    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
                let origin = Origin { file, line: 1 + newlines(before) };
                return Err(DataError::Utf8 { origin, column: before.len() - line_start + 1 });
            }
        };
        let mut array = Self { text, file, position: 0, line: 1, first: true, finished: false };
        array.peek();
        // The opening bracket, which `open` has seen.
        array.position += 1;
        Ok(array)
    }

    /// Skips white space and returns the byte that follows.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.position..];
        let blank = rest.len() - rest.trim_ascii_start().len();
        self.advance(blank);
        self.text.as_bytes().get(self.position).copied()
    }

    fn advance(&mut self, bytes: usize) {
        self.line += newlines(&self.text.as_bytes()[self.position..self.position + bytes]);
        self.position += bytes;
    }

    /// Bytes between the start of the line and `position`.
    fn column(&self) -> usize {
        self.position - self.text[..self.position].rfind('\n').map_or(0, |newline| newline + 1)
    }

    fn origin(&self) -> Origin {
        Origin { file: Arc::clone(&self.file), line: self.line }
    }

    fn error(&self, message: &str) -> DataError {
        DataError::Json {
            origin: self.origin(),
            message: format!("{message} (column {})", self.column() + 1),
        }
    }

    fn next(&mut self) -> Option<Result<Element, DataError>> {
        if self.finished {
            return None;
        }
        match self.peek() {
            Some(b']') => {
                self.position += 1;
                self.finished = true;
                return self.peek().map(|_| Err(self.error("characters after the end of the array")));
            }
            None => return Some(Err(self.error("the array has no end; is the file cut off?"))),
            Some(_) if self.first => self.first = false,
            Some(b',') => {
                self.position += 1;
                self.peek();
            }
            Some(_) => return Some(Err(self.error("expected `,` or `]`"))),
        }
        Some(self.element())
    }

    fn element(&mut self) -> Result<Element, DataError> {
        let mut stream = Deserializer::from_str(&self.text[self.position..]).into_iter::<Value>();
        let value = match stream.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                // The parser counts from the start of the element.
                let before = if error.line() <= 1 { self.column() } else { 0 };
                let line = self.line + error.line().saturating_sub(1);
                return Err(json_error(
                    Origin { file: Arc::clone(&self.file), line },
                    &error,
                    before + error.column(),
                ));
            }
            None => return Err(self.error("the array has no end; is the file cut off?")),
        };
        let used = stream.byte_offset();
        let origin = self.origin();
        self.advance(used);
        Ok(Element { origin, value })
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The parser's words without its own line number, which counts from the start of the record.
fn json_error(origin: Origin, error: &serde_json::Error, column: usize) -> DataError {
    let text = error.to_string();
    let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
    let hint = if error.is_eof() { "; is the record cut off?" } else { "" };
    DataError::Json { origin, message: format!("{cause} (column {column}){hint}") }
}
