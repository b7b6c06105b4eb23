//! What a run did.

use std::collections::HashSet;
use std::fmt;

use super::config::{ExtractConfig, Invalid, Ungrounded};
use super::document::Extracted;
use super::extraction::{Extraction, Flag, Status};
use super::merge::merge_passes;

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Documents in all.
    pub documents: usize,
    /// Documents whose requests are all done.
    pub documents_done: usize,
    /// Requests in all: chunks times passes.
    pub requests: usize,
    /// Requests done, in whatever way.
    pub requests_done: usize,
    /// Calls of the model.
    pub asked: usize,
    /// Answers that were there already.
    pub kept: usize,
    /// Requests without a readable answer.
    pub failed: usize,
}

impl Progress {
    pub(super) fn new(documents: usize, requests: usize) -> Self {
        Self { documents, documents_done: 0, requests, requests_done: 0, asked: 0, kept: 0, failed: 0 }
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Every document, in the given order.
    pub documents: Vec<Extracted>,
    /// Counts.
    pub report: RunReport,
}

impl Run {
    /// The documents that have a part without an answer.
    pub fn failed(&self) -> impl Iterator<Item = &Extracted> {
        self.documents.iter().filter(|document| !document.failures.is_empty())
    }
}

/// What a run did, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunReport {
    /// Documents.
    pub documents: usize,
    /// Requests: chunks times passes.
    pub requests: usize,
    /// Calls of the model.
    pub asked: usize,
    /// Answers that were there already.
    pub kept: usize,
    /// Requests without a readable answer.
    pub failed: usize,
    /// Extractions in the result.
    pub extractions: usize,
    /// Of these, word for word in the source.
    pub exact: usize,
    /// Of these, in the source with their beginning.
    pub lesser: usize,
    /// Of these, in the source in similar words.
    pub fuzzy: usize,
    /// Of these, not in the source.
    pub ungrounded: usize,
    /// Of these, copied from a few-shot example.
    pub copied: usize,
    /// Of these, not as the schema says.
    pub invalid: usize,
    /// Left out because they are not in the source.
    pub dropped_ungrounded: usize,
    /// Left out because the schema does not allow them.
    pub dropped_invalid: usize,
    /// Left out because overlapping chunks found them twice.
    pub duplicates: usize,
    /// Left out because an earlier pass has something at their place.
    pub merged: usize,
}

impl RunReport {
    pub(super) fn new(progress: &Progress) -> Self {
        let Progress { documents, requests, asked, kept, failed, .. } = *progress;
        Self { documents, requests, asked, kept, failed, ..Self::default() }
    }

    fn count(&mut self, extraction: &Extraction) {
        self.extractions += 1;
        match extraction.status {
            Status::MatchExact => self.exact += 1,
            Status::MatchLesser => self.lesser += 1,
            Status::MatchFuzzy => self.fuzzy += 1,
            Status::Ungrounded => self.ungrounded += 1,
        }
        self.copied += usize::from(extraction.flags.iter().any(is_copied));
        self.invalid += usize::from(is_invalid(extraction));
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} documents, {} requests: {} calls of the model, {} answers kept before, {} failed",
            self.documents, self.requests, self.asked, self.kept, self.failed
        )?;
        writeln!(
            f,
            "{} extractions: {} exact, {} lesser, {} fuzzy, {} ungrounded; {} copied from examples, {} against the schema",
            self.extractions, self.exact, self.lesser, self.fuzzy, self.ungrounded, self.copied, self.invalid
        )?;
        write!(
            f,
            "left out: {} ungrounded, {} against the schema, {} found twice by overlapping chunks, {} where an earlier \
             pass found something",
            self.dropped_ungrounded, self.dropped_invalid, self.duplicates, self.merged
        )
    }
}

fn is_copied(flag: &Flag) -> bool {
    matches!(flag, Flag::CopiedFromExample { .. })
}

fn is_invalid(extraction: &Extraction) -> bool {
    extraction.flags.iter().any(|flag| !is_copied(flag))
}

/// The extractions of one document from those of its passes; what is left out is counted.
pub(super) fn assemble(
    mut passes: Vec<Vec<Extraction>>,
    config: &ExtractConfig,
    report: &mut RunReport,
) -> Vec<Extraction> {
    for pass in &mut passes {
        let mut seen = HashSet::new();
        pass.retain(|extraction| {
            if config.ungrounded == Ungrounded::Drop && extraction.status == Status::Ungrounded {
                report.dropped_ungrounded += 1;
                return false;
            }
            if config.invalid == Invalid::Drop && is_invalid(extraction) {
                report.dropped_invalid += 1;
                return false;
            }
            let place = (extraction.class.clone(), extraction.chars.clone());
            let twice = config.chunks.overlap_chars > 0 && place.1.is_some() && !seen.insert(place);
            report.duplicates += usize::from(twice);
            !twice
        });
    }
    let before: usize = passes.iter().map(Vec::len).sum();
    let merged = merge_passes(passes);
    report.merged += before - merged.len();
    merged.iter().for_each(|extraction| report.count(extraction));
    merged
}
