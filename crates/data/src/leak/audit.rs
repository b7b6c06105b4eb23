use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;

use super::{LeakConfig, LeakReport, as_text, compare};
use crate::error::DataError;
use crate::ngram;
use crate::record::{Origin, Record};

/// Near-duplicates that the text of a report shows.
const SHOWN: usize = 20;

/// A training set compared with any number of named sets: validation, test, benchmarks. Its n-grams are made once.
///
/// ```
/// use burnisher_data::{Body, LeakAudit, LeakConfig, Origin, Record};
///
/// let record = |file: &str, line, text: &str| Record::new(Body::Text(text.to_owned()), Origin::new(file, line));
/// let train = vec![record("train.jsonl", 1, "one two three four"), record("train.jsonl", 2, "something else")];
/// let test = [record("test.jsonl", 1, "zero, one, two, three")];
/// let report = LeakAudit::new(&train, LeakConfig::default().with_ngram(3))?.against("test", &test).finish();
/// println!("{report}");
/// let (kept, removal) = report.remove(train)?;
/// assert_eq!((kept.len(), removal.removed.len()), (1, 1));
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct LeakAudit<'a> {
    train: &'a [Record],
    postings: Vec<(u64, usize)>,
    config: LeakConfig,
    sets: Vec<NamedLeaks>,
}

/// A training record and one of another set that are in the same cluster of near-duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NearLeak {
    /// The first training record of the cluster.
    #[serde(serialize_with = "as_text")]
    pub train: Origin,
    /// The record of the other set.
    #[serde(serialize_with = "as_text")]
    pub other: Origin,
}

/// What a training set shares with one other set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NamedLeaks {
    /// The name of the other set.
    pub name: String,
    /// The records that share an n-gram.
    pub report: LeakReport,
    /// Records of the other set with a near-duplicate in training, where clusters were given.
    pub near: Vec<NearLeak>,
    /// The numbers of all training records that share an n-gram or a cluster, counted from 0, in order.
    pub train: Vec<usize>,
}

impl NamedLeaks {
    /// True if nothing is shared.
    pub fn is_empty(&self) -> bool {
        self.train.is_empty()
    }
}

/// What a [`LeakAudit`] found.
///
/// `{}` shows the first 20 pairs of each set with the text they share, `{:#}` all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeakAuditReport {
    /// Training records.
    pub train_records: usize,
    /// The sets, in the order in which they were compared.
    pub sets: Vec<NamedLeaks>,
}

impl<'a> LeakAudit<'a> {
    /// An audit of these training records.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`LeakConfig::validate`].
    pub fn new(train: &'a [Record], config: LeakConfig) -> Result<Self, DataError> {
        config.validate()?;
        let postings = ngram::postings(train, config.ngram, config.text);
        Ok(Self { train, postings, config, sets: Vec::new() })
    }

    /// Compares with a set, as [`find_leaks`](crate::find_leaks) does.
    #[must_use]
    pub fn against(mut self, name: impl Into<String>, records: &[Record]) -> Self {
        let (report, train) = compare(self.train, &self.postings, records, self.config);
        self.sets.push(NamedLeaks {
            name: name.into(),
            report,
            near: Vec::new(),
            train: train.into_iter().collect(),
        });
        self
    }

    /// Compares with a set, and takes records of one cluster for leaks too: near-duplicates that MinHash found, say.
    /// `clusters` has one number for each training record, then one for each record of the set.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if there are more or fewer numbers.
    pub fn against_clusters(
        self,
        name: impl Into<String>,
        records: &[Record],
        clusters: &[usize],
    ) -> Result<Self, DataError> {
        let wanted = self.train.len() + records.len();
        if clusters.len() != wanted {
            return Err(DataError::InvalidConfig {
                field: "clusters",
                found: format!(
                    "{} numbers for {} and {} records",
                    clusters.len(),
                    self.train.len(),
                    records.len()
                ),
                wanted: "one number per record of both sets",
            });
        }
        let (own, others) = clusters.split_at(self.train.len());
        let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
        for (record, cluster) in own.iter().enumerate() {
            members.entry(*cluster).or_default().push(record);
        }
        let train = self.train;
        let mut audit = self.against(name, records);
        if let Some(set) = audit.sets.last_mut() {
            let mut leaking: BTreeSet<usize> = set.train.iter().copied().collect();
            for (record, cluster) in records.iter().zip(others) {
                if let Some(found) = members.get(cluster) {
                    leaking.extend(found);
                    set.near.push(NearLeak {
                        train: train[found[0]].origin.clone(),
                        other: record.origin.clone(),
                    });
                }
            }
            set.train = leaking.into_iter().collect();
        }
        Ok(audit)
    }

    /// What was found.
    pub fn finish(self) -> LeakAuditReport {
        LeakAuditReport { train_records: self.train.len(), sets: self.sets }
    }
}

impl LeakAuditReport {
    /// True if nothing is shared with any set.
    pub fn is_empty(&self) -> bool {
        self.sets.iter().all(NamedLeaks::is_empty)
    }

    /// The set with this name.
    pub fn get(&self, name: &str) -> Option<&NamedLeaks> {
        self.sets.iter().find(|set| set.name == name)
    }
}

impl fmt::Display for LeakAuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} training records compared with {} sets", self.train_records, self.sets.len())?;
        for set in &self.sets {
            write!(f, "\n{}: ", set.name)?;
            fmt::Display::fmt(&set.report, f)?;
            if !set.near.is_empty() {
                write!(f, "\n  {} records have near-duplicates in training", set.near.len())?;
            }
            let shown = if f.alternate() { set.near.len() } else { SHOWN.min(set.near.len()) };
            for near in &set.near[..shown] {
                write!(f, "\n  {} and {} (near-duplicates)", near.train, near.other)?;
            }
            if shown < set.near.len() {
                write!(f, "\n  and {} more", set.near.len() - shown)?;
            }
        }
        Ok(())
    }
}
