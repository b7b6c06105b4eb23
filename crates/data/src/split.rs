//! A set in two, or in any number of named parts.

mod assign;
mod column;
mod divide;
mod group;
mod plan;
mod quota;
mod report;
mod strata;

use std::fmt;

use self::group::Groups;
use crate::error::DataError;
use crate::record::Record;

pub use self::divide::{Part, Parts};
pub use self::plan::{Assign, PartSize, SplitPlan, TextGroups};
pub use self::report::{PartReport, SplitReport, StratumReport};

/// How many records the validation set takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValidationSize {
    /// A part of the records, above 0 and below 1; rounded to whole records, at least one.
    Fraction(f64),
    /// A number of records, at least one and fewer than there are.
    Count(usize),
}

impl fmt::Display for ValidationSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(fraction) => write!(f, "fraction {fraction}"),
            Self::Count(count) => write!(f, "count {count}"),
        }
    }
}

/// How [`split`] divides a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitConfig {
    /// The size of the validation set.
    pub validation: ValidationSize,
    /// The seed: the same seed over the same records gives the same sets.
    pub seed: u64,
}

impl SplitConfig {
    /// A split of the given size with seed 0.
    pub fn new(validation: ValidationSize) -> Self {
        Self { validation, seed: 0 }
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the size against the number of records and returns the records wanted for validation.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if the size is out of range or would leave one of the sets empty.
    pub fn validate(&self, records: usize) -> Result<usize, DataError> {
        let invalid = |wanted| DataError::InvalidConfig {
            field: "validation size",
            found: format!("{} of {records} records", self.validation),
            wanted,
        };
        if records < 2 {
            return Err(invalid("at least two records to split"));
        }
        match self.validation {
            ValidationSize::Fraction(fraction) if fraction > 0.0 && fraction < 1.0 => {
                Ok(((records as f64 * fraction).round() as usize).clamp(1, records - 1))
            }
            ValidationSize::Fraction(_) => Err(invalid("a fraction above 0 and below 1")),
            ValidationSize::Count(count) if (1..records).contains(&count) => Ok(count),
            ValidationSize::Count(_) => Err(invalid("a count from 1 to one less than the records")),
        }
    }
}

/// The two sets of a [`split`], each in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Split {
    /// The records to train on.
    pub train: Vec<Record>,
    /// The records held out.
    pub validation: Vec<Record>,
    /// Groups of records that share text; a record that shares none is a group of its own.
    pub groups: usize,
    /// Records in the largest group.
    pub largest_group: usize,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records for training, {} for validation ({} groups of records that share text, the largest of {})",
            self.train.len(),
            self.validation.len(),
            self.groups,
            self.largest_group
        )
    }
}

/// Divides records into a training and a validation set, such that [`find_leaks`](crate::find_leaks) with its
/// default configuration finds nothing between the two.
///
/// Records that share a 13-gram form a group, directly or through others; the n-grams are those of
/// [`find_leaks`](crate::find_leaks), without those that are in more than 1 % of the records (and in more
/// than 5). A group goes into one set as a whole.
///
/// Groups are visited in a seeded order and go into the validation set while they fit. The order sorts by
/// splitmix64 (Steele, Lea, Flood 2014, in Vigna's version) at position `i` of the stream that `seed` starts,
/// where `i` is the number of the group's first record; so the result depends on the seed and on the records
/// alone. The validation set is never larger than asked for, and smaller only if no remaining group fits.
///
/// # Errors
///
/// [`DataError::InvalidConfig`] as [`SplitConfig::validate`]; [`DataError::CannotSplit`] if every group is
/// larger than the validation set.
pub fn split(records: Vec<Record>, config: SplitConfig) -> Result<Split, DataError> {
    split_together(records, config, &[])
}

/// [`split`] in which records of one cluster are in one group too: near-duplicates, say. `clusters` has one number for
/// each record, or none at all.
///
/// # Errors
///
/// As [`split`]; [`DataError::InvalidConfig`] if there are more or fewer numbers.
pub fn split_together(
    records: Vec<Record>,
    config: SplitConfig,
    clusters: &[usize],
) -> Result<Split, DataError> {
    let wanted = config.validate(records.len())?;
    if !clusters.is_empty() {
        check_clusters(clusters, records.len())?;
    }
    let mut groups = Groups::single(records.len());
    groups.unite_shared_text(&records);
    groups.unite_equal(clusters.iter());
    let units = groups.into_units();
    let (groups, smallest) = (units.sizes.len(), units.smallest());
    if smallest > wanted {
        return Err(DataError::CannotSplit { wanted, records: records.len(), groups, smallest });
    }
    let parts = assign::shuffled(&units, &[], &[records.len() - wanted, wanted], 0, config.seed);
    let mut result = Split {
        train: Vec::with_capacity(records.len() - wanted),
        validation: Vec::with_capacity(wanted),
        groups,
        largest_group: units.largest(),
    };
    for (record, unit) in records.into_iter().zip(units.of_record) {
        match parts[unit] {
            0 => result.train.push(record),
            _ => result.validation.push(record),
        }
    }
    Ok(result)
}

/// # Errors
///
/// [`DataError::InvalidConfig`] unless there is one number for each record.
fn check_clusters(clusters: &[usize], records: usize) -> Result<(), DataError> {
    if clusters.len() == records {
        return Ok(());
    }
    Err(DataError::InvalidConfig {
        field: "clusters",
        found: format!("{} numbers for {records} records", clusters.len()),
        wanted: "one number per record",
    })
}

/// Output number `position` of the splitmix64 stream that starts at `seed`.
pub(crate) fn splitmix64(seed: u64, position: u64) -> u64 {
    let mut z = seed.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of Vigna's splitmix64.c for the state 1234567, as its ports are tested with.
    #[test]
    fn splitmix64_gives_the_published_numbers() {
        let wanted = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (position, wanted) in wanted.into_iter().enumerate() {
            assert_eq!(splitmix64(1_234_567, position as u64), wanted);
        }
    }
}
