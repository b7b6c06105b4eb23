//! BLEU: shared n-grams of a translation and its references, with a penalty for brevity.

mod config;
mod tokenize;

use std::fmt;
use std::ops::AddAssign;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::config::{BleuConfig, Smoothing};
pub use self::tokenize::BleuTokenizer;
use crate::error::{EvalError, check_references};
use crate::interner::Interner;
use crate::ngrams::{clipped_matches, total};
use crate::signature::{Signature, case, yes_no};
use crate::text::{is_space, words};

const METRIC: &str = "bleu";

/// What BLEU needs of an example. The counts of a corpus are the sum of those of its examples.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BleuCounts {
    /// Per order, from 1: n-grams of the prediction that a reference has, each as often as the reference that
    /// has it most often.
    pub matches: Vec<u64>,
    /// Per order, from 1: n-grams of the prediction.
    pub totals: Vec<u64>,
    /// Words of the prediction.
    pub prediction_length: u64,
    /// Words of the reference closest in length, the shorter of two equally close.
    pub reference_length: u64,
}

impl AddAssign<&BleuCounts> for BleuCounts {
    fn add_assign(&mut self, other: &BleuCounts) {
        let pairs = [(&mut self.matches, &other.matches), (&mut self.totals, &other.totals)];
        for (mine, theirs) in pairs {
            mine.resize(mine.len().max(theirs.len()), 0);
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.prediction_length += other.prediction_length;
        self.reference_length += other.reference_length;
    }
}

/// A BLEU score and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BleuScore {
    /// The score, 0..100.
    pub score: f64,
    /// Per order, from 1: matching n-grams, with what [`Smoothing::AddK`] added.
    pub counts: Vec<f64>,
    /// Per order, from 1: n-grams of the predictions, with what [`Smoothing::AddK`] added.
    pub totals: Vec<f64>,
    /// Per order, from 1: precision after smoothing, 0..100.
    pub precisions: Vec<f64>,
    /// exp(1 − reference length / prediction length) for predictions shorter than their references, else 1.
    pub brevity_penalty: f64,
    /// Words of the predictions.
    pub prediction_length: u64,
    /// Words of the closest references.
    pub reference_length: u64,
}

impl BleuScore {
    /// What follows the score in sacrebleu's line: `82.9/70.1/56.7/48.3 (BP = 1.000 ratio = 1.000 hyp_len = 117
    /// ref_len = 117)`.
    pub fn details(&self) -> String {
        let precisions: Vec<String> = self.precisions.iter().map(|p| format!("{p:.1}")).collect();
        let (hypothesis, reference) = (self.prediction_length, self.reference_length);
        let ratio = if reference == 0 { 0.0 } else { hypothesis as f64 / reference as f64 };
        format!(
            "{} (BP = {:.3} ratio = {ratio:.3} hyp_len = {hypothesis} ref_len = {reference})",
            precisions.join("/"),
            self.brevity_penalty,
        )
    }
}

impl fmt::Display for BleuScore {
    /// sacrebleu's line: `BLEU = 63.15 82.9/70.1/56.7/48.3 (BP = 1.000 ratio = 1.000 hyp_len = 117 ref_len =
    /// 117)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BLEU = {:.2} {}", self.score, self.details())
    }
}

/// BLEU (Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"), as
/// sacrebleu 2.6.0 computes it. Made by [`BleuConfig::init`].
#[derive(Debug, Clone)]
pub struct Bleu {
    config: BleuConfig,
}

impl Bleu {
    /// The counts of one prediction against its references, from which [`score`](Self::score) follows.
    ///
    /// Without references nothing matches and the reference length is 0.
    pub fn counts<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> BleuCounts {
        let prediction = self.prepare(prediction);
        let references: Vec<String> =
            references.iter().map(|reference| self.prepare(reference.as_ref())).collect();
        let mut interner = Interner::default();
        let prediction = interner.numbers(words(&prediction));
        let references: Vec<Vec<u32>> =
            references.iter().map(|reference| interner.numbers(words(reference))).collect();

        let slices: Vec<&[u32]> = references.iter().map(Vec::as_slice).collect();
        let matches = clipped_matches(&prediction, &slices, self.config.max_order);
        let totals = (1..=self.config.max_order).map(|order| total(prediction.len(), order)).collect();
        let closest =
            references.iter().map(Vec::len).min_by_key(|length| (length.abs_diff(prediction.len()), *length));
        BleuCounts {
            matches,
            totals,
            prediction_length: prediction.len() as u64,
            reference_length: closest.unwrap_or(0) as u64,
        }
    }

