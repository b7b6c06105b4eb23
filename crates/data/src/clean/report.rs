use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::rule::Drop;
use crate::record::Origin;

/// Samples that a step keeps.
const SAMPLES: usize = 5;

/// Characters of a snippet.
const SNIPPET: usize = 80;

/// What a cleaning did, step by step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CleanReport {
    /// Records that came in.
    pub records: u64,
    /// Records that stayed.
    pub kept: u64,
    /// The steps, in order.
    pub steps: Vec<StepReport>,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepReport {
    /// The step's name; a second step of a kind has `#2` behind it.
    pub step: String,
    /// Records that reached the step.
    pub seen: u64,
    /// Records that it changed.
    pub changed: u64,
    /// Records that it dropped.
    pub removed: u64,
    /// Dropped records by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Things found, by kind: e-mail addresses and the like.
    pub findings: BTreeMap<String, u64>,
    /// The first five records that it changed or dropped.
    pub samples: Vec<Sample>,
}

/// A record that a step changed or dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sample {
    /// The file of the record.
    pub file: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// Its number in the file, where the line does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Up to 80 characters of the text, from shortly before the first change on.
    pub before: String,
    /// The same place afterwards; `None` for a dropped record.
    pub after: Option<String>,
    /// Why the record was dropped, and the number that did it.
    pub reason: Option<(String, f64)>,
}

impl CleanReport {
    pub(super) fn new(names: impl Iterator<Item = String>) -> Self {
        let steps = names.map(|step| StepReport { step, ..StepReport::default() }).collect();
        Self { records: 0, kept: 0, steps }
    }

    /// Records that were dropped.
    pub fn removed(&self) -> u64 {
        self.records - self.kept
    }

    /// Adds the report of the records that follow: shards merged in order give the report of the whole.
    ///
    /// Steps are matched by name; a step that this report does not have is appended.
    pub fn merge(&mut self, next: &Self) {
        self.records += next.records;
        self.kept += next.kept;
        for other in &next.steps {
            match self.steps.iter_mut().find(|step| step.step == other.step) {
                Some(step) => step.merge(other),
                None => self.steps.push(other.clone()),
            }
        }
    }
}

impl StepReport {
    fn merge(&mut self, next: &Self) {
        self.seen += next.seen;
        self.changed += next.changed;
        self.removed += next.removed;
        for (reason, count) in &next.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        for (kind, count) in &next.findings {
            *self.findings.entry(kind.clone()).or_default() += count;
        }
        let room = SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(next.samples.iter().take(room).cloned());
    }

    pub(super) fn wants_sample(&self) -> bool {
        self.samples.len() < SAMPLES
    }

    pub(super) fn add_change(&mut self, origin: &Origin, before: &str, after: &str) {
        if self.wants_sample() {
            let same = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
            let from = before[..before.floor_char_boundary(same)]
                .char_indices()
                .rev()
                .nth(19)
                .map_or(0, |(at, _)| at);
            let (before, after) = (snippet(&before[from..]), Some(snippet(&after[from..])));
            let (file, line, record) =
                (origin.file.to_string(), origin.line, origin.record.map(NonZeroU64::get));
            self.samples.push(Sample { file, line, record, before, after, reason: None });
        }
    }

    pub(super) fn add_drop(&mut self, origin: &Origin, text: &str, drop: &Drop) {
        self.removed += 1;
        *self.reasons.entry(drop.reason.to_string()).or_default() += 1;
        if self.wants_sample() {
            let (file, line, record) =
                (origin.file.to_string(), origin.line, origin.record.map(NonZeroU64::get));
            let reason = Some((drop.reason.to_string(), drop.value));
            self.samples.push(Sample { file, line, record, before: snippet(text), after: None, reason });
        }
    }
}

fn snippet(text: &str) -> String {
    text.chars().take(SNIPPET).collect()
}

impl fmt::Display for CleanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} records removed", self.removed(), self.records)?;
        for step in &self.steps {
            write!(
                f,
                "\n  {}: {} seen, {} changed, {} removed",
                step.step, step.seen, step.changed, step.removed
            )?;
            for (reason, count) in &step.reasons {
                write!(f, "\n    {count} {reason}")?;
            }
            for (kind, count) in &step.findings {
                write!(f, "\n    {count} {kind} found")?;
            }
            for sample in &step.samples {
                let Sample { file, line, record, .. } = sample;
                let origin = Origin {
                    file: file.as_str().into(),
                    line: *line,
                    record: record.and_then(NonZeroU64::new),
                };
                write!(f, "\n    {origin}: {:?}", sample.before)?;
                if let Some(after) = &sample.after {
                    write!(f, " became {after:?}")?;
                }
                if let Some((reason, value)) = &sample.reason {
                    write!(f, " removed: {reason} ({value:.3})")?;
                }
            }
        }
        Ok(())
    }
}
