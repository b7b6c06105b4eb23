//! What a step is made into before texts are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use super::analysis::{Analysis, Joined, KeptLine};
use super::table::{Sketch, Table};

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

/// Positions of words, with what finds them.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Positions in order.
    pub(super) list: Vec<Place>,
    /// A hash for every position, or none.
    pub(super) hashes: Vec<Option<u64>>,
    pub(super) sketch: Sketch,
}

/// A position of a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) at: u32,
    /// Long n-grams from here on may repeat another.
    pub(super) is_long: bool,
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
    places: Places,
    /// The new text that a check has found on its way, for the edit of the same text.
    pub(super) pending: Option<String>,
    /// The lines of that text.
    pub(super) kept: Vec<KeptLine>,
    /// An edit has brought the analysis up to its new text.
    is_ahead: bool,
    /// Things found so far in this text, by kind.
    pub(super) findings: BTreeMap<&'static str, u64>,
}

impl Scratch {
    /// The text has changed.
    pub(super) fn forget(&mut self) {
        self.is_read = false;
        self.is_joined = false;
        self.is_ahead = false;
        self.pending = None;
    }

    /// The text has become what the last edit made of it.
    pub(super) fn follow(&mut self) {
        let is_read = self.is_ahead;
        self.forget();
        self.is_read = is_read;
    }

    /// The text is about to become `text`, which is the lines of `kept` with `\n` between them.
    pub(super) fn keep_lines(&mut self, text: &str) {
        if self.is_read {
            self.analysis.keep_lines(text, &self.kept);
            self.is_ahead = true;
        }
    }

    /// Words and lines of `text`, and a list for the lines that stay.
    pub(super) fn lines(&mut self, text: &str) -> (&Analysis, &mut Vec<KeptLine>) {
        self.analysis(text);
        (&self.analysis, &mut self.kept)
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
    pub(super) fn joined(&mut self, text: &str) -> (&Analysis, &Joined, &mut Table, &mut Places) {
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

    /// [`Rule::check`] straight from the rule's definition, however slow. Rules without shortcuts have none.
    fn check_reference(&self, text: &str) -> Option<Drop> {
        self.check(text, &mut Scratch::default())
    }

    /// [`Rule::edit`] in the same way.
    fn edit_reference(&self, text: &str) -> Option<String> {
        self.edit(text, &mut Scratch::default())
    }
}
