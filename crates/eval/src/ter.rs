//! TER: edits that turn a translation into its reference, where moving words counts as one.

mod config;
mod distance;
mod shift;
mod tokenize;

use std::ops::AddAssign;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::config::TerConfig;
use self::shift::edits;
use crate::error::{EvalError, check_references};
use crate::interner::Interner;
use crate::signature::{Signature, case, yes_no};
use crate::text::{is_space, words};

const METRIC: &str = "ter";

/// What TER needs of an example. The counts of a corpus are the sum of those of its examples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TerCounts {
    /// Edits against the reference that needs the fewest.
    pub edits: u64,
    /// Mean number of words of the references.
    pub reference_length: f64,
}

impl AddAssign<&TerCounts> for TerCounts {
    fn add_assign(&mut self, other: &TerCounts) {
        self.edits += other.edits;
        self.reference_length += other.reference_length;
    }
}

/// TER (Snover et al. 2006, "A Study of Translation Edit Rate with Targeted Human Annotation"), as sacrebleu
/// 2.6.0 computes it, which follows Tercom. Made by [`TerConfig::init`].
#[derive(Debug, Clone)]
pub struct Ter {
    config: TerConfig,
}

impl Ter {
    /// The text as TER compares it; its words are what white space separates.
    pub fn tokenize(&self, text: &str) -> String {
        tokenize::tokenize(text.trim_end_matches(is_space), &self.config)
    }

    /// The counts of one prediction against its references; both 0 without references.
    pub fn counts<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> TerCounts {
        let prediction = self.tokenize(prediction);
        let references: Vec<String> =
            references.iter().map(|reference| self.tokenize(reference.as_ref())).collect();
        let mut interner = Interner::default();
        let prediction = interner.numbers(words(&prediction));
        let (mut best, mut length) = (None::<u64>, 0);
        for reference in &references {
            let reference = interner.numbers(words(reference));
            length += reference.len();
            let found = edits(&prediction, &reference);
            best = Some(best.map_or(found, |best| best.min(found)));
        }
        let mean = if references.is_empty() { 0.0 } else { length as f64 / references.len() as f64 };
        TerCounts { edits: best.unwrap_or(0), reference_length: mean }
    }

    /// The score of counts, of one example or of many added up: edits per 100 words of the reference, lower is
    /// better. 100 for edits without a word of reference.
    pub fn score(&self, counts: &TerCounts) -> f64 {
        if counts.reference_length > 0.0 {
            100.0 * (counts.edits as f64 / counts.reference_length)
        } else if counts.edits > 0 {
            100.0
        } else {
            0.0
        }
    }

    /// The counts of a corpus, each prediction against its references. [`score`](Self::score) gives its TER.
    ///
    /// # Errors
    /// No examples, not equally many predictions and reference lists, an empty reference list.
    pub fn corpus<P: AsRef<str> + Sync, R: AsRef<str> + Sync>(
        &self,
        predictions: &[P],
        references: &[Vec<R>],
    ) -> Result<TerCounts, EvalError> {
        check_references(METRIC, predictions.len(), references)?;
        let counts: Vec<TerCounts> = predictions
            .par_iter()
            .zip(references)
            .map(|(prediction, references)| self.counts(prediction.as_ref(), references))
            .collect();
        let mut sum = TerCounts::default();
        for counts in &counts {
            sum += counts;
        }
        Ok(sum)
    }

    /// sacrebleu's signature of these options for these references.
    pub fn signature<R>(&self, references: &[Vec<R>]) -> Signature {
        let config = &self.config;
        Signature::new(
            references,
            [
                ("case", "c", case(!config.case_sensitive)),
                ("tok", "t", "tercom".to_owned()),
                ("norm", "nr", yes_no(config.normalized)),
                ("punct", "pn", yes_no(!config.no_punct)),
                ("asian", "as", yes_no(config.asian_support)),
            ],
        )
    }
}
