//! The log and what stands in it, in memory.

use std::path::PathBuf;

use serde::Serialize;

use crate::{JudgementLog, LogContents, Plan, Record, ReviewError, Study};

/// The log with the last judgement of each task.
#[derive(Debug)]
pub(super) struct Ledger {
    log: JudgementLog,
    contents: LogContents,
    /// By judge and place of the task: number of the last record.
    latest: Vec<Vec<Option<usize>>>,
    changed: usize,
}

/// How far a judge is.
#[derive(Debug, Serialize)]
pub(super) struct Progress {
    pub(super) judge: String,
    pub(super) answered: usize,
    pub(super) of: usize,
}

impl Ledger {
    pub(super) fn open(
        path: PathBuf,
        study: &Study,
        plan: &mut Plan,
    ) -> Result<(Self, Option<String>), ReviewError> {
        let (log, mut contents) = JudgementLog::open(path, study, plan)?;
        let (latest, changed) = contents.latest(plan);
        let torn = contents.torn.take();
        Ok((Self { log, contents, latest, changed }, torn))
    }

    /// Writes a judgement; it counts once it is on the disk. It is later than the answer before whatever the clock says.
    pub(super) fn add(&mut self, judge: usize, place: usize, mut record: Record) -> Result<(), ReviewError> {
        if let Some(before) = self.answer(judge, place) {
            record.time_ms = record.time_ms.max(before.time_ms);
        }
        self.log.append(&record)?;
        let number = self.contents.records.len();
        self.contents.records.push(record);
        self.changed += usize::from(self.latest[judge][place].replace(number).is_some());
        Ok(())
    }

    pub(super) fn answer(&self, judge: usize, place: usize) -> Option<&Record> {
        let number = self.latest.get(judge)?.get(place).copied()??;
        self.contents.records.get(number)
    }

    /// The first task without an answer behind `after`, around the end; from the beginning without it.
    pub(super) fn open_task(&self, judge: usize, after: Option<usize>) -> Option<usize> {
        let latest = &self.latest[judge];
        let start = after.map_or(0, |place| place.saturating_add(1).min(latest.len()));
        (start..latest.len()).chain(0..start).find(|place| latest[*place].is_none())
    }

    pub(super) fn progress(&self, plan: &Plan, judge: usize) -> Progress {
        let latest = &self.latest[judge];
        Progress {
            judge: plan.judges().nth(judge).unwrap_or_default().to_owned(),
            answered: latest.iter().flatten().count(),
            of: latest.len(),
        }
    }

    pub(super) fn contents(&self) -> &LogContents {
        &self.contents
    }

    /// Judgements that a later one replaced.
    pub(super) fn changed(&self) -> usize {
        self.changed
    }
}
