use serde_json::{Map, Value};

use super::Source;
use super::columns::ColumnMap;
use super::elements::{Element, Parsing, Payload};
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
}

impl Assembler {
    pub(crate) fn new(columns: ColumnMap, fixed: Option<Shape>) -> Self {
        Self { columns, fixed, shape: fixed }
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
        self.shape = Some(shape);
        let used = shape::used_columns(shape, &object, &self.columns);
        let body = shape::body(shape, &mut object, &self.columns, &origin)?;
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
        self.shape = self.fixed;
    }

    fn assemble(&mut self, element: Element) -> Result<Record, DataError> {
        self.record(element)
    }
}
