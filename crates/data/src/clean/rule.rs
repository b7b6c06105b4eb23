//! What a step is made into before texts are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use super::analysis::{Analysis, Rolling};
use super::table::Table;

/// Why a text is dropped.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drop {
    pub(super) reason: Cow<'static, str>,
    pub(super) value: f64,
}

impl Drop {
    pub(super) fn new(reason: impl Into<Cow<'static, str>>, value: f64) -> Option<Self> {
        Some(Self { reason: reason.into(), value })
    }
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    analysis: Analysis,
    /// The analysis is of the current text.
    is_read: bool,
    rolling: Rolling,
    is_rolled: bool,
    pub(super) table: Table,
    pub(super) lengths: Vec<u32>,
    /// Things found so far in this text, by kind.
    pub(super) findings: BTreeMap<&'static str, u64>,
}

impl Scratch {
    /// The text has changed.
    pub(super) fn forget(&mut self) {
        self.is_read = false;
        self.is_rolled = false;
    }

    pub(super) fn forget_if(&mut self, is_changed: bool) {
        if is_changed {
            self.forget();
        }
    }

    /// Words and lines of `text`, and buffers to work with.
    pub(super) fn analysis(&mut self, text: &str) -> (&Analysis, &mut Table, &mut Vec<u32>) {
        if !self.is_read {
            self.analysis.read(text);
            self.is_read = true;
            self.is_rolled = false;
        }
        (&self.analysis, &mut self.table, &mut self.lengths)
    }

    /// The same, with the hashes of n-grams.
    pub(super) fn rolled(&mut self, text: &str) -> (&Analysis, &Rolling, &mut Table) {
        self.analysis(text);
        if !self.is_rolled {
            self.rolling.read(&self.analysis.words);
            self.is_rolled = true;
        }
        (&self.analysis, &self.rolling, &mut self.table)
    }
}

/// A step that is ready to run.
pub(super) trait Rule: Send + Sync + Debug {
    /// Whether [`Rule::check`] does anything.
    fn checks(&self) -> bool {
        false
    }

    /// Whether [`Rule::edit`] does anything.
    fn edits(&self) -> bool {
        false
    }

    /// Looks at a whole text.
    fn check(&self, _text: &str, _scratch: &mut Scratch) -> Option<Drop> {
        None
    }

    /// The new text of a field, or `None` if it stays as it is.
    fn edit(&self, _text: &str, _scratch: &mut Scratch) -> Option<String> {
        None
    }
}
