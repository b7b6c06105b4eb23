//! Whether a run would be measured on what it was trained on.

use burnisher_data::{
    LeakAudit, LeakAuditReport, LeakConfig, NearDuplicateConfig, Record, near_duplicate_records,
};

use crate::{DataSection, LeakPolicy, TrainError};

/// Compares the sets of a run: runs of 13 words, and near-duplicates from `data.near_duplicates` on.
pub(crate) struct LeakCheck {
    near: Option<NearDuplicateConfig>,
    policy: LeakPolicy,
    /// By the field of the set that was compared with others.
    found: Vec<(&'static str, LeakAuditReport)>,
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

    /// Compares the records of the field `field` with sets that are held out, by their names.
    pub(crate) fn compare<'a>(
        &mut self,
        field: &'static str,
        records: &[Record],
        held_out: impl IntoIterator<Item = (&'a str, &'a [Record])>,
    ) -> Result<(), TrainError> {
        let mut held_out = held_out.into_iter().peekable();
        if held_out.peek().is_none() {
            return Ok(());
        }
        let mut audit = LeakAudit::new(records, LeakConfig::default())?;
        for (name, set) in held_out {
            audit = match self.clusters(records.iter().chain(set))? {
                Some(clusters) => audit.against_clusters(name, set, &clusters)?,
                None => audit.against(name, set),
            };
        }
        let report = audit.finish();
        if !report.is_empty() {
            self.found.push((field, report));
        }
        Ok(())
    }

    /// What was found; a line for `notes` where it is allowed.
    ///
    /// # Errors
    /// [`TrainError::Leak`] with the pairs, unless `data.leaks` allows them.
    pub(crate) fn finish(self, notes: &mut Vec<String>) -> Result<Vec<LeakAuditReport>, TrainError> {
        if self.found.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<String> =
            self.found.iter().map(|(field, report)| format!("{field}: {report}")).collect();
        let text = texts.join("\n");
        match self.policy {
            LeakPolicy::Stop => return Err(TrainError::Leak(text)),
            LeakPolicy::Allow => notes.push(format!("leaks allowed by data.leaks: {text}")),
        }
        Ok(self.found.into_iter().map(|(_, report)| report).collect())
    }
}
