//! The files of a source one after the other: what every kind of reading does alike.

use std::path::{Path, PathBuf};
use std::vec;

use super::Source;
use super::elements::{Element, Elements, Parsing, ReadOptions};
use super::jsonl::{line_text, parse_line};
use super::report::{OnError, SkipReason, SourceReport};
use super::shard::Shard;
use crate::error::DataError;
use crate::record::Origin;

/// Turns the elements of files into what the caller asked for.
pub(crate) trait Assemble: Clone + Send + Sync {
    type Item: Send;

    /// Another file begins.
    fn begin(&mut self);

    /// Whether an item no longer depends on those before it.
    fn is_settled(&self) -> bool;

    fn assemble(&mut self, element: Element) -> Result<Self::Item, DataError>;

    /// The item of a line of JSON.
    fn assemble_line(&mut self, bytes: &[u8], origin: Origin) -> Result<Self::Item, DataError> {
        let text = line_text(bytes, &origin)?;
        self.assemble(parse_line(text, origin)?)
    }
}

/// The good items of a source, in order; ends after its first error.
#[derive(Debug)]
pub(super) struct Reading<A: Assemble> {
    path: PathBuf,
    waiting: vec::IntoIter<PathBuf>,
    current: Option<CurrentFile<A::Item>>,
    single: bool,
    options: ReadOptions,
    assembler: A,
    shard: Option<Shard>,
    on_error: OnError,
    report: SourceReport,
    finished: bool,
}

#[derive(Debug)]
struct CurrentFile<T> {
    path: PathBuf,
    elements: Elements<T>,
    /// Elements that were met, good or bad.
    met: usize,
}

impl<A: Assemble> Reading<A> {
    pub(super) fn new(source: &Source, parsing: Parsing, assembler: A) -> Result<Self, DataError> {
        let mut report = SourceReport::default();
        let mut ignore = |path: &Path, reason: SkipReason| {
            let message = path.display().to_string();
            report.skip(Origin::new(message.as_str(), 1), reason, message);
        };
        for (path, reason) in &source.files.ignored {
            ignore(path, *reason);
        }
        let options = source.read_options(parsing);
        let wanted = |path: &Path| match &source.formats {
            Some(formats) => formats.contains(&options.format_of(path)),
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
        let mut reading = Self {
            path: source.path.clone(),
            waiting: files.into_iter(),
            current: None,
            single: source.files.is_single(),
            options,
            assembler,
            shard: source.shard,
            on_error: source.on_error,
            report,
            finished: false,
        };
        reading.open_next()?;
        Ok(reading)
    }

    pub(super) fn report(&self) -> &SourceReport {
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
                    self.assembler.begin();
                    self.current = Some(CurrentFile { path, elements, met: 0 });
                    return Ok(true);
                }
                Err(error) if self.on_error == OnError::Stop => return Err(error),
                Err(error) => skip(&mut self.report, &path, &error),
            }
        }
        Ok(false)
    }

    /// The next good item of the whole source.
    fn next_good(&mut self) -> Result<Option<A::Item>, DataError> {
        loop {
            let Some(current) = &mut self.current else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            let item = match current.elements.next(&mut self.assembler) {
                Some(item) => {
                    current.met += 1;
                    item
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
            match item {
                Ok(item) => {
                    self.report.records += 1;
                    return Ok(Some(item));
                }
                Err(error) if self.on_error == OnError::Stop => return Err(error),
                Err(error) => skip(&mut self.report, &current.path, &error),
            }
        }
    }

    /// The next item of the shard.
    pub(super) fn next(&mut self) -> Option<Result<A::Item, DataError>> {
        while !self.finished {
            let index = self.report.records;
            match self.next_good() {
                Ok(Some(item)) if self.shard.is_none_or(|shard| shard.has(index)) => {
                    return Some(Ok(item));
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
