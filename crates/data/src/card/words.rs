use std::collections::HashSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;
use xxhash_rust::xxh3::xxh3_64;

use super::CardSet;
use crate::record::Record;

/// How many words of a set the trained set has, too: lower-cased words as Unicode (UAX #29) cuts them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VocabularyCoverage {
    /// The other set.
    pub set: String,
    /// Its words, repeats counted.
    pub words: usize,
    /// The part of them, 0..=1, that is in the trained set.
    pub covered: f64,
    /// Its different words.
    pub distinct: usize,
    /// Different words that the trained set lacks.
    pub unseen: usize,
}

pub(super) fn coverage(sets: &[CardSet<'_>]) -> Vec<VocabularyCoverage> {
    let Some((trained, others)) = sets.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Vec::new();
    };
    let known = distinct(trained.records);
    let against = |set: &CardSet<'_>| {
        let words: Vec<u64> = set.records.par_iter().flat_map_iter(hashes).collect();
        let seen = words.iter().filter(|word| known.contains(word)).count();
        let own: HashSet<u64> = words.iter().copied().collect();
        VocabularyCoverage {
            set: set.name.to_owned(),
            words: words.len(),
            covered: if words.is_empty() { 1.0 } else { seen as f64 / words.len() as f64 },
            distinct: own.len(),
            unseen: own.difference(&known).count(),
        }
    };
    others.iter().map(against).collect()
}

/// The words of a text, counted.
pub(super) fn count(text: &str) -> usize {
    text.unicode_words().count()
}

pub(super) fn distinct(records: &[Record]) -> HashSet<u64> {
    let merge = |mut a: HashSet<u64>, b: HashSet<u64>| {
        a.extend(b);
        a
    };
    let add = |mut set: HashSet<u64>, record: &Record| {
        set.extend(hashes(record));
        set
    };
    records.par_iter().fold(HashSet::new, add).reduce(HashSet::new, merge)
}

fn hashes(record: &Record) -> Vec<u64> {
    let text = record.user_and_assistant_text().to_lowercase();
    text.unicode_words().map(|word| xxh3_64(word.as_bytes())).collect()
}
