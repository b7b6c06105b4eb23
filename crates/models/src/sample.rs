//! From logits to the next token.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::config::GenerationConfig;
use crate::error::{ConfigProblem, ModelError};

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sampling {
    /// The token with the highest logit; equal logits go to the lowest id.
    Greedy,
    /// A draw.
    Random(SampleConfig),
}

/// How to draw the next token.
///
/// In the order of transformers: the repetition penalty, then temperature, top-k, top-p, and a draw from what is left.
/// With `top_k` of 1 nothing is left to chance, and only the penalty makes a difference to [`Sampling::Greedy`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SampleConfig {
    /// Divides the logits; above 0.
    pub temperature: f64,
    /// Keeps the `k` highest logits, and those equal to the last of them.
    pub top_k: Option<usize>,
    /// Keeps the smallest set of likeliest tokens whose probabilities add up to at least this; above 0, at most 1.
    pub top_p: Option<f64>,
    /// Divides the positive and multiplies the negative logits of tokens that were there before; 1 changes nothing.
    pub repetition_penalty: f64,
}

impl SampleConfig {
    /// From all tokens, at `temperature`.
    pub fn new(temperature: f64) -> Self {
        Self { temperature, top_k: None, top_p: None, repetition_penalty: 1.0 }
    }

    /// Keeps the `k` likeliest tokens.
    #[must_use]
    pub fn with_top_k(self, k: usize) -> Self {
        Self { top_k: Some(k), ..self }
    }

    /// Keeps the likeliest tokens that together have probability `p`.
    #[must_use]
    pub fn with_top_p(self, p: f64) -> Self {
        Self { top_p: Some(p), ..self }
    }

