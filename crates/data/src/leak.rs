//! Text that two sets share.

mod audit;
mod removal;

use std::collections::BTreeSet;
use std::fmt;

use rayon::prelude::*;
use serde::{Serialize, Serializer};

use crate::error::DataError;
use crate::ngram::{self, Grams, LeakText, SharedPart};
use crate::record::{Origin, Record};

pub use self::audit::{LeakAudit, LeakAuditReport, NamedLeaks, NearLeak};
pub use self::removal::LeakRemoval;

/// Pairs that the report's `Display` shows without `#`.
const SHOWN: usize = 20;
/// Left records paired with one right record for one n-gram, so that a passage which is repeated a thousand
/// times on both sides does not make a million pairs.
const PARTNERS: usize = 16;

/// How [`find_leaks`] compares two sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeakConfig {
    /// Words per n-gram; 13 by default.
    pub ngram: usize,
    /// An n-gram in more than this part of the records of both sets together does not count; 0.01 by default.
    /// Whatever the part, an n-gram in at most 5 records counts: else one leak, which is in two records,
    /// could not be found in fewer than 200.
    pub common_fraction: f64,
    /// Whose words are compared; the whole conversation's by default.
    pub text: LeakText,
}

impl Default for LeakConfig {
    fn default() -> Self {
        Self { ngram: ngram::NGRAM, common_fraction: ngram::COMMON_FRACTION, text: LeakText::default() }
    }
}

impl LeakConfig {
    /// Sets the words per n-gram.
    #[must_use]
    pub fn with_ngram(mut self, ngram: usize) -> Self {
        self.ngram = ngram;
        self
    }

    /// Sets the part of the records above which an n-gram does not count.
    #[must_use]
    pub fn with_common_fraction(mut self, common_fraction: f64) -> Self {
        self.common_fraction = common_fraction;
        self
    }

    /// Sets whose words are compared.
    #[must_use]
    pub fn with_text(mut self, text: LeakText) -> Self {
        self.text = text;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] naming the field.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.ngram == 0 {
            return Err(DataError::InvalidConfig {
                field: "ngram",
                found: self.ngram.to_string(),
                wanted: "at least 1 word",
            });
        }
        if !(0.0..=1.0).contains(&self.common_fraction) {
            return Err(DataError::InvalidConfig {
                field: "common_fraction",
                found: self.common_fraction.to_string(),
                wanted: "a number from 0 to 1",
            });
        }
        Ok(())
    }
}

/// A record of each set that share text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeakPair {
    /// The record of the left set.
    #[serde(serialize_with = "as_text")]
    pub left: Origin,
    /// The record of the right set.
    #[serde(serialize_with = "as_text")]
    pub right: Origin,
    /// The first shared n-gram of the right record, in the user's text if one is there.
    pub ngram: String,
    /// Where that n-gram stands in the right record.
    pub part: SharedPart,
    /// How many different n-grams the two records share.
    pub shared: usize,
}

/// What [`find_leaks`] found.
///
/// `{}` shows the first 20 pairs, `{:#}` all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeakReport {
    /// The pairs: those that share the user's text first, then in the order of the right set and of the left
    /// set. For one n-gram a right record is paired with the first 16 left records that have it.
    pub pairs: Vec<LeakPair>,
    /// Records of the left set.
    pub left_records: usize,
    /// Records of the right set.
    pub right_records: usize,
    /// n-grams that both sets have and that were left out as too common.
    pub common_ngrams: usize,
    /// Words per n-gram.
    pub ngram: usize,
}

impl LeakReport {
    /// True if nothing is shared.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The records of the right set that share any text with the left set, each once, in order of origin.
    pub fn leaked(&self) -> Vec<&Origin> {
        distinct(self.pairs.iter())
    }

    /// The records of the right set whose user text, the question itself, is shared; each once, in order of
    /// origin.
    pub fn leaked_questions(&self) -> Vec<&Origin> {
        distinct(self.pairs.iter().filter(|pair| pair.part == SharedPart::User))
    }
}

/// An origin as `file:line`.
fn as_text<S: Serializer>(origin: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(origin)
}

fn distinct<'a>(pairs: impl Iterator<Item = &'a LeakPair>) -> Vec<&'a Origin> {
    pairs.map(|pair| &pair.right).collect::<BTreeSet<_>>().into_iter().collect()
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { left_records, right_records, common_ngrams, ngram, .. } = self;
        if self.is_empty() {
            write!(f, "no {ngram}-gram shared between {left_records} and {right_records} records")?;
        } else {
            write!(
                f,
                "{} of {right_records} records share a {ngram}-gram with the other {left_records} records, \
                 {} of them in the user's text ({} pairs)",
                self.leaked().len(),
                self.leaked_questions().len(),
                self.pairs.len()
            )?;
        }
        if *common_ngrams > 0 {
            write!(f, " ({common_ngrams} common {ngram}-grams left out)")?;
        }
        let shown = if f.alternate() { self.pairs.len() } else { SHOWN.min(self.pairs.len()) };
        for pair in &self.pairs[..shown] {
            let place = match pair.part {
                SharedPart::User => "user",
                SharedPart::Both => "user and assistant",
                SharedPart::Assistant => "assistant",
            };
            write!(
                f,
                "\n  {} and {} ({place}, {} shared): {:?}",
                pair.left, pair.right, pair.shared, pair.ngram
            )?;
        }
        if shown < self.pairs.len() {
            write!(f, "\n  and {} more pairs", self.pairs.len() - shown)?;
        }
        Ok(())
    }
}

