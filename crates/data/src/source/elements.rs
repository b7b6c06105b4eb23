use std::fmt;
use std::io::{self, BufRead, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::array::Array;
use super::conll::Sentences;
use super::format::Format;
use super::input::{self, Encoding};
use super::jsonl::{Lines, ParallelLines};
use super::parquet::Rows;
use super::reading::Assemble;
use super::squad::{Detected, Questions};
use super::table::Table;
use super::text::{Text, TextUnit};
use crate::error::DataError;
use crate::record::Origin;

/// What stands at one place of a file.
#[derive(Debug)]
pub(crate) enum Payload {
    /// An object with columns, or what stands in its place.
    Json(Value),
    /// Plain text.
    Text(String),
}

/// One value of a file and where it begins.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) origin: Origin,
    pub(crate) payload: Payload,
}

/// What every reader of a file knows about it.
#[derive(Debug, Clone)]
pub(crate) struct FileContext {
    pub(crate) file: Arc<str>,
    pub(crate) max_record_bytes: usize,
}

impl FileContext {
    pub(crate) fn origin(&self, line: usize) -> Origin {
        Origin { file: Arc::clone(&self.file), line, record: None }
    }

    pub(crate) fn damaged(&self, line: usize, error: &dyn fmt::Display) -> DataError {
        DataError::Damaged { origin: self.origin(line), message: error.to_string() }
    }

    pub(crate) fn too_long(&self, line: usize) -> DataError {
        DataError::RecordTooLong { origin: self.origin(line), limit: self.max_record_bytes }
    }
}

/// How a file is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOptions {
    /// The format of every file; `None` if their names tell it.
    pub(crate) format: Option<Format>,
    pub(crate) encoding: Encoding,
    pub(crate) text_unit: TextUnit,
    pub(crate) max_record_bytes: usize,
    pub(crate) parsing: Parsing,
}

impl ReadOptions {
    pub(crate) fn format_of(&self, path: &Path) -> Format {
        self.format.or_else(|| Format::of(path)).unwrap_or(Format::JsonLines)
    }
}

/// Whether lines are parsed one by one, or in batches on all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsing {
    OneByOne,
    Batches,
}

/// What a file holds, in order.
pub(crate) enum Elements<T> {
    Lines(Lines),
    ParallelLines(ParallelLines<T>),
    Array(Array),
    Table(Table),
    Rows(Rows),
    Text(Text),
    Questions(Questions),
    Sentences(Sentences),
}

impl<T> fmt::Debug for Elements<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elements { .. }")
    }
}

impl<T: Send> Elements<T> {
    /// Opens a file; the name is that of its encoding, if it had to be transcoded.
    pub(crate) fn open(path: &Path, options: ReadOptions) -> Result<(Self, Option<&'static str>), DataError> {
        let context = FileContext {
            file: path.display().to_string().into(),
            max_record_bytes: options.max_record_bytes,
        };
        // What the operating system did not say, a decoder did: the content is not what the name promises.
        let failed = |source: io::Error| match source.raw_os_error() {
            None if source.kind() != io::ErrorKind::IsADirectory => context.damaged(1, &source),
            _ => DataError::Read { path: path.to_path_buf(), source },
        };
        let format = options.format_of(path);
        if format == Format::Parquet {
            return Ok((Self::Rows(Rows::open(path, context)?), None));
        }
        let text = matches!(format, Format::Csv | Format::Tsv | Format::Text | Format::Conll);
        let opened = if text { input::open_text(path, options.encoding) } else { input::open(path) };
        let input = opened.map_err(failed)?;
        let reader = input.reader;
        let elements = match format {
            Format::Csv => Self::Table(Table::new(reader, b',', context)?),
            Format::Tsv => Self::Table(Table::new(reader, b'\t', context)?),
            Format::Text => Self::Text(Text::new(reader, options.text_unit, context)),
            Format::Conll => Self::Sentences(Sentences::new(reader, context)),
            Format::Json => {
                let (first, reader) = first_character(reader).map_err(failed)?;
                match first {
                    Some(b'[') => Self::Array(Array::new(reader, context)?),
                    _ => match Questions::detect(reader, &context)? {
                        Detected::Questions(questions) => Self::Questions(questions),
                        Detected::Other(reader) => Self::lines(reader, options.parsing, context),
                    },
                }
            }
            Format::JsonLines | Format::Parquet => Self::lines(reader, options.parsing, context),
        };
        Ok((elements, input.charset))
    }

    fn lines(reader: Box<dyn BufRead + Send>, parsing: Parsing, context: FileContext) -> Self {
        match parsing {
            Parsing::OneByOne => Self::Lines(Lines::new(reader, context)),
            Parsing::Batches => Self::ParallelLines(ParallelLines::new(reader, context)),
        }
    }

    pub(crate) fn next<A: Assemble<Item = T>>(&mut self, assembler: &mut A) -> Option<Result<T, DataError>> {
        let element = match self {
            Self::Lines(lines) => return lines.next(assembler),
            Self::ParallelLines(lines) => return lines.next(assembler),
            Self::Array(array) => array.next(),
            Self::Table(table) => table.next(),
            Self::Rows(rows) => rows.next(),
            Self::Text(text) => text.next(),
            Self::Questions(questions) => questions.next(),
            Self::Sentences(sentences) => sentences.next(),
        };
        element.map(|element| element.and_then(|element| assembler.assemble(element)))
    }
}

/// The first byte that is not white space, and the stream from its beginning.
fn first_character(mut reader: Box<dyn BufRead + Send>) -> io::Result<(Option<u8>, Box<dyn BufRead + Send>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    loop {
        if reader.read(&mut byte)? == 0 {
            return Ok((None, Box::new(Cursor::new(head))));
        }
        head.push(byte[0]);
        if !byte[0].is_ascii_whitespace() {
            return Ok((Some(byte[0]), Box::new(Cursor::new(head).chain(reader))));
        }
    }
}
