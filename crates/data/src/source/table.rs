use std::collections::HashSet;
use std::io::{self, BufRead, Read};

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use serde_json::{Map, Value};

use super::elements::{Element, FileContext, Payload};
use super::lines::newlines;
use crate::error::DataError;
use crate::record::Origin;

/// What the reader may hold beyond the record: its own buffer.
const AHEAD: usize = 64 * 1024;

/// The rows of a CSV or TSV file; the first row names the columns, every cell is a string.
pub(crate) struct Table {
    reader: csv::Reader<Feed>,
    columns: Vec<String>,
    row: ByteRecord,
    /// Rows that were met, and the line on which the last of them begins.
    met: u64,
    last_line: usize,
    context: FileContext,
    failed: bool,
}

impl Table {
    pub(crate) fn new(
        reader: Box<dyn BufRead + Send>,
        delimiter: u8,
        context: FileContext,
    ) -> Result<Self, DataError> {
        let feed = Feed {
            reader,
            left: context.max_record_bytes.saturating_add(AHEAD),
            given: 0,
            last: Vec::new(),
            ended: false,
            exhausted: false,
        };
        let mut reader = ReaderBuilder::new().delimiter(delimiter).buffer_capacity(AHEAD).from_reader(feed);
        let header = match reader.byte_headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(read_error(&error, context.origin(1), &context)),
        };
        let mut table =
            Self { reader, columns: Vec::new(), row: header, met: 0, last_line: 1, context, failed: false };
        let origin = table.context.origin(table.first_line());
        if table.in_quotes() {
            return Err(table.never_closed(origin));
        }
        table.last_line = origin.line;
        table.columns = names(&table.row, &origin)?;
        Ok(table)
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        if self.failed {
            return None;
        }
        self.reader.get_mut().left = self.context.max_record_bytes.saturating_add(AHEAD);
        let next_line = self.next_line();
        let read = match self.reader.read_byte_record(&mut self.row) {
            Ok(false) => return None,
            Ok(true) => Ok(()),
            Err(error) if error.is_io_error() => {
                self.failed = true;
                return Some(Err(read_error(&error, self.context.origin(next_line), &self.context)));
            }
            Err(error) => Err(error),
        };
        let mut origin = self.context.origin(self.first_line());
        self.met += 1;
        // Lines that end in a carriage return alone are not counted.
        if origin.line == self.last_line {
            origin = origin.with_record(self.met);
        }
        self.last_line = origin.line;
        if self.in_quotes() {
            self.failed = true;
            return Some(Err(self.never_closed(origin)));
        }
        Some(match read {
            Ok(()) => self.element(origin),
            Err(error) => Err(read_error(&error, origin, &self.context)),
        })
    }

    fn element(&self, origin: Origin) -> Result<Element, DataError> {
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

    /// Right after a row: whether the file ended in a quoted cell of it. A line break ends every other row, so that the
    /// parser does not look further.
    fn in_quotes(&self) -> bool {
        !self.row.is_empty() && self.reader.get_ref().exhausted
    }

    /// The line on which the row that was just read begins. The parser's own position is that before blank lines, and
    /// before the second half of the line break `\r\n`.
    fn first_line(&self) -> usize {
        let position = self.reader.position();
        let broken = !self.in_quotes() && self.reader.get_ref().byte_before(position.byte()) == Some(b'\n');
        let after = newlines(self.row.as_slice()) + usize::from(broken);
        (position.line() as usize).saturating_sub(after).max(1)
    }

    /// The line after the row that was just read.
    fn next_line(&self) -> usize {
        let (position, feed) = (self.reader.position(), self.reader.get_ref());
        let half = feed.byte_before(position.byte()) == Some(b'\r')
            && feed.byte_before(position.byte() + 1) == Some(b'\n');
        position.line() as usize + usize::from(half)
    }

    /// The error for a file that ends in the last cell of a row; the place is the cell's, whose quote is the culprit.
    fn never_closed(&self, mut origin: Origin) -> DataError {
        let cell = self.row.len().saturating_sub(1);
        let before: usize = self.row.iter().take(cell).map(newlines).sum();
        origin.line += before;
        let place = match self.columns.get(cell) {
            Some(name) => format!("column {name:?}"),
            None => format!("column {}", cell + 1),
        };
        DataError::Table { origin, message: format!("{place} opens a quote that the file never closes") }
    }
}

/// The columns of the header.
fn names(header: &ByteRecord, origin: &Origin) -> Result<Vec<String>, DataError> {
    let error = |message: String| DataError::Table { origin: origin.clone(), message };
    let mut columns = Vec::with_capacity(header.len());
    let mut seen = HashSet::new();
    for (index, name) in header.iter().enumerate() {
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(error(format!("the name of column {} is not valid UTF-8", index + 1)));
        };
        if !seen.insert(name) {
            return Err(error(format!("two columns have the name {name:?}")));
        }
        columns.push(name.to_owned());
    }
    Ok(columns)
}

fn read_error(error: &csv::Error, origin: Origin, context: &FileContext) -> DataError {
    match error.kind() {
        ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::FileTooLarge => {
            DataError::RecordTooLong { origin, limit: context.max_record_bytes }
        }
        ErrorKind::Io(cause) => DataError::Damaged { origin, message: cause.to_string() },
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let message = format!("the row has {len} cells, the file has {expected_len} columns");
            DataError::Table { origin, message }
        }
        _ => DataError::Table { origin, message: error.to_string() },
    }
}

/// What the parser reads: so many bytes until it is allowed more, since a quote that is never closed makes the rest of
/// the file one cell; and a line break behind the last line.
struct Feed {
    reader: Box<dyn BufRead + Send>,
    /// Bytes that may be read.
    left: usize,
    /// Bytes that were read, and the last of them that were read together.
    given: u64,
    last: Vec<u8>,
    /// Whether the last line break was given.
    ended: bool,
    /// Whether the parser asked for more than that.
    exhausted: bool,
}

impl Feed {
    /// The byte before an offset, if it is one of the last that were read.
    fn byte_before(&self, offset: u64) -> Option<u8> {
        let back = usize::try_from(self.given.checked_sub(offset)?).ok()?;
        let at = self.last.len().checked_sub(back)?.checked_sub(1)?;
        self.last.get(at).copied()
    }
}

impl Read for Feed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            self.exhausted = true;
            return Ok(0);
        }
        let read = if self.reader.fill_buf()?.is_empty() {
            let Some(first) = out.first_mut() else {
                return Ok(0);
            };
            *first = b'\n';
            self.ended = true;
            1
        } else if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        } else {
            let wanted = out.len().min(self.left);
            let read = self.reader.read(&mut out[..wanted])?;
            self.left -= read;
            read
        };
        self.given += read as u64;
        self.last.clear();
        self.last.extend_from_slice(&out[..read]);
        Ok(read)
    }
}
