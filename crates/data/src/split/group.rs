//! Records that must stay together.

use std::collections::HashMap;

use super::splitmix64;
use crate::ngram::{self, LeakText};
use crate::record::Record;

/// A union-find over records, whose roots are the first records of their groups.
#[derive(Debug)]
pub(super) struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    /// Every record is a group of its own.
    pub(super) fn single(records: usize) -> Self {
        Self { parents: (0..records).collect() }
    }

    /// Unites records that share a 13-gram which is not boilerplate.
    pub(super) fn unite_shared_text(&mut self, records: &[Record]) {
        let limit = ngram::common_limit(records.len(), ngram::COMMON_FRACTION);
        for run in ngram::postings(records, ngram::NGRAM, LeakText::Conversation).chunk_by(|a, b| a.0 == b.0)
        {
            if run.len() <= limit {
                for pair in run.windows(2) {
                    self.unite(pair[0].1, pair[1].1);
                }
            }
        }
    }

    /// Unites records with the same key.
    pub(super) fn unite_equal<K: std::hash::Hash + Eq>(&mut self, keys: impl Iterator<Item = K>) {
        let mut first = HashMap::new();
        for (record, key) in keys.enumerate() {
            let first = *first.entry(key).or_insert(record);
            self.unite(first, record);
        }
    }

    /// The root of a record, with its path halved on the way.
    fn find(&mut self, mut record: usize) -> usize {
        while self.parents[record] != record {
            self.parents[record] = self.parents[self.parents[record]];
            record = self.parents[record];
        }
        record
    }

    /// Unites two groups under the smaller root.
    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parents[a.max(b)] = a.min(b);
    }

    /// The groups as units that are assigned as a whole.
    pub(super) fn into_units(mut self) -> Units {
        let mut units =
            Units { of_record: Vec::with_capacity(self.parents.len()), sizes: vec![], first: vec![] };
        for record in 0..self.parents.len() {
            let root = self.find(record);
            if root == record {
                units.of_record.push(units.sizes.len());
                units.sizes.push(1);
                units.first.push(record);
            } else {
                let unit = units.of_record[root];
                units.of_record.push(unit);
                units.sizes[unit] += 1;
            }
        }
        units
    }
}

/// What is assigned as a whole: groups of records, numbered by their first records.
#[derive(Debug)]
pub(super) struct Units {
    /// The unit of each record.
    pub(super) of_record: Vec<usize>,
    /// Records in each unit.
    pub(super) sizes: Vec<usize>,
    /// The first record of each unit.
    pub(super) first: Vec<usize>,
}

impl Units {
    /// Units in a seeded order, which depends on the seed and on the numbers of their first records alone.
    pub(super) fn shuffled(&self, seed: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.sizes.len()).collect();
        order.sort_by_key(|unit| (splitmix64(seed, self.first[*unit] as u64), self.first[*unit]));
        order
    }

    pub(super) fn largest(&self) -> usize {
        self.sizes.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn smallest(&self) -> usize {
        self.sizes.iter().copied().min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_the_first_record_of_its_group() {
        let mut groups = Groups::single(6);
        for (a, b) in [(4, 5), (2, 4), (1, 5)] {
            groups.unite(a, b);
        }
        let units = groups.into_units();
        assert_eq!(units.of_record, [0, 1, 1, 2, 1, 1]);
        assert_eq!((units.sizes, units.first), (vec![1, 4, 1], vec![0, 1, 3]));
    }
}