    /// Makes tokens less likely that were there before; above 1.
    #[must_use]
    pub fn with_repetition_penalty(self, repetition_penalty: f64) -> Self {
        Self { repetition_penalty, ..self }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ModelError::Setting`] with the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let check = |good: bool, field: &str, found: String, wanted: &str| match good {
            true => Ok(()),
            false => Err(ModelError::Setting(ConfigProblem::new(field, found, wanted))),
        };
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let (temperature, penalty) = (self.temperature, self.repetition_penalty);
        check(positive(temperature), "temperature", temperature.to_string(), "a positive number")?;
        check(positive(penalty), "repetition_penalty", penalty.to_string(), "a positive number")?;
        if let Some(k) = self.top_k {
            check(k > 0, "top_k", k.to_string(), "an integer from 1")?;
        }
        if let Some(p) = self.top_p {
            check(p > 0.0 && p <= 1.0, "top_p", p.to_string(), "a number above 0, at most 1")?;
        }
        Ok(())
    }
}

impl Sampling {
    /// What a model's `generation_config.json` asks for. A temperature of 0, and no `do_sample`, are greedy.
    pub fn from_generation_config(config: &GenerationConfig) -> Self {
        let penalty = config.repetition_penalty.unwrap_or(1.0);
        let temperature = config.temperature.unwrap_or(1.0);
        if config.do_sample && temperature > 0.0 {
            let (top_k, top_p) = (config.top_k, config.top_p);
            Self::Random(SampleConfig { temperature, top_k, top_p, repetition_penalty: penalty })
        } else if penalty != 1.0 {
            Self::Random(SampleConfig::new(1.0).with_top_k(1).with_repetition_penalty(penalty))
        } else {
            Self::Greedy
        }
    }

    /// The next token.
    ///
    /// `logits` is one row `[vocab_size]`, where minus infinity excludes a token; `history` holds the tokens before it,
    /// for the repetition penalty. A draw is a function of `seed` and `stream` alone: the caller numbers the draws, by
    /// step and sequence.
    ///
    /// # Errors
    /// [`ModelError::NonFinite`] where a logit is NaN or plus infinity, and those of [`SampleConfig::validate`].
    ///
    /// # Panics
    /// Where `logits` is empty.
    pub fn pick(&self, logits: &[f32], history: &[u32], seed: u64, stream: u64) -> Result<u32, ModelError> {
        assert!(!logits.is_empty(), "logits: found an empty row, wanted one value per token");
        if let Some(index) = logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            let (tensor, value) = ("logits".to_owned(), logits[index]);
            return Err(ModelError::NonFinite { path: None, tensor, index, value });
        }
        let config = match self {
            Self::Greedy => return Ok(argmax(logits)),
            Self::Random(config) => config,
        };
        config.validate()?;
        let penalized = penalize(logits, history, config.repetition_penalty as f32);
        let logits = penalized.as_deref().unwrap_or(logits);
        let candidates = candidates(logits, config.temperature, config.top_k, config.top_p);
        Ok(draw(&candidates, uniform(seed, stream)))
    }
}

/// A token and its probability, not necessarily normalized.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    token: u32,
    weight: f64,
}

/// The id of the highest logit, the lowest such id.
fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// The logits with the repetition penalty (Keskar et al., "CTRL", 2019), once for each token of the history; `None` if
/// it changes nothing.
fn penalize(logits: &[f32], history: &[u32], penalty: f32) -> Option<Vec<f32>> {
    if penalty == 1.0 || history.is_empty() {
        return None;
    }
    let mut penalized = logits.to_vec();
    for &token in history {
        let token = token as usize;
        // From the original logit: a token that was there twice is punished once.
        if let Some(&logit) = logits.get(token) {
            penalized[token] = if logit < 0.0 { logit * penalty } else { logit / penalty };
        }
    }
    Some(penalized)
}

/// What top-k and top-p leave, likeliest first; never empty. Weights are relative to the likeliest token's.
fn candidates(logits: &[f32], temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Vec<Candidate> {
    let highest = f64::from(logits[argmax(logits) as usize]);
    let mut candidates: Vec<Candidate> = logits
        .iter()
        .enumerate()
        .map(|(token, &logit)| Candidate {
            token: token as u32,
            // All logits minus infinity leaves every token as likely as any other.
            weight: if highest.is_finite() {
                ((f64::from(logit) - highest) / temperature).exp()
            } else {
                1.0
            },
        })
        .collect();
    // The sort is stable: equal tokens stay in the order of their ids.
    candidates.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    if let Some(k) = top_k {
        keep_top_k(&mut candidates, k);
    }
    if let Some(p) = top_p {
        keep_top_p(&mut candidates, p);
    }
    candidates
}

/// Keeps the first `k` and their equals, as transformers does.
fn keep_top_k(candidates: &mut Vec<Candidate>, k: usize) {
    if let Some(last) = candidates.get(k.saturating_sub(1)).copied() {
        let kept = candidates.partition_point(|candidate| candidate.weight >= last.weight);
        candidates.truncate(kept);
    }
}

/// Keeps the shortest prefix whose weights add up to at least the share `p` of all.
fn keep_top_p(candidates: &mut Vec<Candidate>, p: f64) {
    let wanted = p * candidates.iter().map(|candidate| candidate.weight).sum::<f64>();
    let mut sum = 0.0;
    let before = candidates.iter().take_while(|candidate| {
        let short = sum < wanted;
        sum += candidate.weight;
        short
    });
    let kept = before.count().max(1);
    candidates.truncate(kept);
}

/// The candidate at `point` of the candidates laid end to end, from 0 to below 1.
fn draw(candidates: &[Candidate], point: f64) -> u32 {
    let mut left = point * candidates.iter().map(|candidate| candidate.weight).sum::<f64>();
    for candidate in candidates {
        if left < candidate.weight {
            return candidate.token;
        }
        left -= candidate.weight;
    }
    // Rounding can leave a rest; it belongs to the last token that has any weight.
    let last = candidates.iter().rev().find(|candidate| candidate.weight > 0.0);
    last.map_or(0, |candidate| candidate.token)
}

/// A number from 0 to below 1 that depends on seed and stream alone: the first of this stream of ChaCha8.
fn uniform(seed: u64, stream: u64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(values: &[f64]) -> Vec<Candidate> {
        (0..).zip(values).map(|(token, &weight)| Candidate { token, weight }).collect()
    }

    fn tokens(candidates: &[Candidate]) -> Vec<u32> {
        candidates.iter().map(|candidate| candidate.token).collect()
    }

    #[test]
    fn argmax_takes_the_first_of_equals() {
        for (logits, expected) in [
            (&[1.0][..], 0),
            (&[1.0, 3.0, 3.0], 1),
            (&[f32::NEG_INFINITY, -5.0], 1),
            (&[f32::NEG_INFINITY; 2], 0),
        ] {
            assert_eq!(argmax(logits), expected, "{logits:?}");
        }
    }

    #[test]
    fn top_k_keeps_equals_of_the_last() {
        for (k, kept) in [(1, 1), (2, 3), (3, 3), (4, 4), (5, 5), (99, 5)] {
            let mut candidates = weights(&[8.0, 4.0, 4.0, 2.0, 1.0]);
            keep_top_k(&mut candidates, k);
            assert_eq!(candidates.len(), kept, "k = {k}");
        }
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_it() {
        // Shares: 1/2, 1/4, 1/8, 1/8, all exact in binary.
        for (p, kept) in
            [(1e-9, 1), (0.5, 1), (0.500001, 2), (0.75, 2), (0.8, 3), (0.875, 3), (0.9, 4), (1.0, 4)]
        {
            let mut candidates = weights(&[4.0, 2.0, 1.0, 1.0]);
            keep_top_p(&mut candidates, p);
            assert_eq!(candidates.len(), kept, "p = {p}");
        }
    }

    #[test]
    fn top_p_counts_what_top_k_left() {
        let logits: Vec<f32> = [4.0f32, 2.0, 1.0, 1.0].iter().map(|weight| weight.ln()).collect();
        // Of the two that top-k leaves, the first has 2/3.
        assert_eq!(tokens(&candidates(&logits, 1.0, Some(2), Some(0.6))), [0]);
        assert_eq!(tokens(&candidates(&logits, 1.0, Some(2), Some(0.7))), [0, 1]);
        assert_eq!(tokens(&candidates(&logits, 1.0, None, Some(0.6))), [0, 1]);
    }

    #[test]
    fn temperature_divides_the_logits() {
        let candidates = candidates(&[0.0, 2.0, f32::NEG_INFINITY], 2.0, None, None);
        assert_eq!(tokens(&candidates), [1, 0, 2]);
        assert_eq!(candidates[0].weight, 1.0);
        assert!((candidates[1].weight - (-1.0f64).exp()).abs() < 1e-15);
        assert_eq!(candidates[2].weight, 0.0);
    }

    #[test]
    fn a_draw_follows_the_weights_laid_end_to_end() {
        let candidates = weights(&[4.0, 2.0, 1.0, 1.0, 0.0]);
        for (point, token) in
            [(0.0, 0), (0.4999, 0), (0.5, 1), (0.7499, 1), (0.75, 2), (0.875, 3), (0.9999, 3)]
        {
            assert_eq!(draw(&candidates, point), token, "at {point}");
        }
        // Sixteen equal points are the distribution, exactly.
        let mut counts = [0; 5];
        (0..16).for_each(|i| counts[draw(&candidates, f64::from(i) / 16.0) as usize] += 1);
        assert_eq!(counts, [8, 4, 2, 2, 0]);
    }

    #[test]
    fn a_repeated_token_is_punished_once() {
        let penalized = penalize(&[2.0, -2.0, 3.0], &[0, 1, 1, 0, 99], 2.0);
        assert_eq!(penalized.as_deref(), Some(&[1.0, -4.0, 3.0][..]));
        assert_eq!(penalize(&[2.0], &[0], 1.0), None);
        assert_eq!(penalize(&[2.0], &[], 2.0), None);
    }

    #[test]
    fn uniform_depends_on_seed_and_stream() {
        let all: Vec<f64> =
            (0..3).flat_map(|seed| (0..100).map(move |stream| uniform(seed, stream))).collect();
        assert!(all.iter().all(|point| (0.0..1.0).contains(point)));
        let mut distinct: Vec<u64> = all.iter().map(|point| point.to_bits()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(uniform(2, 99), all[299]);
    }
}
