use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use crate::error::EvalError;

/// Ranks documents for a question by BM25, the baseline that a tuned model is held against: retrieval.
///
/// For a question's words `w`, each counted as often as it occurs,
/// `score(d) = Σ ln(1 + (N - n(w) + 0.5) / (n(w) + 0.5)) · f(w, d) / (f(w, d) + k1·(1 - b + b·|d| / mean |d|))`
/// with `N` documents, of which `n(w)` have the word, `f` occurrences and `|d|` words: Robertson and Zaragoza 2009,
/// with the inverse document frequency and without the factor `k1 + 1`, as Lucene since 8.0 (`BM25Similarity`). Lengths
/// are exact, where Lucene rounds those above 40 to 8 bits. Words are those of UAX #29, lower-cased, as Lucene's
/// `StandardTokenizer` cuts them; no stop words, no stemming.
///
/// ```
/// use burnisher_eval::Bm25Config;
///
/// let documents = ["Profit rose to EUR 12 million.", "The new plant opened in May."];
/// let index = Bm25Config::default().index(&documents)?;
/// assert_eq!(index.search("When did the plant open?", 1)[0].document, 1);
/// assert!(index.search("unheard words", 3).is_empty());
/// # Ok::<(), burnisher_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bm25Config {
    /// How slowly more occurrences of a word count less; 1.2 by default, at least 0.
    pub k1: f64,
    /// How much long documents are marked down, from 0 (not at all) to 1; 0.75 by default.
    pub b: f64,
}

impl Default for Bm25Config {
    fn default() -> Self {
        Self { k1: 1.2, b: 0.75 }
    }
}

impl Bm25Config {
    /// Sets how slowly more occurrences of a word count less.
    pub fn with_k1(mut self, k1: f64) -> Self {
        self.k1 = k1;
        self
    }

    /// Sets how much long documents are marked down.
    pub fn with_b(mut self, b: f64) -> Self {
        self.b = b;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`EvalError::Option`] naming the value.
    pub fn validate(&self) -> Result<(), EvalError> {
        let wrong = |option, found: f64, wanted| {
            Err(EvalError::Option { metric: "bm25", option, found: found.to_string(), wanted })
        };
        if !(self.k1 >= 0.0 && self.k1.is_finite()) {
            return wrong("k1", self.k1, "a finite number of at least 0");
        }
        if !(0.0..=1.0).contains(&self.b) {
            return wrong("b", self.b, "a number from 0 to 1");
        }
        Ok(())
    }

    /// Counts the words of the documents.
    ///
    /// # Errors
    /// As [`Bm25Config::validate`].
    pub fn index(&self, documents: &[impl AsRef<str>]) -> Result<Bm25, EvalError> {
        self.validate()?;
        let mut postings: HashMap<String, Vec<Posting>> = HashMap::new();
        let mut lengths = Vec::with_capacity(documents.len());
        for (document, text) in documents.iter().enumerate() {
            let mut length = 0;
            for word in words(text.as_ref()) {
                length += 1;
                let list = postings.entry(word).or_default();
                match list.last_mut().filter(|posting| posting.document == document) {
                    Some(posting) => posting.count += 1,
                    None => list.push(Posting { document, count: 1 }),
                }
            }
            lengths.push(length);
        }
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
        // A document without words has no posting, so that a mean of 0 divides nothing.
        let norms =
            lengths.iter().map(|length| self.k1 * (1.0 - self.b + self.b * *length as f64 / mean)).collect();
        Ok(Bm25 { postings, norms })
    }
}

/// A document that has words of the question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bm25Hit {
    /// Its position in the list that was indexed.
    pub document: usize,
    /// Its score, above 0.
    pub score: f64,
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    document: usize,
    count: usize,
}

/// The words of documents, made by [`Bm25Config::index`].
#[derive(Debug, Clone)]
pub struct Bm25 {
    /// By word, in the order of the documents.
    postings: HashMap<String, Vec<Posting>>,
    /// `k1·(1 - b + b·|d| / mean |d|)` of each document.
    norms: Vec<f64>,
}

impl Bm25 {
    /// The number of documents.
    pub fn len(&self) -> usize {
        self.norms.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }

    /// The best `limit` documents that have a word of the question, best first; of equal ones the earlier first.
    pub fn search(&self, question: &str, limit: usize) -> Vec<Bm25Hit> {
        let mut scores: HashMap<usize, f64> = HashMap::new();
        for word in words(question) {
            let Some(list) = self.postings.get(&word) else { continue };
            let (all, having) = (self.norms.len() as f64, list.len() as f64);
            let weight = (1.0 + (all - having + 0.5) / (having + 0.5)).ln();
            for Posting { document, count } in list {
                let count = *count as f64;
                *scores.entry(*document).or_insert(0.0) += weight * count / (count + self.norms[*document]);
            }
        }
        let mut hits: Vec<Bm25Hit> =
            scores.into_iter().map(|(document, score)| Bm25Hit { document, score }).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
        hits.truncate(limit);
        hits
    }
}

/// The words of a text, as [`Bm25`] counts them.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.unicode_words().map(str::to_lowercase)
}

/// Cuts a text into passages of at most `words` words, each but the first beginning with the last `overlap` words of the
/// one before. Passages are parts of the text, with the marks between their words.
///
/// # Errors
/// [`EvalError::Option`] for no words, or an overlap that is not below `words`.
pub fn passages(text: &str, words: usize, overlap: usize) -> Result<Vec<&str>, EvalError> {
    if overlap >= words {
        return Err(EvalError::Option {
            metric: "passages",
            option: "overlap",
            found: format!("{overlap} of {words} words"),
            wanted: "fewer words than a passage has",
        });
    }
    let starts: Vec<usize> = text.unicode_word_indices().map(|(at, _)| at).collect();
    let mut passages = Vec::new();
    let mut first = 0;
    while first < starts.len() {
        let end = starts.get(first + words).map_or(text.len(), |end| *end);
        let start = if first == 0 { 0 } else { starts[first] };
        passages.push(text[start..end].trim());
        if end == text.len() {
            break;
        }
        first += words - overlap;
    }
    Ok(passages)
}
