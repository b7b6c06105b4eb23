//! The values that every part is to have the same share of.

use std::collections::HashMap;

use super::column;
use super::group::Units;
use crate::error::DataError;
use crate::record::Record;

/// The values of the column to stratify by, in order of appearance; empty without one.
#[derive(Debug, Default)]
pub(super) struct Strata {
    pub(super) values: Vec<String>,
    pub(super) of_record: Vec<usize>,
}

impl Strata {
    pub(super) fn of(records: &[Record], column: Option<&str>) -> Result<Self, DataError> {
        let mut strata = Self::default();
        let Some(column) = column else {
            return Ok(strata);
        };
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for record in records {
            let key = column::key(record, column)?;
            let number = *numbers.entry(key).or_insert_with_key(|key| {
                strata.values.push(key.clone());
                strata.values.len() - 1
            });
            strata.of_record.push(number);
        }
        Ok(strata)
    }

    /// The stratum of each unit: the one most of its records have, among equals the first to appear.
    pub(super) fn of_units(&self, units: &Units) -> Vec<usize> {
        if self.values.is_empty() {
            return Vec::new();
        }
        let mut counts: Vec<HashMap<usize, usize>> = vec![HashMap::new(); units.sizes.len()];
        for (unit, stratum) in units.of_record.iter().zip(&self.of_record) {
            *counts[*unit].entry(*stratum).or_default() += 1;
        }
        let most = |counts: HashMap<usize, usize>| {
            let most =
                counts.into_iter().max_by_key(|(stratum, count)| (*count, std::cmp::Reverse(*stratum)));
            most.map_or(0, |(stratum, _)| stratum)
        };
        counts.into_iter().map(most).collect()
    }
}
