//! What parts a set is to have.

use std::collections::HashSet;
use std::fmt;

use crate::error::DataError;

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
    pub(super) parts: Vec<(String, PartSize)>,
    pub(super) seed: u64,
    pub(super) assign: Assign,
    pub(super) stratify: Option<String>,
    pub(super) group: Option<String>,
    pub(super) text_groups: TextGroups,
    pub(super) clusters: Option<Vec<usize>>,
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

    pub(super) fn fractions(&self) -> f64 {
        let fraction = |(_, size): &(String, PartSize)| match size {
            PartSize::Fraction(fraction) => *fraction,
            _ => 0.0,
        };
        self.parts.iter().map(fraction).sum()
    }
}
