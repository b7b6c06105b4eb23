//! Whether tuning cost a model what it could do before.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bootstrap::BootstrapConfig;
use crate::error::EvalError;
use crate::loss::LossComparison;
use crate::perplexity::TextLoss;

/// What tuning did to the loss on general text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ForgettingVerdict {
    /// The loss fell by more than the threshold.
    Better,
    /// The loss changed by no more than the threshold.
    Unchanged,
    /// The loss rose by more than the threshold.
    Worse,
}

/// When a change of the loss counts. The default threshold is 5 per cent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ForgettingConfig {
    /// Change of the loss, in per cent of the loss before tuning, up to which it counts as unchanged.
    pub threshold: f64,
    /// How the interval is drawn.
    pub bootstrap: BootstrapConfig,
}

impl Default for ForgettingConfig {
    fn default() -> Self {
        Self { threshold: 5.0, bootstrap: BootstrapConfig::default() }
    }
}

impl ForgettingConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a change of up to this many per cent for none.
    pub fn with_threshold(mut self, percent: f64) -> Self {
        self.threshold = percent;
        self
    }

    /// Draws the interval this way.
    pub fn with_bootstrap(mut self, config: BootstrapConfig) -> Self {
        self.bootstrap = config;
        self
    }

    /// Compares the losses on general, held-out texts before and after tuning.
    ///
    /// The verdict goes by the change itself. Whether it could come of the choice of texts says the interval,
    /// and one that includes 0 is said so in the sentence.
    ///
    /// # Errors
    /// As [`LossComparison::new`]; a threshold that is negative or not finite.
    pub fn assess(&self, before: &[TextLoss], after: &[TextLoss]) -> Result<Forgetting, EvalError> {
        let threshold = self.threshold;
        if !(threshold.is_finite() && threshold >= 0.0) {
            let (option, found) = ("threshold", threshold.to_string());
            let wanted = "a finite number of at least 0";
            return Err(EvalError::Option { metric: "forgetting", option, found, wanted });
        }
        let loss = LossComparison::new(before, after, &self.bootstrap)?;
        let verdict = match loss.relative_change {
            change if change > threshold => ForgettingVerdict::Worse,
            change if change < -threshold => ForgettingVerdict::Better,
            _ => ForgettingVerdict::Unchanged,
        };
        Ok(Forgetting { loss, threshold, confidence: self.bootstrap.confidence, verdict })
    }
}

/// The loss on general text before and after tuning, and what to think of it.
///
/// Displays as one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forgetting {
    /// Before (base) and after (tuned).
    #[serde(flatten)]
    pub loss: LossComparison,
    /// Per cent of the loss up to which a change counts as none.
    pub threshold: f64,
    /// Share of the resamples inside the interval, 0..1.
    pub confidence: f64,
    /// What to think of it.
    pub verdict: ForgettingVerdict,
}

impl fmt::Display for Forgetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LossComparison { base, tuned, interval: [low, high], .. } = self.loss;
        let verdict = match self.verdict {
            ForgettingVerdict::Better => "better by more than",
            ForgettingVerdict::Unchanged => "unchanged within",
            ForgettingVerdict::Worse => "worse by more than",
        };
        let chance = if low <= 0.0 && high >= 0.0 { "; the interval includes no change" } else { "" };
        write!(
            f,
            "General loss {base:.3} before and {tuned:.3} after tuning ({:+.1} %, perplexity {:.2} and {:.2}; \
             difference {:+.3}, {} % interval {low:+.3} to {high:+.3}, {} texts, {} tokens): {verdict} {} %{chance}.",
            self.loss.relative_change,
            self.loss.base_perplexity,
            self.loss.tuned_perplexity,
            self.loss.difference,
            100.0 * self.confidence,
            self.loss.count,
            self.loss.tokens,
            self.threshold,
        )
    }
}
