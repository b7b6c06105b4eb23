use std::collections::HashSet;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::near::{NearDuplicateConfig, near_duplicates};
use crate::error::DataError;
use crate::ngram::{COMMON_FRACTION, common_limit};
use crate::record::Record;

/// Words of a run that is looked for in other records.
const RUN: usize = 5;

/// The cluster of near-duplicates of each record, by its user's and assistant's text without what many records share: an
/// instruction that stands before every question does not make two records alike.
///
/// Left out are the words of runs of 5 words that are in more than 1 % of the records, and in more than 5. A record of which
/// fewer than 5 words are left is a cluster of its own. Numbers of clusters mean nothing but that equal ones are together.
///
/// # Errors
///
/// As [`near_duplicates`].
pub fn near_duplicate_records<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    config: &NearDuplicateConfig,
) -> Result<Vec<usize>, DataError> {
    let texts: Vec<String> = records.into_iter().map(Record::user_and_assistant_text).collect();
    let common = common_runs(&texts);
    let own: Vec<Option<String>> = texts.par_iter().map(|text| own_words(text, &common)).collect();
    let compared: Vec<&str> = own.iter().map(|text| text.as_deref().unwrap_or_default()).collect();
    let mut clusters = near_duplicates(&compared, config)?.of;
    for (at, own) in own.iter().enumerate() {
        if own.is_none() {
            clusters[at] = texts.len() + at;
        }
    }
    Ok(clusters)
}

/// Runs of words that are in too many texts to tell them apart.
fn common_runs(texts: &[String]) -> HashSet<u64> {
    let of_text = |text: &String| {
        let mut runs: Vec<u64> = runs(&words(text)).collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    };
    let mut all: Vec<u64> = texts.par_iter().flat_map_iter(of_text).collect();
    all.par_sort_unstable();
    let limit = common_limit(texts.len(), COMMON_FRACTION);
    all.chunk_by(|a, b| a == b).filter(|same| same.len() > limit).map(|same| same[0]).collect()
}

/// What is left of a text without its common runs; `None` if these leave less than a run.
fn own_words(text: &str, common: &HashSet<u64>) -> Option<String> {
    let words = words(text);
    let mut is_common = vec![false; words.len()];
    for (start, run) in runs(&words).enumerate() {
        if common.contains(&run) {
            is_common[start..start + RUN].fill(true);
        }
    }
    if !is_common.contains(&true) {
        return Some(text.to_owned());
    }
    let own: Vec<&str> =
        words.iter().zip(is_common).filter(|(_, common)| !common).map(|(word, _)| *word).collect();
    (own.len() >= RUN).then(|| own.join(" "))
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn runs<'a>(words: &'a [&str]) -> impl Iterator<Item = u64> + 'a {
    words.windows(RUN).map(|run| xxh3_64(run.join(" ").to_lowercase().as_bytes()))
}