    /// The score of counts, of one example or of many added up.
    ///
    /// 0 when no n-gram of any order matches, whatever the smoothing.
    pub fn score(&self, counts: &BleuCounts) -> BleuScore {
        let orders = self.config.max_order;
        let as_floats = |numbers: &[u64]| -> Vec<f64> {
            (0..orders).map(|at| numbers.get(at).copied().unwrap_or(0) as f64).collect()
        };
        let (mut matches, mut totals) = (as_floats(&counts.matches), as_floats(&counts.totals));
        let mut precisions = vec![0.0; orders];
        let brevity_penalty = brevity_penalty(counts.prediction_length, counts.reference_length);
        let mut score = 0.0;
        if matches.iter().any(|count| *count > 0.0) {
            let used = self.smooth(&mut matches, &mut totals, &mut precisions);
            // sacrebleu's stand-in for the logarithm of 0.
            let log = |p: f64| if p == 0.0 { -9_999_999_999.0 } else { p.ln() };
            let mean = precisions[..used].iter().map(|p| log(*p)).sum::<f64>() / used as f64;
            score = brevity_penalty * mean.exp();
        }
        BleuScore {
            score,
            counts: matches,
            totals,
            precisions,
            brevity_penalty,
            prediction_length: counts.prediction_length,
            reference_length: counts.reference_length,
        }
    }

    /// The score of a corpus, each prediction against its references: n-grams are added up before the score
    /// is taken.
    ///
    /// For sacrebleu's streams of references see [`reference_lists`].
    ///
    /// # Errors
    /// No examples, not equally many predictions and reference lists, an empty reference list.
    pub fn corpus<P: AsRef<str> + Sync, R: AsRef<str> + Sync>(
        &self,
        predictions: &[P],
        references: &[Vec<R>],
    ) -> Result<BleuScore, EvalError> {
        check_references(METRIC, predictions.len(), references)?;
        let counts: Vec<BleuCounts> = predictions
            .par_iter()
            .zip(references)
            .map(|(prediction, references)| self.counts(prediction.as_ref(), references))
            .collect();
        let mut sum = BleuCounts::default();
        for counts in &counts {
            sum += counts;
        }
        Ok(self.score(&sum))
    }

    /// The score of one prediction. Take [`BleuConfig::for_sentences`], or a short sentence scores near 0.
    pub fn sentence<R: AsRef<str>>(&self, prediction: &str, references: &[R]) -> BleuScore {
        self.score(&self.counts(prediction, references))
    }

    /// sacrebleu's signature of these options for these references, such as
    /// `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0`.
    pub fn signature<R>(&self, references: &[Vec<R>]) -> Signature {
        let BleuConfig { lowercase, effective_order, tokenizer, smoothing, .. } = &self.config;
        Signature::new(
            references,
            [
                ("case", "c", case(*lowercase)),
                ("eff", "e", yes_no(*effective_order)),
                ("tok", "tok", tokenizer.name().to_owned()),
                ("smooth", "s", smoothing.to_string()),
            ],
        )
    }

    fn prepare(&self, segment: &str) -> String {
        let tokenizer = self.config.tokenizer;
        match self.config.lowercase {
            true => tokenizer.tokenize(segment.to_lowercase().trim_end_matches(is_space)),
            false => tokenizer.tokenize(segment.trim_end_matches(is_space)),
        }
    }

    /// Fills in the precisions and gives the number of orders that enter the mean.
    fn smooth(&self, matches: &mut [f64], totals: &mut [f64], precisions: &mut [f64]) -> usize {
        let mut used = matches.len();
        let mut halved = 1.0;
        for order in 0..precisions.len() {
            if let (Smoothing::AddK(k), true) = (self.config.smoothing, order > 0) {
                matches[order] += k;
                totals[order] += k;
            }
            if totals[order] == 0.0 {
                break;
            }
            if self.config.effective_order {
                used = order + 1;
            }
            precisions[order] = if matches[order] > 0.0 {
                100.0 * matches[order] / totals[order]
            } else {
                match self.config.smoothing {
                    Smoothing::Exp => {
                        halved *= 2.0;
                        100.0 / (halved * totals[order])
                    }
                    Smoothing::Floor(value) => 100.0 * value / totals[order],
                    Smoothing::AddK(_) | Smoothing::None => 0.0,
                }
            };
        }
        used
    }
}

/// Turns sacrebleu's reference streams (one list per reference, `None` where a segment lacks it) into one
/// list of references per segment.
///
/// # Errors
/// Streams of different lengths, a segment without any reference.
pub fn reference_lists<S: Clone>(streams: &[Vec<Option<S>>]) -> Result<Vec<Vec<S>>, EvalError> {
    let segments = streams.first().map_or(0, Vec::len);
    if let Some(stream) = streams.iter().position(|stream| stream.len() != segments) {
        let found = streams[stream].len();
        return Err(EvalError::StreamLength { metric: METRIC, stream, found, wanted: segments });
    }
    let lists: Vec<Vec<S>> = (0..segments)
        .map(|segment| streams.iter().filter_map(|stream| stream[segment].clone()).collect())
        .collect();
    check_references(METRIC, segments, &lists)?;
    Ok(lists)
}

fn brevity_penalty(prediction: u64, reference: u64) -> f64 {
    match prediction {
        0 if reference > 0 => 0.0,
        _ if prediction < reference => (1.0 - reference as f64 / prediction as f64).exp(),
        _ => 1.0,
    }
}
