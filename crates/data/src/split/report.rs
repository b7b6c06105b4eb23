use std::fmt;

use serde::Serialize;

/// What came out of a [`SplitPlan`](crate::SplitPlan).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SplitReport {
    /// Records in all.
    pub records: usize,
    /// The parts, in the order of the plan.
    pub parts: Vec<PartReport>,
    /// Groups of records that stay together; a record that is tied to none is a group of its own.
    pub groups: usize,
    /// Records in the largest group.
    pub largest_group: usize,
    /// The values that the split was stratified by, in order of appearance.
    pub strata: Vec<StratumReport>,
}

/// One part of a [`SplitReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartReport {
    /// Its name.
    pub name: String,
    /// The records asked for; none where records are assigned by hash.
    pub wanted: Option<usize>,
    /// Its records.
    pub records: usize,
    /// Its groups.
    pub groups: usize,
}

/// One value of the column that a split was stratified by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StratumReport {
    /// The value.
    pub value: String,
    /// Its records in each part.
    pub records: Vec<usize>,
}

/// Strata that the text of a report shows.
const SHOWN: usize = 20;

impl fmt::Display for SplitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records in {} groups that stay together, the largest of {}",
            self.records, self.groups, self.largest_group
        )?;
        for PartReport { name, wanted, records, groups } in &self.parts {
            let share = 100.0 * *records as f64 / self.records.max(1) as f64;
            write!(f, "\n  {name}: {records} records ({share:.1} %) in {groups} groups")?;
            if let Some(wanted) = wanted.filter(|wanted| wanted != records) {
                write!(f, ", {wanted} asked for")?;
            }
        }
        for StratumReport { value, records } in self.strata.iter().take(SHOWN) {
            let counts: Vec<String> = records.iter().map(usize::to_string).collect();
            write!(f, "\n  {value:?}: {}", counts.join(" / "))?;
        }
        if self.strata.len() > SHOWN {
            write!(f, "\n  and {} more values", self.strata.len() - SHOWN)?;
        }
        Ok(())
    }
}
