//! chrF, chrF+ and chrF++: shared character n-grams, and with plus signs also word n-grams.

mod config;

use std::ops::AddAssign;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::config::ChrfConfig;
use crate::error::{EvalError, check_references};
use crate::interner::Interner;
use crate::ngrams::{clipped_matches, total};
use crate::signature::{Signature, case, yes_no};
use crate::text::{is_space, words};

const METRIC: &str = "chrf";

/// The n-grams of one order. Those of a corpus are the sum of those of its examples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChrfOrder {
    /// N-grams of the prediction; 0 when the reference has none of this order.
    pub prediction: u64,
    /// N-grams of the reference.
    pub reference: u64,
    /// N-grams both have, each as often as the side with fewer of it.
    pub matches: u64,
}

/// What chrF needs of an example: the character orders from 1, then the word orders from 1, all against the
/// reference that fits best.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChrfCounts {
    /// One entry per order.
    pub orders: Vec<ChrfOrder>,
}

impl AddAssign<&ChrfCounts> for ChrfCounts {
    fn add_assign(&mut self, other: &ChrfCounts) {
        self.orders.resize(self.orders.len().max(other.orders.len()), ChrfOrder::default());
        for (mine, theirs) in self.orders.iter_mut().zip(&other.orders) {
            mine.prediction += theirs.prediction;
            mine.reference += theirs.reference;
            mine.matches += theirs.matches;
        }
    }
}

/// chrF (Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation") and chrF++ (Popović 2017,
/// "chrF++: words helping character n-grams"), as sacrebleu 2.6.0 computes them. Made by [`ChrfConfig::init`].
#[derive(Debug, Clone)]
pub struct Chrf {
    config: ChrfConfig,
}

/// A text ready for counting: characters and words as numbers.
struct Prepared {
    characters: Vec<u32>,
    words: Vec<u32>,
}

impl Chrf {
    /// `chrF2`, `chrF2++`, …: beta, and a plus sign per word order.
    pub fn name(&self) -> String {
        format!("chrF{}{}", self.config.beta, "+".repeat(self.config.word_order))
    }

