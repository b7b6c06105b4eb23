//! What a study must hold before anybody is asked to judge it.

use std::collections::HashSet;

use super::{Criterion, Study};
use crate::ReviewError;

/// Longest name of a judge, criterion or system, in bytes.
const NAME_LIMIT: usize = 200;
/// Most points of a scale: they stand side by side on the page.
const POINTS: i64 = 11;

impl Study {
    /// Checks everything that serving and counting rely on.
    ///
    /// # Errors
    /// No items; ids, names of judges, criteria or tokens that are empty or come twice; an item with fewer than two
    /// outputs; a scale or an option outside its range.
    pub fn validate(&self) -> Result<(), ReviewError> {
        if self.items.is_empty() {
            return Err(ReviewError::study("items", "none", "at least one"));
        }
        unique("items", "id", self.items.iter().map(|item| item.id.as_str()))?;
        for item in &self.items {
            let place = || format!("item `{}`", item.id);
            if item.outputs.len() < 2 {
                let found = format!("{} outputs", item.outputs.len());
                return Err(ReviewError::study(place(), found, "the outputs of at least two systems"));
            }
            for system in item.outputs.keys() {
                check_name(&place(), system)?;
            }
        }
        unique("criteria", "name", self.criteria.iter().map(|criterion| criterion.name.as_str()))?;
        self.criteria.iter().try_for_each(Criterion::validate)?;
        self.validate_options()
    }

    fn validate_options(&self) -> Result<(), ReviewError> {
        let options = &self.options;
        if !(0.0..=1.0).contains(&options.repeats) {
            let found = options.repeats.to_string();
            return Err(ReviewError::study("options.repeats", found, "a share between 0 and 1"));
        }
        if options.pairs_per_item == Some(0) {
            return Err(ReviewError::study("options.pairs_per_item", "0", "at least 1, or nothing for all"));
        }
        unique("options.judges", "name", options.judges.iter().map(|judge| judge.name.as_str()))?;
        let tokens = options.judges.iter().filter_map(|judge| judge.token.as_deref());
        let tokens: Vec<&str> = tokens.chain(options.owner_token.as_deref()).collect();
        let mut seen = HashSet::new();
        for token in tokens {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !(16..=128).contains(&token.len()) || !token.bytes().all(allowed) {
                let found = format!("a token of {} bytes", token.len());
                return Err(ReviewError::study("options", found, "16 to 128 letters, digits, `-` or `_`"));
            }
            if !seen.insert(token) {
                return Err(ReviewError::study(
                    "options",
                    "one token twice",
                    "a token of their own for each",
                ));
            }
        }
        Ok(())
    }
}

impl Criterion {
    fn validate(&self) -> Result<(), ReviewError> {
        let points = self.max.checked_sub(self.min).and_then(|steps| steps.checked_add(1));
        if points.is_some_and(|points| (2..=POINTS).contains(&points)) {
            return Ok(());
        }
        let (place, found) = (format!("criterion `{}`", self.name), format!("{}..{}", self.min, self.max));
        Err(ReviewError::study(place, found, "a scale of 2 to 11 points"))
    }
}

/// Refuses what is no name of a judge, criterion, system or item.
pub(crate) fn check_name(place: &str, name: &str) -> Result<(), ReviewError> {
    if name.trim().is_empty() || name.len() > NAME_LIMIT || name.chars().any(char::is_control) {
        let found = format!("{:?}", name.chars().take(40).collect::<String>());
        return Err(ReviewError::study(place, found, "a name of 1 to 200 bytes without control characters"));
    }
    Ok(())
}

fn unique<'a>(place: &str, what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ReviewError> {
    let mut seen = HashSet::new();
    for found in names {
        check_name(place, found)?;
        if !seen.insert(found) {
            return Err(ReviewError::study(place, format!("the {what} `{found}` twice"), "each once"));
        }
    }
    Ok(())
}
