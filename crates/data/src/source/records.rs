use std::sync::Arc;

use serde_json::{Map, Value};

use super::Source;
use super::columns::ColumnMap;
use super::direct::Direct;
use super::elements::{Element, Parsing, Payload};
use super::jsonl::{line_text, parse_line};
use super::reading::{Assemble, Reading};
use super::report::SourceReport;
use super::shape;
use crate::error::DataError;
use crate::record::{Body, Origin, Record, Shape};

/// The iterator of [`Source::records`].
#[derive(Debug)]
pub struct Records(Reading<Assembler>);

impl Records {
    pub(super) fn new(source: &Source, parsing: Parsing) -> Result<Self, DataError> {
        let assembler = Assembler::new(source.columns.clone(), source.shape);
        Reading::new(source, parsing, assembler).map(Self)
    }

    /// What was read and left out so far.
    pub fn report(&self) -> &SourceReport {
        self.0.report()
    }

    pub(super) fn into_report(self) -> SourceReport {
        self.0.into_report()
    }
}

impl Iterator for Records {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// Turns the elements of one file into records of one shape.
#[derive(Debug, Clone)]
pub(crate) struct Assembler {
    columns: ColumnMap,
    /// The shape that the caller fixed.
    fixed: Option<Shape>,
    /// The shape of the file, once known.
    shape: Option<Shape>,
    /// Reads lines of that shape, where the mapping allows.
    direct: Option<Arc<Direct>>,
    /// Its memory from line to line.
    scratch: String,
}

impl Assembler {
    pub(crate) fn new(columns: ColumnMap, fixed: Option<Shape>) -> Self {
        let mut assembler = Self { columns, fixed, shape: None, direct: None, scratch: String::new() };
        if let Some(shape) = fixed {
            assembler.know(shape);
        }
        assembler
    }

    fn know(&mut self, shape: Shape) {
        if self.shape.is_none() {
            self.direct = Direct::new(shape, self.fixed.is_some(), &self.columns).map(Arc::new);
        }
        self.shape = Some(shape);
    }

    /// The record of a line of JSON.
    pub(crate) fn line(&mut self, bytes: &[u8], origin: Origin) -> Result<Record, DataError> {
        let text = line_text(bytes, &origin)?;
        let scratch = &mut self.scratch;
        let read = self.direct.as_ref().and_then(|direct| direct.read(text, scratch, &origin));
        match read {
            Some((body, extra)) => Ok(Record { body, origin, extra }),
            None => self.record(parse_line(text, origin)?),
        }
    }

    pub(crate) fn record(&mut self, element: Element) -> Result<Record, DataError> {
        let Element { origin, payload } = element;
        let mut object = match payload {
            Payload::Json(Value::Object(object)) => object,
            Payload::Json(other) => {
                return Err(DataError::NotAnObject { origin, found: shape::kind(&other) });
            }
            Payload::Text(text) if self.fixed.is_none_or(|shape| shape == Shape::Text) => {
                return Ok(Record::new(Body::Text(text), origin));
            }
            Payload::Text(text) => Map::from_iter([("text".to_owned(), Value::String(text))]),
        };
        self.columns.resolve(&mut object);
        self.columns.check(&object, &origin)?;
        let shape = self.shape_of(&object, &origin)?;
        let used = shape::used_columns(shape, &object, &self.columns);
        let body = shape::body(shape, &mut object, &self.columns, &origin)?;
        self.know(shape);
        for column in used {
            object.shift_remove(&column);
        }
        Ok(Record { body, origin, extra: object })
    }

    fn shape_of(&self, object: &Map<String, Value>, origin: &Origin) -> Result<Shape, DataError> {
        if let Some(shape) = self.fixed {
            return Ok(shape);
        }
        match (self.shape, shape::recognise(object, &self.columns)) {
            (Some(wanted), Some(found)) if wanted != found => {
                Err(DataError::MixedShapes { origin: origin.clone(), found, wanted })
            }
            // A file whose shape is known names the missing column later.
            (Some(wanted), _) => Ok(wanted),
            (None, Some(found)) => Ok(found),
            (None, None) => Err(DataError::UnknownShape {
                origin: origin.clone(),
                found: object.keys().cloned().collect(),
            }),
        }
    }
}

impl Assemble for Assembler {
    type Item = Record;

    fn begin(&mut self) {
        if self.fixed.is_none() {
            (self.shape, self.direct) = (None, None);
        }
    }

    fn is_settled(&self) -> bool {
        self.shape.is_some()
    }

    fn assemble_line(&mut self, bytes: &[u8], origin: Origin) -> Result<Record, DataError> {
        self.line(bytes, origin)
    }

    fn assemble(&mut self, element: Element) -> Result<Record, DataError> {
        self.record(element)
    }
}
