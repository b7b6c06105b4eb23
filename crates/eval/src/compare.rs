//! A base and a tuned system on the same examples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bootstrap::{BootstrapConfig, PairedEstimate, paired_bootstrap};
use crate::error::{EvalError, check_references};
use crate::loss::{check_pairs, loss_per_token};
use crate::metric::Metric;
use crate::metric_set::MetricSet;
use crate::perplexity::TextLoss;

/// A base and a tuned system, compared by some metrics.
///
/// ```
/// use burnisher_eval::{Comparison, Metric};
///
/// let report = Comparison::new([Metric::EntityF1, Metric::ExactMatch])
///     .with_base(["I do not know.", r#"{"dose": "5 mg"}"#])
///     .with_tuned([r#"{"drug": "Ibuprofen"}"#, r#"{"dose": "5 mg"}"#])
///     .against(&[vec![r#"{"drug": "Ibuprofen"}"#], vec![r#"{"dose": "5 mg"}"#]])?;
/// let f1 = &report.metrics[&Metric::EntityF1];
/// assert_eq!((f1.tuned, f1.base_unparsable), (100.0, Some(1)));
/// assert!((f1.base - 200.0 / 3.0).abs() < 1e-9);
/// # Ok::<(), burnisher_eval::EvalError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Comparison {
    metrics: MetricSet,
    base: Vec<String>,
    tuned: Vec<String>,
}

impl Comparison {
    /// Compares by these metrics: a list of them, or a [`MetricSet`] for other options than the defaults.
    pub fn new(metrics: impl Into<MetricSet>) -> Self {
        Self { metrics: metrics.into(), base: Vec::new(), tuned: Vec::new() }
    }

    /// The answers of the base system, one per example.
    pub fn with_base<S: Into<String>>(mut self, outputs: impl IntoIterator<Item = S>) -> Self {
        self.base = outputs.into_iter().map(Into::into).collect();
        self
    }

    /// The answers of the tuned system, one per example, in the same order.
    pub fn with_tuned<S: Into<String>>(mut self, outputs: impl IntoIterator<Item = S>) -> Self {
        self.tuned = outputs.into_iter().map(Into::into).collect();
        self
    }

    /// Scores both systems; `references` holds one or more per example.
    ///
    /// # Errors
    /// As [`MetricSet::evaluate`], for either system.
    pub fn against<R: AsRef<str>>(&self, references: &[Vec<R>]) -> Result<ComparisonReport, EvalError> {
        check_references("comparison, base", self.base.len(), references)?;
        check_references("comparison, tuned", self.tuned.len(), references)?;
        let bootstrap = *self.metrics.bootstrap();
        let metrics = self.metrics.each(|metric, examples| {
            let (estimate, unparsable) =
                examples.paired([&self.base, &self.tuned], references, &bootstrap)?;
            Ok(MetricComparison {
                base_unparsable: unparsable.map(|[base, _]| base),
                tuned_unparsable: unparsable.map(|[_, tuned]| tuned),
                ..MetricComparison::new(metric, estimate, references.len())
            })
        })?;
        Ok(ComparisonReport { metrics, bootstrap })
    }
}

/// One metric of two systems. Scores are 0..100, but for perplexity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricComparison {
    /// Score of the base system.
    pub base: f64,
    /// Score of the tuned system.
    pub tuned: f64,
    /// Tuned minus base.
    pub difference: f64,
    /// Bounds of the difference, from the paired bootstrap.
    pub interval: [f64; 2],
    /// Bounds of the base system's score.
    pub base_interval: [f64; 2],
    /// Bounds of the tuned system's score.
    pub tuned_interval: [f64; 2],
    /// Two-sided, of the difference ([`PairedEstimate`]).
    pub p_value: f64,
    /// Number of examples.
    pub count: usize,
    /// Whether a higher score is better.
    pub higher_is_better: bool,
    /// Answers of the base system without a JSON object; only for the entity metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_unparsable: Option<usize>,
    /// Answers of the tuned system without a JSON object; only for the entity metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned_unparsable: Option<usize>,
}

impl MetricComparison {
    fn new(metric: Metric, estimate: PairedEstimate, count: usize) -> Self {
        Self {
            base: estimate.base.value,
            tuned: estimate.tuned.value,
            difference: estimate.difference.value,
            interval: estimate.difference.interval,
            base_interval: estimate.base.interval,
            tuned_interval: estimate.tuned.interval,
            p_value: estimate.p_value,
            count,
            higher_is_better: metric.higher_is_better(),
            base_unparsable: None,
            tuned_unparsable: None,
        }
    }
}

/// What [`Comparison::against`] found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonReport {
    /// By metric.
    pub metrics: BTreeMap<Metric, MetricComparison>,
    /// How the intervals were drawn.
    pub bootstrap: BootstrapConfig,
}

impl ComparisonReport {
    /// Adds [`Metric::Perplexity`]: of the texts whose losses these are, in the same order for both systems.
    ///
    /// # Errors
    /// No texts, not equally many for both, a text without tokens or with different numbers of tokens, a loss that
    /// is not finite, a perplexity too large for a float.
    pub fn with_losses(mut self, base: &[TextLoss], tuned: &[TextLoss]) -> Result<Self, EvalError> {
        check_pairs(base, tuned)?;
        let estimate = paired_bootstrap(base, tuned, &self.bootstrap, |texts| loss_per_token(texts).exp())?;
        let metric = Metric::Perplexity;
        self.metrics.insert(metric, MetricComparison::new(metric, estimate, base.len()));
        Ok(self)
    }
}
