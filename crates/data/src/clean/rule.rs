//! What a step is made into before texts are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use super::analysis::{Analysis, Joined};
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
    joined: Joined,
    is_joined: bool,
    pub(super) table: Table,
    pub(super) lengths: Vec<u32>,
    /// Word positions.
    places: Vec<u32>,
    /// The new text that a check has found on its way, for the edit of the same text.
    pub(super) pending: Option<String>,
    /// Things found so far in this text, by kind.
    pub(super) findings: BTreeMap<&'static str, u64>,
}

impl Scratch {
    /// The text has changed.
    pub(super) fn forget(&mut self) {
        self.is_read = false;
        self.is_joined = false;
        self.pending = None;
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
            self.is_joined = false;
        }
        (&self.analysis, &mut self.table, &mut self.lengths)
    }

    /// The same, with the words joined and a list for positions.
    pub(super) fn joined(&mut self, text: &str) -> (&Analysis, &Joined, &mut Table, &mut Vec<u32>) {
        self.analysis(text);
        if !self.is_joined {
            self.joined.read(text, &self.analysis.words);
            self.is_joined = true;
        }
        (&self.analysis, &self.joined, &mut self.table, &mut self.places)
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
