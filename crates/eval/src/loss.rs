//! The loss of two models on the same texts.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{BootstrapConfig, Resample, paired_bootstrap};
use crate::error::{EvalError, check_systems};
use crate::perplexity::{TextLoss, check};

const METRIC: &str = "loss comparison";

/// The loss of a base and a tuned model on the same texts, tokenized alike. Lower is better.
///
/// Losses are nats per token, Σ losses / Σ tokens over the texts, so every token weighs the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossComparison {
    /// Loss of the base model.
    pub base: f64,
    /// Loss of the tuned model.
    pub tuned: f64,
    /// Tuned minus base.
    pub difference: f64,
    /// Bounds of the difference, from the paired bootstrap over texts.
    pub interval: [f64; 2],
    /// Bounds of the base model's loss.
    pub base_interval: [f64; 2],
    /// Bounds of the tuned model's loss.
    pub tuned_interval: [f64; 2],
    /// exp(base).
    pub base_perplexity: f64,
    /// exp(tuned).
    pub tuned_perplexity: f64,
    /// 100 · (tuned / base − 1), per cent of the loss.
    pub relative_change: f64,
    /// Two-sided, of the difference ([`PairedEstimate`](crate::PairedEstimate)).
    pub p_value: f64,
    /// Number of texts.
    pub count: usize,
    /// Number of scored tokens.
    pub tokens: usize,
}

impl LossComparison {
    /// Compares the losses of the same texts, in the same order.
    ///
    /// # Errors
    /// No texts, not equally many for both, a text without tokens or with different numbers of tokens, a loss
    /// that is not finite, a base loss of 0, a perplexity too large for a float, bootstrap options out of
    /// range.
    pub fn new(base: &[TextLoss], tuned: &[TextLoss], config: &BootstrapConfig) -> Result<Self, EvalError> {
        check_pairs(base, tuned)?;
        let estimate = paired_bootstrap(base, tuned, config, loss_per_token)?;
        let (before, after) = (estimate.base.value, estimate.tuned.value);
        if before <= 0.0 {
            return Err(EvalError::NoRelativeChange { metric: METRIC, loss: before });
        }
        for loss in [before, after] {
            if !loss.exp().is_finite() {
                return Err(EvalError::Statistic {
                    place: format!("the examples (perplexity of a loss of {loss})"),
                    value: loss.exp(),
                });
            }
        }
        Ok(Self {
            base: before,
            tuned: after,
            difference: estimate.difference.value,
            interval: estimate.difference.interval,
            base_interval: estimate.base.interval,
            tuned_interval: estimate.tuned.interval,
            base_perplexity: before.exp(),
            tuned_perplexity: after.exp(),
            relative_change: 100.0 * (after / before - 1.0),
            p_value: estimate.p_value,
            count: base.len(),
            tokens: base.iter().map(|text| text.tokens).sum(),
        })
    }
}

/// The losses of both systems must be of the same texts in the same tokens.
pub(crate) fn check_pairs(base: &[TextLoss], tuned: &[TextLoss]) -> Result<(), EvalError> {
    check_systems(METRIC, base.len(), tuned.len())?;
    check("loss comparison, base", base)?;
    check("loss comparison, tuned", tuned)?;
    match base.iter().zip(tuned).position(|(base, tuned)| base.tokens != tuned.tokens) {
        None => Ok(()),
        Some(index) => {
            let (base, tuned) = (base[index].tokens, tuned[index].tokens);
            Err(EvalError::TokenMismatch { metric: METRIC, index, base, tuned })
        }
    }
}

/// Σ losses / Σ tokens, as a statistic for [`bootstrap`](fn@crate::bootstrap) and [`paired_bootstrap`]; its
/// exponential is [`corpus_perplexity`](crate::corpus_perplexity).
pub fn loss_per_token(texts: Resample<'_, TextLoss>) -> f64 {
    let (sum, tokens) = texts.fold((0.0, 0), |(sum, tokens), text| (sum + text.sum, tokens + text.tokens));
    sum / tokens as f64
}
