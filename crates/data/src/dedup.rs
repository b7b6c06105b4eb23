mod bands;
mod cluster;
mod disjoint;
mod file;
mod index;
mod minhash;
mod mt19937;
mod near;
mod own;
mod permute;
mod remove;
mod shingle;
mod signatures;
mod simhash;
mod simplify;
mod sketch;
mod words;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::record::{Body, Origin, Record};

pub use bands::{Bands, optimal_bands};
pub use cluster::Clusters;
pub use index::SignatureIndex;
pub use minhash::{HashFamily, MinHash, MinHashConfig, MinHasher};
pub use near::{Keep, NearDuplicateConfig, Verify, near_duplicates};
pub use own::near_duplicate_records;
pub use remove::{NearDuplicatePair, NearDuplicateReport, remove_near_duplicates};
pub use shingle::{ShingleUnit, Shingling, exact_jaccard};
pub use simhash::{SimHashConfig, sim_hash};
pub use simplify::simplify_text;
pub use sketch::Sketch;
pub use words::WordRule;

/// Pairs that a report lists; the rest is only counted.
const LISTED: usize = 20;

/// A record that was removed and the one it repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicatePair {
    /// The first occurrence, which stays.
    pub kept: Origin,
    /// The later one, which is gone.
    pub removed: Origin,
}

/// What [`remove_exact_duplicates`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DuplicateReport {
    /// Records before.
    pub records: usize,
    /// Records removed.
    pub removed: usize,
    /// The first 20 removed records with the records they repeat, in file order.
    pub pairs: Vec<DuplicatePair>,
}

impl fmt::Display for DuplicateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} records removed as exact duplicates", self.removed, self.records)?;
        for pair in &self.pairs {
            write!(f, "\n  {} repeats {}", pair.removed, pair.kept)?;
        }
        write_more(f, self.removed, self.pairs.len())
    }
}

/// Writes how many of `all` were not listed, if any.
fn write_more(f: &mut fmt::Formatter<'_>, all: usize, listed: usize) -> fmt::Result {
    match all.saturating_sub(listed) {
        0 => Ok(()),
        more => write!(f, "\n  and {more} more"),
    }
}

/// Removes every record that repeats an earlier one; order is kept.
///
/// Two records are the same if they have the same shape and the same turns: equal roles, and texts that are
/// equal once trimmed and with each run of white space read as one space. Case and punctuation count, and so
/// do system text and calls of tools. Records are compared by the 128-bit XXH3 of that form.
///
/// ```
/// use burnisher_data::{Body, Origin, Record, remove_exact_duplicates};
///
/// let record = |line, text: &str| Record::new(Body::Text(text.to_owned()), Origin::new("a.jsonl", line));
/// let records = vec![record(1, "one two"), record(2, " one\n two "), record(3, "One two")];
/// let (kept, report) = remove_exact_duplicates(records);
/// assert_eq!(kept.iter().map(|record| record.origin.line).collect::<Vec<_>>(), [1, 3]);
/// assert_eq!(report.removed, 1);
/// ```
pub fn remove_exact_duplicates(records: Vec<Record>) -> (Vec<Record>, DuplicateReport) {
    remove_seen(records, &[], |_| unreachable!("there are no earlier records"))
}

/// Removes every record whose fingerprint is among the `known` ones or that repeats an earlier record.
fn remove_seen(
    records: Vec<Record>,
    known: &[u128],
    known_origin: impl Fn(usize) -> Origin,
) -> (Vec<Record>, DuplicateReport) {
    let keys: Vec<u128> = records.par_iter().map(fingerprint).collect();
    let mut report = DuplicateReport { records: records.len(), removed: 0, pairs: Vec::new() };
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    // The place among the known ones, then among those kept.
    let mut first: HashMap<u128, usize> = HashMap::with_capacity(known.len() + records.len());
    for (place, key) in known.iter().enumerate() {
        first.entry(*key).or_insert(place);
    }
    for (record, key) in records.into_iter().zip(keys) {
        match first.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(known.len() + kept.len());
                kept.push(record);
            }
            Entry::Occupied(entry) => {
                report.removed += 1;
                if report.pairs.len() < LISTED {
                    let original = match entry.get().checked_sub(known.len()) {
                        Some(place) => kept[place].origin.clone(),
                        None => known_origin(*entry.get()),
                    };
                    report.pairs.push(DuplicatePair { kept: original, removed: record.origin });
                }
            }
        }
    }
    (kept, report)
}

/// The hash of shape, roles and texts; each part is preceded by its length, so that parts cannot run into
/// each other.
fn fingerprint(record: &Record) -> u128 {
    let mut form = String::new();
    push_part(&mut form, record.shape().as_str());
    for (role, text) in record.turns() {
        push_part(&mut form, role);
        push_part(&mut form, &collapse(text));
    }
    if let Body::Messages(messages) = &record.body {
        for tool in record.tools() {
            push_part(&mut form, &tool.to_string());
        }
        for (turn, message) in messages.iter().enumerate() {
            for (name, value) in &message.extra {
                push_part(&mut form, &format!("{turn} {name} {value}"));
            }
        }
    }
    xxh3_128(form.as_bytes())
}

fn push_part(form: &mut String, part: &str) {
    form.push_str(&part.len().to_string());
    form.push(':');
    form.push_str(part);
}

fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}
