use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use super::audit::LeakAuditReport;
use crate::error::DataError;
use crate::record::{Origin, Record};

/// Records that the text of a report names.
const NAMED: usize = 20;

/// What [`LeakAuditReport::remove`] took out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeakRemoval {
    /// Training records before.
    pub records: usize,
    /// The records that are gone, in file order.
    #[serde(serialize_with = "as_texts")]
    pub removed: Vec<Origin>,
    /// For every set of the audit its name and the training records that leaked into it.
    pub by_set: Vec<(String, usize)>,
}

fn as_texts<S: Serializer>(origins: &[Origin], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(origins.iter().map(Origin::to_string))
}

impl LeakAuditReport {
    /// Takes every training record that shares text with any set out of `train`, the records that were audited; order
    /// is kept.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if there are more or fewer records than were audited; [`DataError::NothingLeft`].
    pub fn remove(&self, train: Vec<Record>) -> Result<(Vec<Record>, LeakRemoval), DataError> {
        if train.len() != self.train_records {
            return Err(DataError::InvalidConfig {
                field: "training records",
                found: format!("{}, where {} were audited", train.len(), self.train_records),
                wanted: "the records that were audited",
            });
        }
        let leaking: BTreeSet<usize> = self.sets.iter().flat_map(|set| &set.train).copied().collect();
        let mut removal = LeakRemoval {
            records: train.len(),
            removed: Vec::with_capacity(leaking.len()),
            by_set: self.sets.iter().map(|set| (set.name.clone(), set.train.len())).collect(),
        };
        if leaking.len() == train.len() && !train.is_empty() {
            return Err(DataError::NothingLeft { step: "the removal of leaks", records: train.len() });
        }
        let mut kept = Vec::with_capacity(train.len() - leaking.len());
        for (number, record) in train.into_iter().enumerate() {
            if leaking.contains(&number) {
                removal.removed.push(record.origin);
            } else {
                kept.push(record);
            }
        }
        Ok((kept, removal))
    }
}

impl fmt::Display for LeakRemoval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} training records removed as leaks", self.removed.len(), self.records)?;
        for (name, count) in &self.by_set {
            write!(f, "\n  {name}: {count}")?;
        }
        if !self.removed.is_empty() {
            let named: Vec<String> = self.removed.iter().take(NAMED).map(Origin::to_string).collect();
            write!(f, "\n  {}", named.join(", "))?;
        }
        if self.removed.len() > NAMED {
            write!(f, " and {} more", self.removed.len() - NAMED)?;
        }
        Ok(())
    }
}