    /// The counts of one prediction against the reference with the highest score, the first of equals.
    ///
    /// Without references all counts are 0.
    pub fn counts<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> ChrfCounts {
        let lower = |text: &str| if self.config.lowercase { text.to_lowercase() } else { text.to_owned() };
        let prediction = lower(prediction);
        let references: Vec<String> = references.iter().map(|reference| lower(reference.as_ref())).collect();
        let mut interner = Interner::default();
        let prediction = self.prepare(&prediction, &mut interner);
        let mut best: Option<(f64, ChrfCounts)> = None;
        for reference in &references {
            let counts = self.compare(&prediction, &self.prepare(reference, &mut interner));
            let score = self.score(&counts);
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, counts));
            }
        }
        let orders = self.config.char_order + self.config.word_order;
        best.map_or_else(|| ChrfCounts { orders: vec![ChrfOrder::default(); orders] }, |(_, counts)| counts)
    }

    /// The score of counts, of one example or of many added up, 0..100.
    pub fn score(&self, counts: &ChrfCounts) -> f64 {
        const TINY: f64 = 1e-16;
        let factor = f64::from(self.config.beta).powi(2);
        let (mut smoothed, mut precision, mut recall, mut used) = (0.0, 0.0, 0.0, 0.0);
        for order in &counts.orders {
            let share = |whole: u64| if whole > 0 { order.matches as f64 / whole as f64 } else { TINY };
            let (p, r) = (share(order.prediction), share(order.reference));
            let weighted = factor * p + r;
            smoothed += if weighted > 0.0 { (1.0 + factor) * p * r / weighted } else { TINY };
            if order.prediction > 0 && order.reference > 0 {
                precision += p;
                recall += r;
                used += 1.0;
            }
        }
        if self.config.eps_smoothing {
            return 100.0 * smoothed / (self.config.char_order + self.config.word_order) as f64;
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / used, recall / used);
        100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
    }

    /// The score of a corpus, 0..100, each prediction against its references: counts are added up before the
    /// score is taken.
    ///
    /// # Errors
    /// No examples, not equally many predictions and reference lists, an empty reference list.
    pub fn corpus<P: AsRef<str> + Sync, R: AsRef<str> + Sync>(
        &self,
        predictions: &[P],
        references: &[Vec<R>],
    ) -> Result<f64, EvalError> {
        check_references(METRIC, predictions.len(), references)?;
        let counts: Vec<ChrfCounts> = predictions
            .par_iter()
            .zip(references)
            .map(|(prediction, references)| self.counts(prediction.as_ref(), references))
            .collect();
        let mut sum = ChrfCounts::default();
        for counts in &counts {
            sum += counts;
        }
        Ok(self.score(&sum))
    }

    /// The score of one prediction, 0..100.
    pub fn sentence<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> f64 {
        self.score(&self.counts(prediction, references))
    }

    /// sacrebleu's signature of these options for these references.
    pub fn signature<R>(&self, references: &[Vec<R>]) -> Signature {
        let config = &self.config;
        Signature::new(
            references,
            [
                ("case", "c", case(config.lowercase)),
                ("eff", "e", yes_no(!config.eps_smoothing)),
                ("nc", "nc", config.char_order.to_string()),
                ("nw", "nw", config.word_order.to_string()),
                ("space", "s", yes_no(config.whitespace)),
            ],
        )
    }

    fn prepare<'a>(&self, text: &'a str, interner: &mut Interner<'a>) -> Prepared {
        let characters =
            text.chars().filter(|c| self.config.whitespace || !is_space(*c)).map(u32::from).collect();
        let words = match self.config.word_order {
            0 => Vec::new(),
            _ => interner.numbers(words(text).flat_map(split_word)),
        };
        Prepared { characters, words }
    }

    fn compare(&self, prediction: &Prepared, reference: &Prepared) -> ChrfCounts {
        let ChrfConfig { char_order, word_order, .. } = self.config;
        let orders = |prediction: &[u32], reference: &[u32], most| -> Vec<ChrfOrder> {
            clipped_matches(prediction, &[reference], most)
                .into_iter()
                .zip(1..)
                .map(|(matches, order)| {
                    let wanted = total(reference.len(), order);
                    let found = if wanted > 0 { total(prediction.len(), order) } else { 0 };
                    ChrfOrder { prediction: found, reference: wanted, matches }
                })
                .collect()
        };
        let mut all = orders(&prediction.characters, &reference.characters, char_order);
        all.extend(orders(&prediction.words, &reference.words, word_order));
        ChrfCounts { orders: all }
    }
}

/// A word without the ASCII punctuation at its end, or else at its beginning, and that punctuation.
fn split_word(word: &str) -> impl Iterator<Item = &str> {
    let last = word.len() - word.chars().next_back().map_or(0, char::len_utf8);
    let (head, tail) = if word.chars().nth(1).is_none() {
        (word, "")
    } else if word[last..].starts_with(|c: char| c.is_ascii_punctuation()) {
        word.split_at(last)
    } else if word.starts_with(|c: char| c.is_ascii_punctuation()) {
        word.split_at(1)
    } else {
        (word, "")
    };
    [head, tail].into_iter().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_leaves_a_word_at_one_end_only() {
        let rows: [(&str, &[&str]); 6] = [
            ("(hi)", &["(hi", ")"]),
            ("\"so", &["\"", "so"]),
            ("?", &["?"]),
            ("...", &["..", "."]),
            ("„Ja“", &["„Ja“"]),
            ("é", &["é"]),
        ];
        for (word, wanted) in rows {
            assert_eq!(split_word(word).collect::<Vec<_>>(), wanted, "{word}");
        }
    }
}
