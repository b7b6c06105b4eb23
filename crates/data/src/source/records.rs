use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use serde_json::{Map, Value};

use super::Source;
use super::columns::ColumnMap;
use super::direct::Direct;
use super::elements::{Element, Elements, Parsing, Payload, ReadOptions};
use super::format::Format;
use super::jsonl::{line_text, parse_line};
use super::report::{OnError, SkipReason, SourceReport};
use super::shape;
use super::shard::Shard;
use crate::error::DataError;
use crate::record::{Body, Origin, Record, Shape};

/// The iterator of [`Source::records`].
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    waiting: vec::IntoIter<PathBuf>,
    current: Option<CurrentFile>,
    single: bool,
    options: ReadOptions,
    columns: ColumnMap,
    /// The shape that the caller fixed.
    fixed: Option<Shape>,
    shard: Option<Shard>,
    on_error: OnError,
    report: SourceReport,
    finished: bool,
}

#[derive(Debug)]
struct CurrentFile {
    path: PathBuf,
    elements: Elements,
    assembler: Assembler,
    /// Elements that were met, good or bad.
    met: usize,
}

impl Records {
    pub(super) fn new(source: &Source, parsing: Parsing) -> Result<Self, DataError> {
        let mut report = SourceReport::default();
        let mut ignore = |path: &Path, reason: SkipReason| {
            let message = path.display().to_string();
            report.skip(Origin::new(message.as_str(), 1), reason, message);
        };
        for (path, reason) in &source.files.ignored {
            ignore(path, *reason);
        }
        let wanted = |path: &Path| match &source.formats {
            Some(formats) => formats.contains(&Format::of(path).unwrap_or(Format::JsonLines)),
            None => true,
        };
        let (files, others): (Vec<PathBuf>, Vec<PathBuf>) =
            source.files.files.iter().cloned().partition(|path| wanted(path));
        for path in &others {
            ignore(path, SkipReason::NoDataFile);
        }
        if files.is_empty() {
            return Err(DataError::NoFiles { path: source.path.clone() });
        }
        let mut records = Self {
            path: source.path.clone(),
            waiting: files.into_iter(),
            current: None,
            single: source.files.is_single(),
            options: source.read_options(parsing),
            columns: source.columns.clone(),
            fixed: source.shape,
            shard: source.shard,
            on_error: source.on_error,
            report,
            finished: false,
        };
        records.open_next()?;
        Ok(records)
    }

    /// What was read and left out so far.
    pub fn report(&self) -> &SourceReport {
        &self.report
    }

    pub(super) fn into_report(self) -> SourceReport {
        self.report
    }

    /// Opens the next file that can be opened; false if there is none.
    fn open_next(&mut self) -> Result<bool, DataError> {
        for path in self.waiting.by_ref() {
            match Elements::open(&path, self.options) {
                Ok((elements, charset)) => {
                    if let Some(charset) = charset {
                        self.report.decoded.push((path.display().to_string(), charset));
                    }
                    self.report.files += 1;
                    let assembler = Assembler::new(self.columns.clone(), self.fixed);
                    self.current = Some(CurrentFile { path, elements, assembler, met: 0 });
                    return Ok(true);
                }
                Err(error) if self.on_error == OnError::Stop => return Err(error),
                Err(error) => skip(&mut self.report, &path, &error),
            }
        }
        Ok(false)
    }

    /// The next good record of the whole source.
    fn next_good(&mut self) -> Result<Option<Record>, DataError> {
        loop {
            let Some(current) = &mut self.current else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            let record = match current.elements.next(&mut current.assembler) {
                Some(record) => {
                    current.met += 1;
                    record
                }
                None => {
                    let empty = DataError::EmptyFile { path: current.path.clone() };
                    if current.met == 0 && !self.single {
                        skip(&mut self.report, &current.path, &empty);
                    }
                    self.current = None;
                    continue;
                }
            };
            match record {
                Ok(record) => {
                    self.report.records += 1;
                    return Ok(Some(record));
                }
                Err(error) if self.on_error == OnError::Stop => return Err(error),
                Err(error) => skip(&mut self.report, &current.path, &error),
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            let index = self.report.records;
            match self.next_good() {
                Ok(Some(record)) if self.shard.is_none_or(|shard| shard.has(index)) => {
                    return Some(Ok(record));
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.finished = true;
                    return (self.report.records == 0)
                        .then(|| Err(DataError::EmptyFile { path: self.path.clone() }));
                }
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

fn skip(report: &mut SourceReport, path: &Path, error: &DataError) {
    let origin = match error.origin() {
        Some(origin) => origin.clone(),
        None => Origin::new(path.display().to_string(), 1),
    };
    report.skip(origin, SkipReason::of(error), error.to_string());
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

    /// Whether the next record is read as those before it.
    pub(super) fn knows_shape(&self) -> bool {
        self.shape.is_some()
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
        self.know(shape);
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
