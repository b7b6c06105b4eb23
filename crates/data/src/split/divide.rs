//! A set in any number of named parts.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::group::{Groups, Units};
use super::plan::{Assign, PartSize, SplitPlan, TextGroups};
use super::report::{PartReport, SplitReport, StratumReport};
use super::strata::Strata;
use super::{assign, check_clusters, column, quota};
use crate::error::DataError;
use crate::record::Record;

/// One part of a split set, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its records.
    pub records: Vec<Record>,
}

/// The parts of a set, in the order of the plan.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Parts {
    /// The parts.
    pub parts: Vec<Part>,
    /// What was counted on the way.
    pub report: SplitReport,
}

impl Parts {
    /// The records of the part with this name.
    pub fn get(&self, name: &str) -> Option<&[Record]> {
        self.parts.iter().find(|part| part.name == name).map(|part| part.records.as_slice())
    }
}

impl SplitPlan {
    /// Divides the records.
    ///
    /// # Errors
    ///
    /// As [`SplitPlan::assign`].
    pub fn split(&self, records: Vec<Record>) -> Result<Parts, DataError> {
        let (numbers, report) = self.assign(&records)?;
        let part = |(name, _): &(String, PartSize)| Part { name: name.clone(), records: Vec::new() };
        let mut parts: Vec<Part> = self.parts.iter().map(part).collect();
        for (record, number) in records.into_iter().zip(numbers) {
            parts[number].records.push(record);
        }
        Ok(Parts { parts, report })
    }

    /// The number of each record's part, without moving the records.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`SplitPlan::validate`], and if the sizes do not fit the number of records;
    /// [`DataError::MissingColumn`], [`DataError::WrongType`] and [`DataError::InvalidTime`] for columns;
    /// [`DataError::EmptyPart`] if no group is small enough for a part (never with [`Assign::ByHash`]: a shard may lack
    /// a part).
    pub fn assign(&self, records: &[Record]) -> Result<(Vec<usize>, SplitReport), DataError> {
        self.validate()?;
        if let Some(clusters) = &self.clusters {
            check_clusters(clusters, records.len())?;
        }
        if self.assign == Assign::ByHash {
            return self.assign_by_hash(records);
        }
        let wanted = self.wanted(records.len())?;
        let units = self.units(records)?;
        let strata = Strata::of(records, self.stratify.as_deref())?;
        let absorber = self.absorber(&wanted);
        let of_units = match &self.assign {
            Assign::ByTime(column) => assign::by_time(&units, &column::times(records, column)?, &wanted),
            _ => assign::shuffled(&units, &strata.of_units(&units), &wanted, absorber, self.seed),
        };
        let numbers: Vec<usize> = units.of_record.iter().map(|unit| of_units[*unit]).collect();
        let report = self.report(&numbers, Some(&wanted), &units, &strata);
        if let Some(part) = report.parts.iter().position(|part| part.records == 0) {
            return Err(DataError::EmptyPart {
                part: self.parts[part].0.clone(),
                wanted: wanted[part],
                records: records.len(),
                groups: units.sizes.len(),
                smallest: units.smallest(),
            });
        }
        Ok((numbers, report))
    }

    fn assign_by_hash(&self, records: &[Record]) -> Result<(Vec<usize>, SplitReport), DataError> {
        let rest = (1.0 - self.fractions()).max(0.0);
        let share = |(_, size): &(String, PartSize)| match size {
            PartSize::Fraction(fraction) => *fraction,
            _ => rest,
        };
        let shares: Vec<f64> = self.parts.iter().map(share).collect();
        let mut groups = Groups::single(records.len());
        let mut hashes = Vec::with_capacity(records.len());
        for record in records {
            hashes.push(match &self.group {
                Some(column) => xxh3_64_with_seed(column::key(record, column)?.as_bytes(), self.seed),
                None => column::content_hash(record, self.seed),
            });
        }
        groups.unite_equal(hashes.iter());
        let numbers: Vec<usize> = hashes.iter().map(|hash| assign::by_hash(*hash, &shares)).collect();
        let report = self.report(&numbers, None, &groups.into_units(), &Strata::default());
        Ok((numbers, report))
    }

