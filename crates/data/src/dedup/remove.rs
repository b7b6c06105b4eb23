use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use rayon::prelude::*;

use super::cluster::Clusters;
use super::near::{Keep, NearDuplicateConfig, Verify};
use super::shingle::exact_jaccard;
use super::signatures::{Signatures, Stack};
use super::sketch::{Signer, compared_text};
use super::{LISTED, write_more};
use crate::error::DataError;
use crate::record::{Origin, Record};

/// A record that was removed, the one of its cluster that stays, and how near they are.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NearDuplicatePair {
    /// The record that stays.
    pub kept: Origin,
    /// The record that is gone.
    pub removed: Origin,
    /// Their similarity, from 0 to 1: by shingles with [`Verify::Exact`], else as their signatures show it.
    pub similarity: f64,
}

/// What [`remove_near_duplicates`] did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NearDuplicateReport {
    /// Records before.
    pub records: usize,
    /// Records removed.
    pub removed: usize,
    /// Of those, records that are near a record of the index they were compared with.
    pub known: usize,
    /// Of those, records less similar to the one kept than the threshold: a chain of others connects them.
    pub chained: usize,
    /// How many clusters there are of each size from 2 on; records of an index count.
    pub sizes: BTreeMap<usize, usize>,
    /// The first 20 removed records, in order.
    pub pairs: Vec<NearDuplicatePair>,
}

impl NearDuplicateReport {
    /// Clusters of two or more records.
    pub fn clusters(&self) -> usize {
        self.sizes.values().sum()
    }

    /// Records in the largest cluster; 0 if there is none.
    pub fn largest(&self) -> usize {
        self.sizes.last_key_value().map_or(0, |(size, _)| *size)
    }
}

impl fmt::Display for NearDuplicateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} records removed as near-duplicates", self.removed, self.records)?;
        if self.removed > 0 {
            write!(f, " ({} clusters, the largest of {})", self.clusters(), self.largest())?;
        }
        if self.known > 0 {
            write!(f, ", {} of them near earlier data", self.known)?;
        }
        if self.chained > 0 {
            write!(f, ", {} of them only through a chain of others", self.chained)?;
        }
        for pair in &self.pairs {
            write!(f, "\n  {} is near {} ({:.2})", pair.removed, pair.kept, pair.similarity)?;
        }
        write_more(f, self.removed, self.pairs.len())
    }
}

/// Removes all but one record of each cluster of near-duplicates; the order of the others is kept.
///
/// What is compared is what user and assistant say: system and tool text is left out, since a prompt that many
/// records share would make all of them alike. Shape and roles do not count. The records may come from any
/// number of files.
///
/// # Errors
///
/// [`DataError::InvalidConfig`] as [`NearDuplicateConfig::validate`]; with [`Keep::Highest`],
/// [`DataError::MissingColumn`] or [`DataError::WrongType`] for a record of a cluster without that number.
///
/// ```
/// use burnisher_data::{Body, NearDuplicateConfig, Origin, Record, remove_near_duplicates};
///
/// let record = |line, text: &str| Record::new(Body::Text(text.to_owned()), Origin::new("a.jsonl", line));
/// let records = vec![record(1, "The tram is late."), record(2, "A ship."), record(3, "the  TRAM is late.")];
/// let (kept, report) = remove_near_duplicates(records, &NearDuplicateConfig::new(0.8))?;
/// assert_eq!(kept.iter().map(|record| record.origin.line).collect::<Vec<_>>(), [1, 2]);
/// assert_eq!(report.pairs[0].removed.line, 3);
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
pub fn remove_near_duplicates(
    records: Vec<Record>,
    config: &NearDuplicateConfig,
) -> Result<(Vec<Record>, NearDuplicateReport), DataError> {
    config.validate()?;
    let signer = Signer::new(&config.sketch)?;
    remove(records, config, &signer, &signer.none(), |_| unreachable!("there are no earlier records"))
}

