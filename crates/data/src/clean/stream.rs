use std::collections::VecDeque;

use super::Pipeline;
use super::report::CleanReport;
use super::run::clean_parts;
use crate::error::DataError;
use crate::record::Record;

/// Records that are read before any is given out, unless [`Cleaned::with_chunk`] says otherwise.
const CHUNK: usize = 2048;

/// Records of an iterator, cleaned in parallel chunk by chunk and in order.
///
/// An error of the iterator is given out in its place. [`Cleaned::report`] covers the chunks that were read so far, so
/// it is complete once the iterator has ended.
///
/// ```
/// use burnisher_data::{Body, Origin, Pipeline, Preset, Record};
///
/// let pipeline = Pipeline::preset(Preset::Basic)?;
/// let record = |line| Record::new(Body::Text(format!("line  {line}")), Origin::new("a.jsonl", line));
/// let mut cleaned = pipeline.stream((1..=3).map(record).map(Ok));
/// let texts: Vec<Body> = cleaned.by_ref().map(|record| Ok(record?.body)).collect::<Result<_, burnisher_data::DataError>>()?;
/// assert_eq!(texts[2], Body::Text("line 3".to_owned()));
/// assert_eq!(cleaned.report().records, 3);
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Cleaned<'p, I, T = Record> {
    pipeline: &'p Pipeline,
    records: I,
    ready: VecDeque<Result<T, DataError>>,
    report: CleanReport,
    chunk: usize,
}

/// What a pipeline cleans: a record, or a record with its place in a source.
pub trait Cleanable: Send {
    /// The record.
    fn record_mut(&mut self) -> &mut Record;
}

impl Cleanable for Record {
    fn record_mut(&mut self) -> &mut Record {
        self
    }
}

impl Cleanable for (u64, Record) {
    fn record_mut(&mut self) -> &mut Record {
        &mut self.1
    }
}

impl<'p, I, T> Cleaned<'p, I, T> {
    pub(super) fn new(pipeline: &'p Pipeline, records: I) -> Self {
        let (ready, report) = (VecDeque::new(), pipeline.report());
        Self { pipeline, records, ready, report, chunk: CHUNK }
    }

    /// The number of records that are read and cleaned at a time, at least one (2048 unless set). More need more memory;
    /// the results are the same.
    #[must_use]
    pub fn with_chunk(mut self, records: usize) -> Self {
        self.chunk = records.max(1);
        self
    }

    /// What was done to the records that were read so far.
    pub fn report(&self) -> &CleanReport {
        &self.report
    }
}

impl<I: Iterator<Item = Result<T, DataError>>, T: Cleanable> Iterator for Cleaned<'_, I, T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            let chunk: Vec<Result<T, DataError>> = self.records.by_ref().take(self.chunk).collect();
            if chunk.is_empty() {
                return None;
            }
            for (part, report) in
                clean_parts(chunk, self.pipeline, |item| item.as_mut().ok().map(Cleanable::record_mut))
            {
                self.ready.extend(part);
                self.report.merge(&report);
            }
        }
        self.ready.pop_front()
    }
}