    /// Records wanted in each part; they add up to all.
    fn wanted(&self, records: usize) -> Result<Vec<usize>, DataError> {
        let invalid = |wanted| {
            let sizes: Vec<String> = self.parts.iter().map(|(name, size)| format!("{name} {size}")).collect();
            let found = format!("{} of {records} records", sizes.join(", "));
            Err(DataError::InvalidConfig { field: "part sizes", found, wanted })
        };
        if records < self.parts.len() {
            return invalid("at least one record per part");
        }
        let mut rest = records as f64;
        let mut shares = Vec::with_capacity(self.parts.len());
        for (_, size) in &self.parts {
            let share = match size {
                PartSize::Fraction(fraction) => fraction * records as f64,
                PartSize::Count(count) => *count as f64,
                PartSize::Rest => 0.0,
            };
            rest -= share;
            shares.push(share);
        }
        let rest_at = self.parts.iter().position(|(_, size)| *size == PartSize::Rest);
        match rest_at {
            Some(part) if rest >= 1.0 - 1e-6 => shares[part] = rest,
            Some(_) => return invalid("sizes that leave at least one record for the rest"),
            None if rest.abs() < 1e-6 => {}
            None => return invalid("sizes that add up to all records, or a rest"),
        }
        let mut wanted = quota::largest_remainder(records, &shares);
        // A share that rounds to nothing takes one record from the largest part.
        while let Some(empty) = wanted.iter().position(|wanted| *wanted == 0) {
            let largest = largest(&wanted);
            wanted[largest] -= 1;
            wanted[empty] += 1;
        }
        Ok(wanted)
    }

    fn absorber(&self, wanted: &[usize]) -> usize {
        let rest = self.parts.iter().position(|(_, size)| *size == PartSize::Rest);
        rest.unwrap_or_else(|| largest(wanted))
    }

    fn units(&self, records: &[Record]) -> Result<Units, DataError> {
        let mut groups = Groups::single(records.len());
        if self.text_groups == TextGroups::Shared13Grams {
            groups.unite_shared_text(records);
        }
        if let Some(column) = &self.group {
            let keys: Vec<String> =
                records.iter().map(|record| column::key(record, column)).collect::<Result<_, _>>()?;
            groups.unite_equal(keys.into_iter());
        }
        if let Some(clusters) = &self.clusters {
            groups.unite_equal(clusters.iter());
        }
        Ok(groups.into_units())
    }

    fn report(
        &self,
        numbers: &[usize],
        wanted: Option<&[usize]>,
        units: &Units,
        strata: &Strata,
    ) -> SplitReport {
        let part = |(part, (name, _)): (usize, &(String, PartSize))| PartReport {
            name: name.clone(),
            wanted: wanted.map(|wanted| wanted[part]),
            records: numbers.iter().filter(|number| **number == part).count(),
            groups: units.first.iter().filter(|first| numbers[**first] == part).count(),
        };
        let mut counts = vec![vec![0; self.parts.len()]; strata.values.len()];
        for (stratum, number) in strata.of_record.iter().zip(numbers) {
            counts[*stratum][*number] += 1;
        }
        let stratum =
            |(value, records): (&String, Vec<usize>)| StratumReport { value: value.clone(), records };
        SplitReport {
            records: numbers.len(),
            parts: self.parts.iter().enumerate().map(part).collect(),
            groups: units.sizes.len(),
            largest_group: units.largest(),
            strata: strata.values.iter().zip(counts).map(stratum).collect(),
        }
    }
}

/// The first of the largest.
fn largest(sizes: &[usize]) -> usize {
    (0..sizes.len()).rev().max_by_key(|part| sizes[*part]).unwrap_or(0)
}
