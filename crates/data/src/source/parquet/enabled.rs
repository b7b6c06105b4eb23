use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value};

use crate::error::DataError;
use crate::source::elements::{Element, FileContext, Payload};
use crate::source::format::Compression;

/// The rows of a Parquet file. The `line` and `record` of an origin are the row's number, from 1.
pub(crate) struct Rows {
    rows: RowIter<'static>,
    row: usize,
    context: FileContext,
    failed: bool,
}

impl Rows {
    pub(crate) fn open(path: &Path, context: FileContext) -> Result<Self, DataError> {
        if Compression::of(path) != Compression::Plain {
            let message =
                "a Parquet file inside a compressed file; unpack it, its pages are compressed already";
            return Err(context.damaged(1, &message));
        }
        let file = File::open(path).map_err(|source| DataError::Read { path: path.to_path_buf(), source })?;
        let opened = guarded(|| {
            SerializedFileReader::new(file).map(|reader| RowIter::from_file_into(Box::new(reader)))
        });
        let rows = opened.map_err(|message| context.damaged(1, &message))?;
        Ok(Self { rows, row: 0, context, failed: false })
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        if self.failed {
            return None;
        }
        self.row += 1;
        let rows = &mut self.rows;
        match guarded(|| rows.next().transpose()) {
            Ok(None) => None,
            Ok(Some(row)) => Some(self.element(row)),
            Err(message) => {
                self.failed = true;
                Some(Err(self.context.damaged(self.row, &message)))
            }
        }
    }

    fn element(&self, row: Row) -> Result<Element, DataError> {
        let origin = self.context.origin(self.row).with_record(self.row as u64);
        Ok(Element { origin, payload: Payload::Json(Value::Object(object(row))) })
    }
}

/// Runs the decoder, which panics on some damaged files instead of refusing them.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(decode)) {
        Ok(decoded) => decoded.map_err(|error| error.to_string()),
        Err(_) => Err("the Parquet decoder gave up; is the file damaged?".to_owned()),
    }
}

fn object(row: Row) -> Map<String, Value> {
    row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect()
}

/// Dates, times and decimals as text; bytes as text if they are UTF-8, else as hexadecimal digits; NaN and the
/// infinities, which JSON does not have, as null.
fn value(field: Field) -> Value {
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float16(value) => float(value.into()),
        Field::Float(value) => float(value.into()),
        Field::Double(value) => float(value),
        Field::Str(text) => Value::String(text),
        Field::Bytes(bytes) => Value::String(match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.data().iter().map(|byte| format!("{byte:02x}")).collect(),
        }),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        Field::MapInternal(map) => {
            let entry = |(key, field): &(Field, Field)| {
                let key = match value(key.clone()) {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                (key, value(field.clone()))
            };
            Value::Object(map.entries().iter().map(entry).collect())
        }
        time @ (Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_)) => Value::String(time.to_string()),
    }
}
