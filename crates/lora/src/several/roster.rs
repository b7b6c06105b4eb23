//! Which adapters a model has, and which of them are in use.

use std::sync::Arc;

use super::{
    places::{arrange, on_place},
    rules::BASE,
};
use crate::{Adaptable, AdapterConfig, LoraError};

/// The name of an adapter that was attached without one, as in PEFT.
pub(crate) const DEFAULT: &str = "default";

/// The adapters of a model: all its places hold the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    pub(crate) entries: Vec<Entry>,
    /// Names of those in use; the first is where a lone adapter would be.
    pub(crate) active: Vec<String>,
}

/// An adapter of a model.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) config: AdapterConfig,
}

impl Roster {
    /// One adapter, in use.
    pub(crate) fn single(name: &str, config: &AdapterConfig) -> Self {
        let entry = Entry { name: name.to_owned(), config: config.clone() };
        Self { entries: vec![entry], active: vec![name.to_owned()] }
    }

    /// The roster of a model.
    pub(super) fn of<M: Adaptable>(model: &mut M) -> Arc<Self> {
        let mut found = None;
        model.sites(&mut |_, site| {
            on_place!(site, place => {
                found.get_or_insert_with(|| Arc::clone(&place.named.roster));
            });
        });
        found.unwrap_or_default()
    }

    /// Puts the roster in all places of a model, and every adapter where it says.
    pub(crate) fn give<M: Adaptable>(self, model: &mut M) {
        let new = Arc::new(self);
        model.sites(&mut |_, site| {
            on_place!(site, place => {
                let was_first = place.named.roster.active.first().cloned();
                arrange(&mut place.adapter, &mut place.others, was_first.as_ref(), &new);
                place.named.roster = Arc::clone(&new);
            });
        });
    }

    /// The place of a name in the list.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == name)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// # Errors
    /// [`LoraError::UnknownAdapter`].
    pub(super) fn entry(&self, name: &str) -> Result<&Entry, LoraError> {
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| self.unknown(vec![name.to_owned()]))
    }

    /// The entries of `names`, in their order.
    ///
    /// # Errors
    /// [`LoraError::UnknownAdapter`] with every name that is none.
    pub(super) fn all<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<&Entry>, LoraError> {
        let (mut entries, mut unknown) = (Vec::new(), Vec::new());
        for name in names {
            match self.entries.iter().find(|entry| entry.name == name) {
                Some(entry) => entries.push(entry),
                None => unknown.push(name.to_owned()),
            }
        }
        if unknown.is_empty() { Ok(entries) } else { Err(self.unknown(unknown)) }
    }

    fn unknown(&self, names: Vec<String>) -> LoraError {
        LoraError::UnknownAdapter { names, known: self.names() }
    }

    /// Whether an adapter can be added by this name. It becomes a part of parameters' names and a directory's name.
    ///
    /// # Errors
    /// [`LoraError::AdapterName`].
    pub(super) fn check_new(&self, name: &str) -> Result<(), LoraError> {
        let reason = if self.position(name).is_some() {
            "there is one of this name"
        } else if name.is_empty() {
            "a name has at least one character"
        } else if name == BASE {
            "this stands for the model without adapters"
        } else if name.contains(['.', '/', '\\']) || name.chars().any(char::is_control) {
            "it becomes a part of parameters' names and of paths: no `.`, `/`, `\\` or control characters"
        } else {
            return Ok(());
        };
        Err(LoraError::AdapterName { name: name.to_owned(), reason: reason.to_owned(), known: self.names() })
    }
}