/// Finds the records of `right` (a test or validation set) that share text with `left` (a training set).
///
/// Two records leak if they have a word n-gram in common. Words are split on white space, lower-cased and
/// stripped of everything but letters and digits. n-grams are taken over the user's and the assistant's turns
/// read one after the other, or over one side of the conversation ([`LeakConfig::with_text`]); system and tool text does
/// not count, and no n-gram runs across text that does not count. An n-gram in
/// more than 1 % of the records of both sets together (and in more than 5) is boilerplate and does not count.
///
/// A record too short for any n-gram counts as a whole and leaks if the other set has a short record with the
/// same text, up to case and white space. Scripts written without spaces have few words, so that their
/// records mostly are compared as a whole.
///
/// # Errors
///
/// [`DataError::InvalidConfig`] as [`LeakConfig::validate`].
///
/// ```
/// use burnisher_data::{Body, LeakConfig, Origin, Record, find_leaks};
///
/// let record = |file: &str, text: &str| Record::new(Body::Text(text.to_owned()), Origin::new(file, 1));
/// let train = [record("train.jsonl", "So: a b c, d e f, g h i, j k l, m n o.")];
/// let test = [record("test.jsonl", "A B C D E F G H I J K L M")];
/// let report = find_leaks(&train, &test, LeakConfig::default())?;
/// assert_eq!(report.pairs[0].right.to_string(), "test.jsonl:1");
/// assert_eq!(report.pairs[0].ngram, "a b c d e f g h i j k l m");
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
pub fn find_leaks(left: &[Record], right: &[Record], config: LeakConfig) -> Result<LeakReport, DataError> {
    config.validate()?;
    let postings = ngram::postings(left, config.ngram, config.text);
    Ok(compare(left, &postings, right, config).0)
}

/// The leaks, and the numbers of all left records behind them, beyond those that are paired.
fn compare(
    left: &[Record],
    left_postings: &[(u64, usize)],
    right: &[Record],
    config: LeakConfig,
) -> (LeakReport, BTreeSet<usize>) {
    let limit = ngram::common_limit(left.len() + right.len(), config.common_fraction);
    let mut common_ngrams = 0;
    let mut leaking = BTreeSet::new();
    // (right record, left record, hash): sorted, all n-grams of a pair are neighbours.
    let mut hits: Vec<(usize, usize, u64)> = Vec::new();
    let mut rest = left_postings;
    for rights in ngram::postings(right, config.ngram, config.text).chunk_by(|a, b| a.0 == b.0) {
        let hash = rights[0].0;
        rest = &rest[rest.partition_point(|posting| posting.0 < hash)..];
        let lefts = &rest[..rest.partition_point(|posting| posting.0 == hash)];
        if lefts.is_empty() {
            continue;
        }
        if lefts.len() + rights.len() > limit {
            common_ngrams += 1;
            continue;
        }
        leaking.extend(lefts.iter().map(|(_, record)| *record));
        for (_, r) in rights {
            hits.extend(lefts.iter().take(PARTNERS).map(|(_, l)| (*r, *l, hash)));
        }
    }
    hits.par_sort_unstable();
    let groups: Vec<&[(usize, usize, u64)]> = hits.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).collect();
    let mut pairs: Vec<LeakPair> =
        groups.into_par_iter().filter_map(|hits| pair(left, right, hits, config)).collect();
    pairs.sort_by_key(|pair| pair.part);
    let report = LeakReport {
        pairs,
        left_records: left.len(),
        right_records: right.len(),
        common_ngrams,
        ngram: config.ngram,
    };
    (report, leaking)
}

/// The pair behind the hits of one right and one left record; `None` if only the hashes are equal, not the
/// words.
fn pair(
    left: &[Record],
    right: &[Record],
    hits: &[(usize, usize, u64)],
    config: LeakConfig,
) -> Option<LeakPair> {
    let (r, l, _) = *hits.first()?;
    let (left, right) = (&left[l], &right[r]);
    let grams = |record| Grams::of(record, config.ngram, config.text);
    let (left_grams, right_grams) = (grams(left), grams(right));
    let shown = right_grams
        .iter()
        .filter(|gram| hits.binary_search_by_key(&gram.hash, |hit| hit.2).is_ok())
        .min_by_key(|gram| gram.part)?;
    let text = right_grams.text(shown);
    left_grams.iter().find(|gram| gram.hash == shown.hash && left_grams.text(gram) == text)?;
    Some(LeakPair {
        left: left.origin.clone(),
        right: right.origin.clone(),
        ngram: text.to_owned(),
        part: shown.part,
        shared: hits.len(),
    })
}
