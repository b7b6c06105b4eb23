use serde::{Deserialize, Serialize};

use super::{CardConfig, CardSet};
use crate::error::DataError;
use crate::leak::{LeakConfig, find_leaks};

/// Pairs that a card shows for each set.
const SHOWN: usize = 10;

/// Two records of different sets that share text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardLeak {
    /// `file:line` in the trained set.
    pub trained: String,
    /// `file:line` in the other set.
    pub other: String,
    /// The first words that both have.
    pub text: String,
}

/// What another set shares with the trained one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeakCount {
    /// The other set.
    pub set: String,
    /// Its records.
    pub records: usize,
    /// Words per n-gram.
    pub ngram: usize,
    /// Records that share an n-gram with the trained set.
    pub leaked: usize,
    /// Those of them whose question is shared.
    pub leaked_questions: usize,
    /// The first 10 pairs.
    pub pairs: Vec<CardLeak>,
}

pub(super) fn between(sets: &[CardSet<'_>], config: &CardConfig) -> Result<Vec<LeakCount>, DataError> {
    let Some((trained, others)) = sets.split_first() else { return Ok(Vec::new()) };
    let options = LeakConfig::default().with_ngram(config.ngram);
    others
        .iter()
        .map(|set| {
            let report = find_leaks(trained.records, set.records, options)?;
            let shown = report.pairs.iter().take(SHOWN).map(|pair| CardLeak {
                trained: pair.left.to_string(),
                other: pair.right.to_string(),
                text: pair.ngram.clone(),
            });
            Ok(LeakCount {
                set: set.name.to_owned(),
                records: set.records.len(),
                ngram: config.ngram,
                leaked: report.leaked().len(),
                leaked_questions: report.leaked_questions().len(),
                pairs: shown.collect(),
            })
        })
        .collect()
}
