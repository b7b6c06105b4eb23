//! Every question is asked once, however many threads and documents have it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};

use super::cache::DiskCache;
use super::model::{Answer, ModelError};

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Model,
    Kept,
}

/// The answers of one run. `None` marks a question that a thread is asking.
#[derive(Debug)]
pub(super) struct Answers {
    disk: Option<DiskCache>,
    known: Mutex<HashMap<String, Option<Answer>>>,
    changed: Condvar,
}

impl Answers {
    pub(super) fn new(disk: Option<DiskCache>) -> Self {
        Self { disk, known: Mutex::default(), changed: Condvar::new() }
    }

    /// The kept answer, or what `ask` returns, which is kept. A question that another thread asks is waited for. An
    /// answer of an earlier run that cannot be read is asked for again, once.
    pub(super) fn get(
        &self,
        key: &str,
        readable: impl Fn(&Answer) -> bool,
        ask: impl FnOnce() -> Result<Answer, ModelError>,
    ) -> Result<(Answer, From), ModelError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match known.get(key) {
                Some(Some(answer)) => return Ok((answer.clone(), From::Kept)),
                Some(None) => {
                    known = self.changed.wait(known).unwrap_or_else(PoisonError::into_inner);
                }
                None => {}
            }
            if known.contains_key(key) {
                continue;
            }
            match self.disk.as_ref().and_then(|disk| disk.get(key)).filter(&readable) {
                Some(answer) => return Ok((answer, From::Kept)),
                None => break,
            }
        }
        known.insert(key.to_owned(), None);
        drop(known);
        let answer = catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(ModelError::Fatal { message: format!("the model panicked: {text}") })
        });
        let answer = answer.and_then(|answer| match self.disk.as_ref().map(|disk| disk.put(key, &answer)) {
            Some(Err(error)) => {
                Err(ModelError::Fatal { message: format!("an answer could not be kept: {error}") })
            }
            _ => Ok(answer),
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Ok(answer) if self.disk.is_none() || !readable(answer) => {
                known.insert(key.to_owned(), Some(answer.clone()))
            }
            _ => known.remove(key),
        };
        drop(known);
        self.changed.notify_all();
        answer.map(|answer| (answer, From::Model))
    }
}
