//! Whether a run would be measured on what it was trained on.

use burnisher_data::{
    LeakAudit, LeakAuditReport, LeakConfig, NearDuplicateConfig, Record, near_duplicate_records,
};

use crate::{DataSection, LeakPolicy, TrainError};

/// Compares the sets of a run: runs of 13 words, and near-duplicates from `data.near_duplicates` on.
pub(crate) struct LeakCheck {
    near: Option<NearDuplicateConfig>,
    policy: LeakPolicy,
    found: Vec<LeakAuditReport>,
}

impl LeakCheck {
    pub(crate) fn new(config: &DataSection) -> Self {
        let near = config.near_duplicates;
        let near = (near > 0.0).then(|| NearDuplicateConfig::new(near));
        Self { near, policy: config.leaks, found: Vec::new() }
    }

    /// The cluster of near-duplicates of each record, if these are looked for.
    pub(crate) fn clusters<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<Option<Vec<usize>>, TrainError> {
        let Some(near) = &self.near else { return Ok(None) };
        Ok(Some(near_duplicate_records(records, near)?))
    }

    /// Compares a set with one that is held out, called `name`.
    pub(crate) fn compare(
        &mut self,
        records: &[Record],
        name: &str,
        held_out: &[Record],
    ) -> Result<(), TrainError> {
        let audit = LeakAudit::new(records, LeakConfig::default())?;
        let report = match self.clusters(records.iter().chain(held_out))? {
            Some(clusters) => audit.against_clusters(name, held_out, &clusters)?,
            None => audit.against(name, held_out),
        };
        let report = report.finish();
        if !report.is_empty() {
            self.found.push(report);
        }
        Ok(())
    }

    /// What was found; a line for `notes` where it is allowed.
    ///
    /// # Errors
    /// [`TrainError::Leak`] with the pairs, unless `data.leaks` allows them.
    pub(crate) fn finish(self, notes: &mut Vec<String>) -> Result<Vec<LeakAuditReport>, TrainError> {
        if self.found.is_empty() {
            return Ok(self.found);
        }
        let text = self.found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        match self.policy {
            LeakPolicy::Stop => return Err(TrainError::Leak(text)),
            LeakPolicy::Allow => notes.push(format!("leaks allowed by data.leaks: {text}")),
        }
        Ok(self.found)
    }
}
