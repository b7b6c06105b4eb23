//! One set by itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use whatlang::detect;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::distribution::Distribution;
use super::{CardConfig, CardSet, SAMPLE_CHARACTERS, words};
use crate::dedup::{NearDuplicateConfig, near_duplicates, remove_exact_duplicates};
use crate::encode::{EncodeConfig, Encoder, Outcome};
use crate::error::DataError;
use crate::record::Record;
use crate::tokenizer::Tokenizer;

/// Different values up to which a column that nobody named counts as a label.
const LABEL_VALUES: usize = 30;
/// Columns that are taken for labels by themselves, at most.
const LABEL_COLUMNS: usize = 8;
/// Values of a column that a card lists.
const LISTED: usize = 30;
/// Characters that the language is told from.
const LANGUAGE_CHARACTERS: usize = 2000;
/// Letters below which the language is not told.
const LANGUAGE_LETTERS: usize = 40;
/// What stands for a language that cannot be told.
const UNSURE: &str = "unsure";

/// The tokens of a set, as training counts them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TokenCount {
    /// Tokens per record, the chat template's among them.
    pub length: Distribution,
    /// Tokens per record that are trained.
    pub trained: Distribution,
    /// Records longer than `max_length`, if that was told.
    pub too_long: usize,
    /// Records whose whole trained part stands behind `max_length`: training drops them.
    pub nothing_trained: usize,
    /// Different tokens that occur.
    pub distinct: usize,
    /// Tokens that the tokenizer knows.
    pub vocabulary: usize,
    /// Unknown tokens that occur.
    pub unknown: usize,
    /// Tokens per word (UAX #29) of user and assistant.
    pub per_word: f64,
}

/// How often each value of a column occurs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Balance {
    /// The column.
    pub column: String,
    /// The values, most frequent first, equally frequent ones by name; at most 30.
    pub values: Vec<(String, usize)>,
    /// Different values.
    pub distinct: usize,
    /// Records without the column.
    pub missing: usize,
    /// Entropy of the values over that of equally frequent ones: 1 is balanced, 0 a single value.
    pub evenness: f64,
}

/// A record, shortened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardSample {
    /// `file:line`.
    pub origin: String,
    /// `(role, text)` of each turn.
    pub turns: Vec<(String, String)>,
}

/// One set of a [`DataCard`](super::DataCard).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SetCard {
    /// Its name.
    pub name: String,
    /// Records.
    pub records: usize,
    /// Records by file, in the order in which they were read.
    pub files: Vec<(String, usize)>,
    /// Records by shape.
    pub shapes: BTreeMap<String, usize>,
    /// Characters of user and assistant per record.
    pub characters: Distribution,
    /// Turns per record.
    pub turns: Distribution,
    /// Different words.
    pub distinct_words: usize,
    /// Tokens, if a tokenizer was given.
    pub tokens: Option<TokenCount>,
    /// Records that repeat an earlier one, up to white space.
    pub exact_duplicates: usize,
    /// Records that are much like an earlier one, exact duplicates among them.
    pub near_duplicates: usize,
    /// Records in the largest group of near-duplicates.
    pub largest_cluster: usize,
    /// Different answers (trained texts).
    pub distinct_answers: usize,
    /// Records by language (ISO 639-3), most frequent first; `unsure` for texts too short or too mixed to tell.
    pub languages: Vec<(String, usize)>,
    /// The values of columns.
    pub balance: Vec<Balance>,
    /// Some records, chosen by the seed.
    pub samples: Vec<CardSample>,
}

