//! Files to records.

mod columns;
mod jsonl;
mod shape;

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::DataError;
use crate::record::{Origin, Record, Shape};

pub use columns::ColumnMap;
pub(crate) use columns::nearest;
pub(crate) use shape::speakers;

use jsonl::Elements;

/// A file of training records.
///
/// # Format
///
/// JSON lines: one object per line, blank lines skipped, CRLF and a byte order mark accepted. A file that
/// ends in `.json` may instead hold one JSON array of objects.
///
/// # Shape
///
/// The first record's columns decide, and every record of the file must have the same shape. The shapes are
/// looked for in this order, so a file that has the columns of two takes the first:
///
/// | shape | columns | trained |
/// |---|---|---|
/// | messages | `messages` (`role`, `content`), or `conversations` (`from`, `value`) | the assistant's turns |
/// | completion | `prompt`, `completion`: two strings, or two lists of messages | the completion |
/// | alpaca | `instruction`, `output`, optional `input` | the output |
/// | text | `text` | all of it |
///
/// Other column names are mapped with [`ColumnMap`]; columns that the shape does not know are kept in
/// [`Record::extra`].
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    columns: ColumnMap,
    shape: Option<Shape>,
}

impl Source {
    /// A source over the file at `path`.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the file cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref().to_path_buf();
        match File::open(&path) {
            Ok(_) => Ok(Self { path, columns: ColumnMap::default(), shape: None }),
            Err(source) => Err(DataError::Read { path, source }),
        }
    }

    /// Reads the shapes' columns under other names.
    #[must_use]
    pub fn with_columns(mut self, columns: ColumnMap) -> Self {
        self.columns = columns;
        self
    }

    /// Fixes the shape instead of recognising it; `None` recognises it, as without this call.
    #[must_use]
    pub fn with_shape(mut self, shape: Option<Shape>) -> Self {
        self.shape = shape;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The records one by one, in file order. The iterator ends after its first error.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the file cannot be opened.
    pub fn records(&self) -> Result<Records, DataError> {
        Ok(Records {
            elements: jsonl::open(&self.path)?,
            path: self.path.clone(),
            columns: self.columns.clone(),
            fixed: self.shape,
            shape: self.shape,
            read: 0,
            finished: false,
        })
    }

    /// All records, in file order.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the file, with its line: bytes that are not UTF-8, broken JSON (a
    /// line that is cut off too), a record that is no object, a missing column, a value of the wrong type, a
    /// second shape, a record without assistant text. [`DataError::EmptyFile`] if there is no record.
    pub fn read(&self) -> Result<Vec<Record>, DataError> {
        self.records()?.collect()
    }
}

/// The iterator of [`Source::records`].
#[derive(Debug)]
pub struct Records {
    elements: Elements,
    path: PathBuf,
    columns: ColumnMap,
    /// The shape that the caller fixed.
    fixed: Option<Shape>,
    /// The shape of the file, once known.
    shape: Option<Shape>,
    read: usize,
    finished: bool,
}

impl Records {
    fn record(&mut self, origin: Origin, value: Value) -> Result<Record, DataError> {
        let Value::Object(mut object) = value else {
            return Err(DataError::NotAnObject { origin, found: shape::kind(&value) });
        };
        self.columns.check(&object, &origin)?;
        let shape = match self.fixed {
            Some(shape) => shape,
            None => {
                let found = shape::recognise(&object, &self.columns);
                match (self.shape, found) {
                    (Some(wanted), Some(found)) if wanted != found => {
                        return Err(DataError::MixedShapes { origin, found, wanted });
                    }
                    // A file whose shape is known names the missing column below.
                    (Some(wanted), _) => wanted,
                    (None, Some(found)) => found,
                    (None, None) => {
                        return Err(DataError::UnknownShape {
                            origin,
                            found: object.keys().cloned().collect(),
                        });
                    }
                }
            }
        };
        self.shape = Some(shape);
        let body = shape::body(shape, &mut object, &self.columns, &origin)?;
        for name in shape.columns() {
            if let Some(column) = self.columns.find(&object, name) {
                object.shift_remove(column);
            }
        }
        Ok(Record { body, origin, extra: object })
    }
}

impl Iterator for Records {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let record = match self.elements.next() {
            Some(Ok(element)) => self.record(element.origin, element.value),
            Some(Err(error)) => Err(error),
            None => {
                self.finished = true;
                return (self.read == 0).then(|| Err(DataError::EmptyFile { path: self.path.clone() }));
            }
        };
        self.read += 1;
        self.finished = record.is_err();
        Some(record)
    }
}
