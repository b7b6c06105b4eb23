//! What a data set is like: counts, lengths, duplicates, leaks, balance, languages, vocabulary, samples, advice.

mod advice;
mod distribution;
mod leaks;
mod measure;
mod page;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::record::Record;
use crate::tokenizer::Tokenizer;

pub use advice::{Advice, Weight};
pub use distribution::{Bar, Distribution};
pub use leaks::{CardLeak, LeakCount};
pub use measure::{Balance, CardSample, SetCard, TokenCount};
pub use words::VocabularyCoverage;

/// Characters of a sample's parts that a card holds.
const SAMPLE_CHARACTERS: usize = 600;

/// What a [`DataCard`] measures and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CardConfig {
    /// The title of the card; `Data card` by default.
    pub title: String,
    /// Tokens that the model (or `data.max_length` of the run) reads at once; lengths are compared with it.
    pub max_length: Option<usize>,
    /// Columns whose values are counted. Without any, those columns that hold few different values, at most 8.
    pub labels: Vec<String>,
    /// Words per n-gram of the leak check between sets; 13 by default, as GPT-3's.
    pub ngram: usize,
    /// Similarity (Jaccard, of 5 words) from which two records count as near-duplicates; 0.8 by default.
    pub near_threshold: f64,
    /// Records shown per set; 5 by default.
    pub samples: usize,
    /// The seed that chooses them; 0 by default.
    pub seed: u64,
}

impl Default for CardConfig {
    fn default() -> Self {
        Self {
            title: "Data card".to_owned(),
            max_length: None,
            labels: Vec::new(),
            ngram: crate::ngram::NGRAM,
            near_threshold: 0.8,
            samples: 5,
            seed: 0,
        }
    }
}

impl CardConfig {
    /// The defaults above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the title.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets the tokens that the model reads at once.
    #[must_use]
    pub fn with_max_length(mut self, max_length: Option<usize>) -> Self {
        self.max_length = max_length;
        self
    }

    /// Sets the columns whose values are counted.
    #[must_use]
    pub fn with_labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the words per n-gram of the leak check.
    #[must_use]
    pub fn with_ngram(mut self, ngram: usize) -> Self {
        self.ngram = ngram;
        self
    }

    /// Sets the similarity from which two records count as near-duplicates.
    #[must_use]
    pub fn with_near_threshold(mut self, near_threshold: f64) -> Self {
        self.near_threshold = near_threshold;
        self
    }

    /// Sets how many records of each set are shown.
    #[must_use]
    pub fn with_samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// Sets the seed that chooses them.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// One named set of a [`DataCard`]: `train`, `validation`, a benchmark.
#[derive(Debug, Clone, Copy)]
pub struct CardSet<'a> {
    /// Its name. The first set of a card is the one that is trained on.
    pub name: &'a str,
    /// Its records.
    pub records: &'a [Record],
}

impl<'a> CardSet<'a> {
    /// A set from its two parts.
    pub fn new(name: &'a str, records: &'a [Record]) -> Self {
        Self { name, records }
    }
}

/// The card of a data set, as Markdown, JSON and one HTML page.
///
/// ```
/// use burnisher_data::{Body, CardConfig, CardSet, DataCard, Origin, Record};
///
/// let record = |line: usize, text: &str| Record::new(Body::Text(text.to_owned()), Origin::new("a.jsonl", line));
/// let train = [record(1, "One and one is two."), record(2, "One and  one is two.")];
/// let card = DataCard::measure(&[CardSet::new("train", &train)], None, &CardConfig::new())?;
/// assert_eq!(card.sets[0].exact_duplicates, 1);
/// assert!(card.to_markdown().contains("# Data card"));
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataCard {
    /// The title.
    pub title: String,
    /// Tokens that the model reads at once, if that was told.
    pub max_length: Option<usize>,
    /// Each set by itself, the trained one first.
    pub sets: Vec<SetCard>,
    /// What the trained set shares with each other one.
    pub leaks: Vec<LeakCount>,
    /// How much of each other set's words the trained set has.
    pub vocabulary: Vec<VocabularyCoverage>,
    /// What to mend before training, gravest first.
    pub advice: Vec<Advice>,
    /// How it was measured.
    pub config: CardConfig,
}

impl DataCard {
    /// Measures the sets, on all cores; the first is the trained one. With a tokenizer lengths are in tokens, as
    /// training counts them.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] without a set or with a set without records, for a threshold outside 0..=1 and an
    /// n-gram of 0 words; [`DataError::UnknownLabel`] if no record has a column of `labels`; what
    /// [`Encoder`](crate::Encoder) says of a record, but for a missing chat template.
    pub fn measure(
        sets: &[CardSet<'_>],
        tokenizer: Option<&Tokenizer>,
        config: &CardConfig,
    ) -> Result<Self, DataError> {
        if sets.is_empty() || sets.iter().any(|set| set.records.is_empty()) {
            let found = sets.iter().find(|set| set.records.is_empty());
            let found = found.map_or("nothing".to_owned(), |set| format!("{:?} without records", set.name));
            return Err(DataError::InvalidConfig { field: "sets", found, wanted: "sets that hold records" });
        }
        if !(0.0..=1.0).contains(&config.near_threshold) {
            let found = config.near_threshold.to_string();
            return Err(DataError::InvalidConfig { field: "near_threshold", found, wanted: "0 to 1" });
        }
        measure::check_labels(sets, &config.labels)?;
        let cards: Vec<SetCard> =
            sets.iter().map(|set| measure::set(set, tokenizer, config)).collect::<Result<_, _>>()?;
        let mut card = Self {
            title: config.title.clone(),
            max_length: config.max_length,
            sets: cards,
            leaks: leaks::between(sets, config)?,
            vocabulary: words::coverage(sets),
            advice: Vec::new(),
            config: config.clone(),
        };
        card.advice = advice::of(&card);
        Ok(card)
    }

    /// The card as Markdown.
    pub fn to_markdown(&self) -> String {
        page::markdown(self)
    }

    /// The card as one HTML page that loads nothing.
    pub fn to_html(&self) -> String {
        page::html(self)
    }

    /// The card as JSON.
    pub fn to_json(&self) -> String {
        page::json(self)
    }

    /// Writes `card.md`, `card.json` and `card.html` into `dir`, which is made if need be, and returns their paths.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] with the path.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<[PathBuf; 3], DataError> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(|source| DataError::Write { path: dir.to_path_buf(), source })?;
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            match fs::write(&path, text) {
                Ok(()) => Ok(path),
                Err(source) => Err(DataError::Write { path, source }),
            }
        };
        Ok([
            write("card.md", self.to_markdown())?,
            write("card.json", self.to_json())?,
            write("card.html", self.to_html())?,
        ])
    }
}
