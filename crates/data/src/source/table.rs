use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use serde_json::{Map, Value};

use super::elements::{Element, FileContext, Payload};
use crate::error::DataError;

/// What the reader may hold beyond the record: its own buffer.
const AHEAD: usize = 64 * 1024;

/// The rows of a CSV or TSV file; the first row names the columns, every cell is a string.
pub(crate) struct Table {
    reader: csv::Reader<Budget>,
    left: Arc<AtomicUsize>,
    columns: Vec<String>,
    row: ByteRecord,
    context: FileContext,
    failed: bool,
}

impl Table {
    pub(crate) fn new(
        reader: Box<dyn BufRead + Send>,
        delimiter: u8,
        context: FileContext,
    ) -> Result<Self, DataError> {
        let left = Arc::new(AtomicUsize::new(context.max_record_bytes.saturating_add(AHEAD)));
        let budget = Budget { reader, left: Arc::clone(&left) };
        let mut reader = ReaderBuilder::new().delimiter(delimiter).buffer_capacity(AHEAD).from_reader(budget);
        let header = match reader.byte_headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(read_error(&error, 1, &context)),
        };
        let table_error = |message: String| DataError::Table { origin: context.origin(1), message };
        let mut columns = Vec::with_capacity(header.len());
        let mut seen = HashSet::new();
        for (index, name) in header.iter().enumerate() {
            let Ok(name) = std::str::from_utf8(name) else {
                return Err(table_error(format!("the name of column {} is not valid UTF-8", index + 1)));
            };
            if !seen.insert(name) {
                return Err(table_error(format!("two columns have the name {name:?}")));
            }
            columns.push(name.to_owned());
        }
        Ok(Self { reader, left, columns, row: ByteRecord::new(), context, failed: false })
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        if self.failed {
            return None;
        }
        self.left.store(self.context.max_record_bytes.saturating_add(AHEAD), Ordering::Relaxed);
        let line = self.reader.position().line() as usize;
        match self.reader.read_byte_record(&mut self.row) {
            Ok(true) => Some(self.element()),
            Ok(false) => None,
            Err(error) => {
                self.failed = error.is_io_error();
                Some(Err(read_error(&error, line, &self.context)))
            }
        }
    }

    fn element(&self) -> Result<Element, DataError> {
        let line = self.row.position().map_or(1, |position| position.line() as usize);
        let origin = self.context.origin(line);
        if self.row.as_slice().len() > self.context.max_record_bytes {
            return Err(DataError::RecordTooLong { origin, limit: self.context.max_record_bytes });
        }
        let mut object = Map::with_capacity(self.columns.len());
        for (name, cell) in self.columns.iter().zip(&self.row) {
            let Ok(cell) = std::str::from_utf8(cell) else {
                let message = format!("column {name:?} is not valid UTF-8");
                return Err(DataError::Table { origin, message });
            };
            object.insert(name.clone(), Value::String(cell.to_owned()));
        }
        Ok(Element { origin, payload: Payload::Json(Value::Object(object)) })
    }
}

fn read_error(error: &csv::Error, line: usize, context: &FileContext) -> DataError {
    match error.kind() {
        ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::FileTooLarge => {
            DataError::RecordTooLong { origin: context.origin(line), limit: context.max_record_bytes }
        }
        ErrorKind::Io(cause) => context.damaged(line, cause),
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(line, |position| position.line() as usize);
            let message = format!("the row has {len} cells, the file has {expected_len} columns");
            DataError::Table { origin: context.origin(line), message }
        }
        _ => DataError::Table { origin: context.origin(line), message: error.to_string() },
    }
}

/// A reader that gives out so many bytes until it is allowed more: a quote that is never closed makes the rest of the
/// file one cell.
struct Budget {
    reader: Box<dyn BufRead + Send>,
    left: Arc<AtomicUsize>,
}

impl Read for Budget {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 && !self.reader.fill_buf()?.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let wanted = out.len().min(left);
        let read = self.reader.read(&mut out[..wanted])?;
        self.left.store(left - read, Ordering::Relaxed);
        Ok(read)
    }
}