/// Removes from `records` what is near one of the `known` ones or an earlier record; `config` is valid.
pub(crate) fn remove(
    records: Vec<Record>,
    config: &NearDuplicateConfig,
    signer: &Signer,
    known: &Signatures,
    known_origin: impl Fn(usize) -> Origin,
) -> Result<(Vec<Record>, NearDuplicateReport), DataError> {
    let signatures = signer.sign_all(&records, compared_text);
    let stack = Stack { first: known, second: &signatures };
    let text = |index: usize| match index.checked_sub(known.len()) {
        Some(index) => compared_text(&records[index]),
        None => Cow::Borrowed(""),
    };
    let clusters = config.cluster(&stack, &text);
    let kept = representatives(&clusters, known.len(), &records, &config.keep)?;
    let removed: Vec<(usize, usize)> = (known.len()..stack.len())
        .map(|index| (index, kept[clusters.of[index]]))
        .filter(|(i, j)| i != j)
        .collect();
    let similarities: Vec<f64> = removed
        .par_iter()
        .map(|(removed, kept)| match config.verify {
            Verify::Exact => exact_jaccard(&text(*removed), &text(*kept), config.sketch.shingling()),
            Verify::None | Verify::Estimated => config.sketch.similarity(&stack, *removed, *kept),
        })
        .collect();
    let origin = |index: usize| match index.checked_sub(known.len()) {
        Some(index) => records[index].origin.clone(),
        None => known_origin(index),
    };
    let listed = removed.iter().zip(&similarities).take(LISTED);
    let pairs = listed.map(|((removed, kept), similarity)| NearDuplicatePair {
        kept: origin(*kept),
        removed: origin(*removed),
        similarity: *similarity,
    });
    let report = NearDuplicateReport {
        records: records.len(),
        removed: removed.len(),
        known: removed.iter().filter(|(_, kept)| *kept < known.len()).count(),
        chained: similarities.iter().filter(|similarity| **similarity < config.threshold).count(),
        sizes: sizes(&clusters, known.len()),
        pairs: pairs.collect(),
    };
    let stays = (known.len()..).map(|index| kept[clusters.of[index]] == index);
    let kept = records.into_iter().zip(stays).filter_map(|(record, stays)| stays.then_some(record)).collect();
    Ok((kept, report))
}

/// For the first member of each cluster the member that stays; a known record always stays.
fn representatives(
    clusters: &Clusters,
    known: usize,
    records: &[Record],
    keep: &Keep,
) -> Result<Vec<usize>, DataError> {
    let mut best: Vec<usize> = (0..clusters.of.len()).collect();
    if *keep == Keep::First {
        return Ok(best);
    }
    let sizes = clusters.sizes();
    let mut scores: Vec<Option<f64>> = vec![None; clusters.of.len()];
    for (index, record) in (known..).zip(records) {
        let first = clusters.of[index];
        if first < known || sizes[first] == 1 {
            continue;
        }
        let score = score(record, keep)?;
        if scores[first].is_none_or(|best| score > best) {
            scores[first] = Some(score);
            best[first] = index;
        }
    }
    Ok(best)
}

fn score(record: &Record, keep: &Keep) -> Result<f64, DataError> {
    let column = match keep {
        Keep::First => return Ok(0.0),
        Keep::Longest => return Ok(compared_text(record).len() as f64),
        Keep::Highest { column } => column,
    };
    let Some(value) = record.extra.get(column) else {
        return Err(DataError::MissingColumn {
            origin: record.origin.clone(),
            wanted: column.clone(),
            found: record.extra.keys().cloned().collect(),
            nearest: None,
        });
    };
    value.as_f64().ok_or_else(|| DataError::WrongType {
        origin: record.origin.clone(),
        column: column.clone(),
        wanted: "a number",
        found: type_name(value),
    })
}

fn type_name(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

/// How many clusters with a new record there are of each size from 2 on.
fn sizes(clusters: &Clusters, known: usize) -> BTreeMap<usize, usize> {
    let mut of_size = BTreeMap::new();
    let mut fresh = vec![false; clusters.of.len()];
    for first in &clusters.of[known..] {
        fresh[*first] = true;
    }
    for (size, fresh) in clusters.sizes().into_iter().zip(fresh) {
        if fresh && size > 1 {
            *of_size.entry(size).or_insert(0) += 1;
        }
    }
    of_size
}