pub(super) fn check_labels(sets: &[CardSet<'_>], labels: &[String]) -> Result<(), DataError> {
    let Some(label) = labels.iter().find(|label| {
        !sets.iter().flat_map(|set| set.records).any(|record| record.extra.contains_key(*label))
    }) else {
        return Ok(());
    };
    let columns: BTreeSet<&str> = sets
        .iter()
        .flat_map(|set| set.records)
        .flat_map(|record| record.extra.keys().map(String::as_str))
        .collect();
    Err(DataError::UnknownLabel {
        found: label.clone(),
        columns: columns.into_iter().map(str::to_owned).collect(),
    })
}

pub(super) fn set(
    set: &CardSet<'_>,
    tokenizer: Option<&Tokenizer>,
    config: &CardConfig,
) -> Result<SetCard, DataError> {
    let records = set.records;
    let measured = |of: &(dyn Fn(&Record) -> usize + Sync)| {
        Distribution::of(records.par_iter().map(of).collect()).ok_or(DataError::InvalidConfig {
            field: "sets",
            found: format!("{:?} without records", set.name),
            wanted: "sets that hold records",
        })
    };
    let mut files: Vec<(String, usize)> = Vec::new();
    let mut shapes = BTreeMap::new();
    for record in records {
        match files.last_mut().filter(|(file, _)| **file == *record.origin.file) {
            Some((_, count)) => *count += 1,
            None => files.push((record.origin.file.to_string(), 1)),
        }
        *shapes.entry(record.shape().to_string()).or_insert(0) += 1;
    }
    let texts: Vec<String> = records.par_iter().map(Record::user_and_assistant_text).collect();
    let near = near(&texts, config)?;
    let answers: BTreeSet<u64> =
        records.iter().map(|record| xxh3_64_with_seed(record.trained_text().trim().as_bytes(), 0)).collect();
    Ok(SetCard {
        name: set.name.to_owned(),
        records: records.len(),
        files,
        shapes,
        characters: measured(&|record| record.user_and_assistant_text().chars().count())?,
        turns: measured(&|record| record.turns().iter().filter(|(_, text)| !text.is_empty()).count())?,
        distinct_words: words::distinct(records).len(),
        tokens: tokenizer.map(|tokenizer| tokens(records, tokenizer, config, set.name)).transpose()?,
        exact_duplicates: remove_exact_duplicates(records.to_vec()).1.removed,
        near_duplicates: near.0,
        largest_cluster: near.1,
        distinct_answers: answers.len(),
        languages: languages(&texts),
        balance: balances(records, &config.labels),
        samples: samples(records, config),
    })
}

fn tokens(
    records: &[Record],
    tokenizer: &Tokenizer,
    config: &CardConfig,
    name: &str,
) -> Result<TokenCount, DataError> {
    let encoder = Encoder::new(tokenizer, EncodeConfig::untruncated())?;
    let limit = config.max_length.unwrap_or(usize::MAX);
    // (length, trained, whether a target stands within the limit, ids)
    let encode = |record: &Record| -> Result<(usize, usize, bool, Vec<u32>), DataError> {
        match encoder.encode(record) {
            Ok(Outcome::Kept { encoded, .. }) => {
                let within = encoded.loss_mask.iter().take(limit).any(|target| *target);
                Ok((encoded.len(), encoded.target_tokens(), within, encoded.ids))
            }
            Ok(Outcome::Dropped { cut }) => Ok((cut, 0, false, Vec::new())),
            Err(DataError::TemplateRequired { .. }) => {
                let ids = tokenizer.encode(&record.user_and_assistant_text(), true)?;
                let trained = tokenizer.encode(&record.trained_text(), false)?.len();
                Ok((ids.len(), trained, true, ids))
            }
            Err(error) => Err(error),
        }
    };
    let all: Vec<(usize, usize, bool, Vec<u32>)> =
        records.par_iter().map(encode).collect::<Result<_, _>>()?;
    let mut seen = vec![false; tokenizer.vocab_size()];
    let mut unknown = 0;
    for id in all.iter().flat_map(|(_, _, _, ids)| ids) {
        if let Some(seen) = seen.get_mut(*id as usize) {
            *seen = true;
        }
        unknown += usize::from(tokenizer.unk_id() == Some(*id));
    }
    let empty = || DataError::InvalidConfig {
        field: "sets",
        found: format!("{name:?} without records"),
        wanted: "sets that hold records",
    };
    let length = Distribution::of(all.iter().map(|one| one.0).collect()).ok_or_else(empty)?;
    let trained = Distribution::of(all.iter().map(|one| one.1).collect()).ok_or_else(empty)?;
    let word_count: usize =
        records.par_iter().map(|record| words::count(&record.user_and_assistant_text())).sum();
    Ok(TokenCount {
        too_long: all.iter().filter(|one| one.0 > limit).count(),
        nothing_trained: all.iter().filter(|one| !one.2).count(),
        distinct: seen.iter().filter(|seen| **seen).count(),
        vocabulary: tokenizer.vocab_size(),
        unknown,
        per_word: length.total as f64 / word_count.max(1) as f64,
        length,
        trained,
    })
}

/// `(records like an earlier one, records of the largest group)`.
fn near(texts: &[String], config: &CardConfig) -> Result<(usize, usize), DataError> {
    let clusters = near_duplicates(texts, &NearDuplicateConfig::new(config.near_threshold))?;
    let repeats = clusters.of.iter().enumerate().filter(|(at, first)| at != *first).count();
    Ok((repeats, clusters.sizes().into_iter().max().unwrap_or(0)))
}

fn languages(texts: &[String]) -> Vec<(String, usize)> {
    let told: Vec<&'static str> = texts.par_iter().map(|text| language(text)).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for language in told {
        *counts.entry(language).or_insert(0) += 1;
    }
    frequent_first(counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect())
}

