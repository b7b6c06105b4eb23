use std::collections::HashMap;

use xxhash_rust::xxh64::xxh64;

use crate::error::DataError;

/// What an [`OverlapIndex`] holds. The defaults are those of datatrove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlapConfig {
    /// Words per n-gram; 12 by default.
    pub ngram: usize,
    /// Whether n-grams of the question count; false by default.
    pub query_ngrams: bool,
    /// Whether n-grams across the end of the question and the start of the answer count; true by default.
    pub overlap_ngrams: bool,
}

impl Default for OverlapConfig {
    fn default() -> Self {
        Self { ngram: 12, query_ngrams: false, overlap_ngrams: true }
    }
}

impl OverlapConfig {
    /// Sets the words per n-gram.
    #[must_use]
    pub fn with_ngram(mut self, ngram: usize) -> Self {
        self.ngram = ngram;
        self
    }

    /// Sets whether n-grams of the question count.
    #[must_use]
    pub fn with_query_ngrams(mut self, query_ngrams: bool) -> Self {
        self.query_ngrams = query_ngrams;
        self
    }

    /// Sets whether n-grams across question and answer count.
    #[must_use]
    pub fn with_overlap_ngrams(mut self, overlap_ngrams: bool) -> Self {
        self.overlap_ngrams = overlap_ngrams;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if an n-gram has no word.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.ngram == 0 {
            let found = self.ngram.to_string();
            return Err(DataError::InvalidConfig { field: "ngram", found, wanted: "at least 1 word" });
        }
        Ok(())
    }
}

/// The n-grams of evaluation tasks, as datatrove 0.10 keeps them (`pipeline/decont/n_grams.py`): those of the answer
/// (the label), those across the end of the question (the query) and the start of the answer, and those of the question
/// if asked for. A training document is contaminated if it holds any; its first one is reported.
///
/// Texts come as words, since datatrove splits the simplified text with spaCy. n-grams are compared by the 64-bit XXH64
/// of their words joined by one space, as there.
#[derive(Debug, Clone)]
pub struct OverlapIndex {
    config: OverlapConfig,
    /// The task that first had each n-gram, by hash.
    tasks: HashMap<u64, usize>,
    names: Vec<String>,
}

/// The first n-gram of a document that an [`OverlapIndex`] knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverlapHit {
    /// The n-gram, its words joined by a space.
    pub ngram: String,
    /// The number of its first word in the document.
    pub word: usize,
    /// The task that has it.
    pub task: String,
}

impl OverlapIndex {
    /// An empty index.
    ///
    /// # Errors
    ///
    /// As [`OverlapConfig::validate`].
    pub fn new(config: OverlapConfig) -> Result<Self, DataError> {
        config.validate()?;
        Ok(Self { config, tasks: HashMap::new(), names: Vec::new() })
    }

    /// Adds an example of a task, and returns its n-grams in datatrove's order.
    pub fn add<S: AsRef<str>>(&mut self, task: &str, query: &[S], label: &[S]) -> Vec<String> {
        let number = self.names.iter().position(|name| name == task).unwrap_or_else(|| {
            self.names.push(task.to_owned());
            self.names.len() - 1
        });
        let query: Vec<&str> = query.iter().map(AsRef::as_ref).collect();
        let label: Vec<&str> = label.iter().map(AsRef::as_ref).collect();
        let n = self.config.ngram;
        let mut ngrams: Vec<String> = label.windows(n).map(|window| window.join(" ")).collect();
        if self.config.query_ngrams {
            ngrams.extend(query.windows(n).map(|window| window.join(" ")));
        }
        if self.config.overlap_ngrams {
            for behind in 1..n {
                let before = n - behind;
                if query.len() >= before && label.len() >= behind {
                    ngrams.push([&query[query.len() - before..], &label[..behind]].concat().join(" "));
                }
            }
        }
        for ngram in &ngrams {
            self.tasks.entry(xxh64(ngram.as_bytes(), 0)).or_insert(number);
        }
        ngrams
    }

    /// The number of different n-grams.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is no n-gram.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The first n-gram of a document that a task has; `None` if the document is clean.
    pub fn first_hit<S: AsRef<str>>(&self, words: &[S]) -> Option<OverlapHit> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        words.windows(self.config.ngram).enumerate().find_map(|(word, window)| {
            let ngram = window.join(" ");
            let task = *self.tasks.get(&xxh64(ngram.as_bytes(), 0))?;
            Some(OverlapHit { ngram, word, task: self.names[task].clone() })
        })
    }
}
