use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::cluster::Clusters;
use super::near::{NearDuplicateConfig, Verify};
use super::remove::{NearDuplicateReport, remove};
use super::signatures::{Signatures, Stack};
use super::sketch::{Signer, Sketch, compared_text};
use super::{DuplicateReport, file, fingerprint, remove_seen};
use crate::error::DataError;
use crate::record::{Origin, Record};
use crate::source::Shard;

/// The signatures of records, without their texts: tomorrow's data is compared with today's by it.
///
/// Each record has its position in the set, its origin, the 128-bit hash that [`remove_exact_duplicates`]
/// compares, and its signature; with the default of 128 permutations that is about 560 bytes.
///
/// [`remove_exact_duplicates`]: crate::remove_exact_duplicates
///
/// ```
/// use burnisher_data::{Body, NearDuplicateConfig, Origin, Record, SignatureIndex, remove_near_duplicates};
///
/// let record = |file: &str, text: &str| Record::new(Body::Text(text.to_owned()), Origin::new(file, 1));
/// let config = NearDuplicateConfig::new(0.8);
/// let (today, _) = remove_near_duplicates(vec![record("today.jsonl", "The tram is late.")], &config)?;
/// let mut index = SignatureIndex::new(config.sketch)?;
/// index.extend(&today);
///
/// let tomorrow = vec![record("tomorrow.jsonl", "the tram is LATE.")];
/// let (new, report) = index.remove_near_duplicates(tomorrow, &config)?;
/// assert!(new.is_empty());
/// assert_eq!(report.pairs[0].kept.to_string(), "today.jsonl:1");
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureIndex {
    pub(crate) sketch: Sketch,
    pub(crate) signer: Signer,
    /// Records that were seen, those of other shards included: the position of the next one.
    pub(crate) seen: u64,
    pub(crate) entries: Entries,
}

/// One entry for each record, as columns, in ascending order of position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entries {
    pub(crate) files: Vec<Arc<str>>,
    pub(crate) positions: Vec<u64>,
    /// The file's place in `files`, the line, and the number of the record in its file, or 0.
    pub(crate) origins: Vec<(u32, u64, u64)>,
    pub(crate) fingerprints: Vec<u128>,
    pub(crate) signatures: Signatures,
}

impl Entries {
    pub(crate) fn new(signatures: Signatures) -> Self {
        Self {
            files: Vec::new(),
            positions: Vec::new(),
            origins: Vec::new(),
            fingerprints: Vec::new(),
            signatures,
        }
    }

    fn origin(&self, entry: usize) -> Origin {
        let (file, line, record) = self.origins[entry];
        let record = NonZeroU64::new(record);
        Origin { file: self.files[file as usize].clone(), line: line as usize, record }
    }

    /// Appends everything but the signature.
    fn push(
        &mut self,
        numbers: &mut HashMap<Arc<str>, u32>,
        position: u64,
        origin: &Origin,
        fingerprint: u128,
    ) {
        let file = *numbers.entry(origin.file.clone()).or_insert_with(|| {
            self.files.push(origin.file.clone());
            (self.files.len() - 1) as u32
        });
        self.positions.push(position);
        self.origins.push((file, origin.line as u64, origin.record.map_or(0, NonZeroU64::get)));
        self.fingerprints.push(fingerprint);
    }

    fn numbers(&self) -> HashMap<Arc<str>, u32> {
        self.files.iter().cloned().zip(0..).collect()
    }
}

impl SignatureIndex {
    /// An index without records.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`Sketch::validate`].
    pub fn new(sketch: Sketch) -> Result<Self, DataError> {
        let signer = Signer::new(&sketch)?;
        let entries = Entries::new(signer.none());
        Ok(Self { sketch, signer, seen: 0, entries })
    }

    /// Records in the index.
    pub fn len(&self) -> usize {
        self.entries.positions.len()
    }

    /// Whether the index has no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the signatures are made of.
    pub fn sketch(&self) -> &Sketch {
        &self.sketch
    }

    /// Where the record at a place of this index, counted from 0, was read.
    pub fn origin(&self, entry: usize) -> Option<Origin> {
        (entry < self.len()).then(|| self.entries.origin(entry))
    }

    /// Signs records and appends them.
    pub fn extend(&mut self, records: &[Record]) {
        self.extend_shard(records, Shard::WHOLE);
    }

    /// Signs and appends those of the next `records` that belong to a shard. The positions go on where the last
    /// call ended, so that a set may be read in pieces; every process of a run must read the same records.
    pub fn extend_shard(&mut self, records: &[Record], shard: Shard) {
        let first = self.seen;
        self.seen += records.len() as u64;
        let mine: Vec<(u64, &Record)> =
            (first..).zip(records).filter(|(position, _)| shard.has(*position as usize)).collect();
        let signatures = self.signer.sign_all(&mine, |(_, record)| compared_text(record));
        let fingerprints: Vec<u128> = mine.par_iter().map(|(_, record)| fingerprint(record)).collect();
        let mut numbers = self.entries.numbers();
        for ((position, record), fingerprint) in mine.into_iter().zip(fingerprints) {
            self.entries.push(&mut numbers, position, &record.origin, fingerprint);
        }
        self.entries.signatures.append(&signatures);
    }

