use serde_json::{Map, Value};

use super::Source;
use super::columns::ColumnMap;
use super::elements::{Element, Parsing, Payload};
use super::reading::{Assemble, Reading};
use super::report::SourceReport;
use super::shape;
use crate::error::DataError;
use crate::record::Origin;

/// One record of a file as it stands there: an object with any columns, without a training shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// Where it was read.
    pub origin: Origin,
    /// Its columns, in the file's order. A plain text has one, `text`.
    pub columns: Map<String, Value>,
}

/// The iterator of [`Source::rows`].
#[derive(Debug)]
pub struct Rows(Reading<RowAssembler>);

impl Rows {
    pub(super) fn new(source: &Source, parsing: Parsing) -> Result<Self, DataError> {
        let assembler = RowAssembler { columns: source.columns.clone() };
        Reading::new(source, parsing, assembler).map(Self)
    }

    /// What was read and left out so far; its `records` are rows.
    pub fn report(&self) -> &SourceReport {
        self.0.report()
    }

    pub(super) fn into_report(self) -> SourceReport {
        self.0.into_report()
    }
}

impl Iterator for Rows {
    type Item = Result<SourceRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

#[derive(Debug, Clone)]
struct RowAssembler {
    columns: ColumnMap,
}

impl Assemble for RowAssembler {
    type Item = SourceRow;

    fn begin(&mut self) {}

    fn is_settled(&self) -> bool {
        true
    }

    fn assemble(&mut self, element: Element) -> Result<SourceRow, DataError> {
        let Element { origin, payload } = element;
        let mut columns = match payload {
            Payload::Json(Value::Object(object)) => object,
            Payload::Json(other) => {
                return Err(DataError::NotAnObject { origin, found: shape::kind(&other) });
            }
            Payload::Text(text) => Map::from_iter([("text".to_owned(), Value::String(text))]),
        };
        if !self.columns.is_empty() {
            self.columns.resolve(&mut columns);
            self.columns.check(&columns, &origin)?;
            columns = self.columns.rename(columns);
        }
        Ok(SourceRow { origin, columns })
    }
}