fn language(text: &str) -> &'static str {
    let end = text.char_indices().nth(LANGUAGE_CHARACTERS).map_or(text.len(), |(at, _)| at);
    let head = &text[..end];
    if head.chars().filter(|letter| letter.is_alphabetic()).count() < LANGUAGE_LETTERS {
        return UNSURE;
    }
    detect(head).filter(whatlang::Info::is_reliable).map_or(UNSURE, |info| info.lang().code())
}

fn balances(records: &[Record], labels: &[String]) -> Vec<Balance> {
    if !labels.is_empty() {
        return labels.iter().filter_map(|label| balance(records, label)).collect();
    }
    let columns: BTreeSet<&str> =
        records.iter().flat_map(|record| record.extra.keys().map(String::as_str)).collect();
    let labelled = |balance: &Balance| {
        balance.distinct >= 2
            && balance.distinct <= LABEL_VALUES
            && balance.distinct * 2 <= records.len() - balance.missing
    };
    columns
        .into_iter()
        .filter_map(|column| balance(records, column))
        .filter(labelled)
        .take(LABEL_COLUMNS)
        .collect()
}

/// `None` if no record has the column as a text, a whole number or a truth value.
fn balance(records: &[Record], column: &str) -> Option<Balance> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut missing = 0;
    for record in records {
        match record.extra.get(column) {
            Some(Value::String(text)) => *counts.entry(text.clone()).or_insert(0) += 1,
            Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                *counts.entry(value.to_string()).or_insert(0) += 1;
            }
            _ => missing += 1,
        }
    }
    if counts.is_empty() {
        return None;
    }
    let distinct = counts.len();
    let all: usize = counts.values().sum();
    let share = |count: &usize| *count as f64 / all as f64;
    let mut values = frequent_first(counts.into_iter().collect());
    // Summed in the order of the list, so that the last digit does not depend on the map's.
    let entropy: f64 = values.iter().map(|(_, count)| -share(count) * share(count).ln()).sum();
    values.truncate(LISTED);
    let evenness = if distinct > 1 { entropy / (distinct as f64).ln() } else { 0.0 };
    Some(Balance { column: column.to_owned(), values, distinct, missing, evenness })
}

fn frequent_first(mut counts: Vec<(String, usize)>) -> Vec<(String, usize)> {
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts
}

/// The records with the least hashes of seed and position, in the order of the set.
fn samples(records: &[Record], config: &CardConfig) -> Vec<CardSample> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_cached_key(|at| xxh3_64_with_seed(&at.to_le_bytes(), config.seed));
    order.truncate(config.samples);
    order.sort_unstable();
    let shortened = |text: &str| match text.char_indices().nth(SAMPLE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let sample = |at: usize| CardSample {
        origin: records[at].origin.to_string(),
        turns: records[at]
            .turns()
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(role, text)| (role.to_owned(), shortened(text)))
            .collect(),
    };
    order.into_iter().map(sample).collect()
}
