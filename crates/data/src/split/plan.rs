//! A set in any number of named parts.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::group::{Groups, Units};
use super::report::{PartReport, SplitReport, StratumReport};
use super::{assign, column, quota};
use crate::error::DataError;
use crate::record::Record;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many records a part takes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum PartSize {
    /// A share of all records, above 0 and at most 1.
    Fraction(f64),
    /// A number of records, at least 1.
    Count(usize),
    /// What the other parts leave; at most one part may have it.
    Rest,
}

impl fmt::Display for PartSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(fraction) => write!(f, "fraction {fraction}"),
            Self::Count(count) => write!(f, "count {count}"),
            Self::Rest => f.write_str("rest"),
        }
    }
}

/// By what a record's part is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Assign {
    /// By a seeded shuffle of all records.
    #[default]
    Shuffled,
    /// By a seeded hash of the record's content (case and white space aside), or of its group: the part depends on
    /// nothing else, so that shards split one by one give the parts of the whole, and a record that is added later
    /// moves no other. Sizes come out as drawn, not exactly. Texts that are only similar are not kept together, since
    /// that needs all records.
    ByHash,
    /// By this column, numbers or ISO 8601 dates: the earliest records go to the first part, the latest to the last.
    ByTime(String),
}

/// Whether records with the same text stay together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TextGroups {
    /// Records that share a 13-gram stay together, directly or through others, as in [`split`](crate::split()).
    #[default]
    Shared13Grams,
    /// No text is compared.
    Off,
}

/// A division of a set into named parts.
///
/// Groups go into one part as a whole: records with the same value of the column of [`SplitPlan::with_group`], records
/// that share text ([`TextGroups`]), and records of one given cluster ([`SplitPlan::with_clusters`]); groups of
/// different kinds that have a record in common become one.
///
/// Sizes are those asked for where groups allow it; else every part but the absorber (the [`PartSize::Rest`], or the
/// largest) may come out smaller, never larger. With [`Assign::ByTime`] the first part is the absorber.
///
/// ```
/// use burnisher_data::{Body, Origin, PartSize, Record, SplitPlan};
///
/// let record = |line: usize| Record::new(Body::Text(format!("record number {line}")), Origin::new("a.jsonl", line));
/// let plan = SplitPlan::new([
///     ("train", PartSize::Rest),
///     ("validation", PartSize::Fraction(0.1)),
///     ("test", PartSize::Count(15)),
/// ]);
/// let parts = plan.with_seed(7).split((1..=100).map(record).collect())?;
/// assert_eq!(parts.get("train").map(<[_]>::len), Some(75));
/// println!("{}", parts.report);
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SplitPlan {
    parts: Vec<(String, PartSize)>,
    seed: u64,
    assign: Assign,
    stratify: Option<String>,
    group: Option<String>,
    text_groups: TextGroups,
    clusters: Option<Vec<usize>>,
}

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
    /// A shuffled split into these parts with seed 0, in which records that share text stay together.
    pub fn new<N: Into<String>>(parts: impl IntoIterator<Item = (N, PartSize)>) -> Self {
        Self {
            parts: parts.into_iter().map(|(name, size)| (name.into(), size)).collect(),
            seed: 0,
            assign: Assign::default(),
            stratify: None,
            group: None,
            text_groups: TextGroups::default(),
            clusters: None,
        }
    }

    /// Sets the seed: the same seed over the same records gives the same parts.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets by what a record's part is chosen.
    #[must_use]
    pub fn with_assign(mut self, assign: Assign) -> Self {
        self.assign = assign;
        self
    }

    /// Gives every part the same share of each value of a column. Among single records each value's count in a part
    /// is the exact share rounded down or up, and the sizes of the parts stay exact.
    #[must_use]
    pub fn with_stratify(mut self, column: impl Into<String>) -> Self {
        self.stratify = Some(column.into());
        self
    }

    /// Keeps records with the same value of a column together.
    #[must_use]
    pub fn with_group(mut self, column: impl Into<String>) -> Self {
        self.group = Some(column.into());
        self
    }

    /// Sets whether records that share text stay together.
    #[must_use]
    pub fn with_text_groups(mut self, text_groups: TextGroups) -> Self {
        self.text_groups = text_groups;
        self
    }

    /// Keeps records of the same cluster together, for example near-duplicates: one number per record.
    #[must_use]
    pub fn with_clusters(mut self, clusters: &[usize]) -> Self {
        self.clusters = Some(clusters.to_vec());
        self
    }

    /// Checks names, sizes and what cannot go together.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] naming the field.
    pub fn validate(&self) -> Result<(), DataError> {
        let invalid = |field, found: &dyn fmt::Display, wanted| {
            Err(DataError::InvalidConfig { field, found: found.to_string(), wanted })
        };
        if self.parts.len() < 2 {
            return invalid("parts", &self.parts.len(), "at least two parts");
        }
        let mut names = HashSet::new();
        for (name, size) in &self.parts {
            if name.is_empty() || !names.insert(name) {
                return invalid("part name", &format!("{name:?}"), "names that are not empty, each once");
            }
            match size {
                PartSize::Fraction(fraction) if !(*fraction > 0.0 && *fraction <= 1.0) => {
                    return invalid("part size", size, "a fraction above 0 and at most 1");
                }
                PartSize::Count(0) => return invalid("part size", size, "a count of at least 1"),
                _ => {}
            }
        }
        if self.rests() > 1 {
            return invalid("part size", &format!("rest {} times", self.rests()), "at most one rest");
        }
        let counted = self.parts.iter().any(|(_, size)| matches!(size, PartSize::Count(_)));
        let fractions = self.fractions();
        if fractions > 1.0 + 1e-9 || (self.rests() == 0 && !counted && fractions < 1.0 - 1e-9) {
            return invalid(
                "part sizes",
                &format!("fractions of {fractions} in all"),
                "fractions that add up to 1, or a rest",
            );
        }
        match &self.assign {
            Assign::Shuffled => Ok(()),
            Assign::ByTime(_) if self.stratify.is_none() => Ok(()),
            Assign::ByTime(_) => invalid("stratify", &"a column", "none where records are assigned by time"),
            Assign::ByHash if counted => {
                invalid("part size", &"a count", "fractions where records are assigned by hash")
            }
            Assign::ByHash if self.stratify.is_some() || self.clusters.is_some() => invalid(
                "assign",
                &"by hash, with strata or clusters",
                "neither: a hash looks at one record alone",
            ),
            Assign::ByHash => Ok(()),
        }
    }

    fn rests(&self) -> usize {
        self.parts.iter().filter(|(_, size)| *size == PartSize::Rest).count()
    }

    fn fractions(&self) -> f64 {
        let fraction = |(_, size): &(String, PartSize)| match size {
            PartSize::Fraction(fraction) => *fraction,
            _ => 0.0,
        };
        self.parts.iter().map(fraction).sum()
    }

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
        if let Some(clusters) = self.clusters.as_ref().filter(|clusters| clusters.len() != records.len()) {
            return Err(DataError::InvalidConfig {
                field: "clusters",
                found: format!("{} numbers for {} records", clusters.len(), records.len()),
                wanted: "one number per record",
            });
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

/// The values of the column to stratify by, in order of appearance; empty without one.
#[derive(Debug, Default)]
struct Strata {
    values: Vec<String>,
    of_record: Vec<usize>,
}

impl Strata {
    fn of(records: &[Record], column: Option<&str>) -> Result<Self, DataError> {
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
    fn of_units(&self, units: &Units) -> Vec<usize> {
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