    /// Puts the indexes of all shards of one run together. The result equals the index of one process over all
    /// records.
    ///
    /// # Errors
    ///
    /// [`DataError::SketchMismatch`] if two were made with different parameters; [`DataError::InvalidConfig`] if
    /// there is no shard, a shard is missing or there twice, or they have not seen equally many records.
    pub fn merge(shards: Vec<Self>) -> Result<Self, DataError> {
        let invalid = |found| DataError::InvalidConfig {
            field: "shards",
            found,
            wanted: "every shard of one run over the same records, each once",
        };
        let Some(first) = shards.first() else {
            return Err(invalid("none".to_owned()));
        };
        let mut whole = Self::new(first.sketch)?;
        whole.seen = first.seen;
        for shard in &shards {
            whole.check_sketch(&shard.sketch)?;
            if shard.seen != whole.seen {
                return Err(invalid(format!("one over {} records and one over {}", whole.seen, shard.seen)));
            }
        }
        let mut order: Vec<(u64, usize, usize)> = Vec::new();
        for (number, shard) in shards.iter().enumerate() {
            order.extend(
                shard
                    .entries
                    .positions
                    .iter()
                    .enumerate()
                    .map(|(entry, position)| (*position, number, entry)),
            );
        }
        order.sort_unstable();
        let mut numbers = HashMap::new();
        for (wanted, (position, number, entry)) in (0..).zip(&order) {
            if *position != wanted {
                let what = if *position < wanted { "is there twice" } else { "is missing" };
                return Err(invalid(format!("record {} {what}", wanted.min(*position))));
            }
            let entries = &shards[*number].entries;
            let (origin, fingerprint) = (entries.origin(*entry), entries.fingerprints[*entry]);
            whole.entries.push(&mut numbers, wanted, &origin, fingerprint);
            whole.entries.signatures.push_row(&entries.signatures, *entry);
        }
        if order.len() as u64 != whole.seen {
            return Err(invalid(format!("{} of {} records", order.len(), whole.seen)));
        }
        Ok(whole)
    }

    /// Appends the records of another index behind those of this one.
    ///
    /// # Errors
    ///
    /// [`DataError::SketchMismatch`], naming both, if the other was made with different parameters.
    pub fn append(&mut self, other: &Self) -> Result<(), DataError> {
        self.check_sketch(&other.sketch)?;
        let mut numbers = self.entries.numbers();
        for entry in 0..other.len() {
            let position = self.seen + other.entries.positions[entry];
            let origin = other.entries.origin(entry);
            self.entries.push(&mut numbers, position, &origin, other.entries.fingerprints[entry]);
        }
        self.entries.signatures.append(&other.entries.signatures);
        self.seen += other.seen;
        Ok(())
    }

    /// Removes the records that repeat one of this index, or an earlier one of themselves, as
    /// [`remove_exact_duplicates`](crate::remove_exact_duplicates) over the index's records and these would.
    /// The index stays as it is; [`extend`](Self::extend) it with what is kept.
    pub fn remove_exact_duplicates(&self, records: Vec<Record>) -> (Vec<Record>, DuplicateReport) {
        remove_seen(records, &self.entries.fingerprints, |entry| self.entries.origin(entry))
    }

    /// Removes the records that are near one of this index, and all but one of each other cluster.
    ///
    /// Exactly: it keeps the records that [`remove_near_duplicates`](crate::remove_near_duplicates) would keep of
    /// these if it ran over the records of the index followed by these, where a cluster with a record of the
    /// index keeps none of the new ones. Records that were left out of the index take no part, so that a chain
    /// through one of them is not seen.
    ///
    /// The index stays as it is; [`extend`](Self::extend) it with what is kept.
    ///
    /// # Errors
    ///
    /// As [`remove_near_duplicates`](crate::remove_near_duplicates); [`DataError::SketchMismatch`], naming both, if
    /// `config` has another sketch than this index; [`DataError::InvalidConfig`] for [`Verify::Exact`], which
    /// needs texts.
    pub fn remove_near_duplicates(
        &self,
        records: Vec<Record>,
        config: &NearDuplicateConfig,
    ) -> Result<(Vec<Record>, NearDuplicateReport), DataError> {
        self.check(config)?;
        remove(records, config, &self.signer, &self.entries.signatures, |entry| self.entries.origin(entry))
    }

    /// The clusters of the records of this index, numbered as they stand in it.
    ///
    /// # Errors
    ///
    /// As [`remove_near_duplicates`](Self::remove_near_duplicates).
    pub fn clusters(&self, config: &NearDuplicateConfig) -> Result<Clusters, DataError> {
        self.check(config)?;
        let stack = Stack { first: &self.entries.signatures, second: &self.signer.none() };
        Ok(config.cluster(&stack, &|_| Cow::Borrowed("")))
    }

    /// Writes the index to a file. The file is complete or not there: it is written beside `path` and renamed.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        file::save(self, path.as_ref())
    }

    /// Reads an index from a file.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the file cannot be read; [`DataError::SignatureFile`] if it is not a signature file,
    /// has another version, is cut short or was changed.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, DataError> {
        file::load(path.as_ref())
    }

    fn check_sketch(&self, other: &Sketch) -> Result<(), DataError> {
        if self.sketch == *other {
            return Ok(());
        }
        Err(DataError::SketchMismatch { found: other.to_string(), wanted: self.sketch.to_string() })
    }

    fn check(&self, config: &NearDuplicateConfig) -> Result<(), DataError> {
        config.validate()?;
        self.check_sketch(&config.sketch)?;
        if config.verify == Verify::Exact {
            return Err(DataError::InvalidConfig {
                field: "verify",
                found: "exact".to_owned(),
                wanted: "none or estimated with a signature index, which has no texts",
            });
        }
        Ok(())
    }
}
