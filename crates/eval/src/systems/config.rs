//! What several systems are compared by, and what counts as a difference.

use super::input::CostMeasure;
use super::refuse;
use crate::bootstrap::BootstrapConfig;
use crate::error::EvalError;
use crate::forgetting::ForgettingConfig;
use crate::metric::Metric;
use crate::metric_set::MetricSet;

/// How systems are compared.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SystemsConfig {
    /// The metrics of answers and how their intervals are drawn.
    pub metrics: MetricSet,
    /// The metric that decides. [`Metric::Perplexity`] is of the losses, which every system then needs.
    pub primary: Metric,
    /// The title of the report; `Comparison of systems` by default.
    pub title: String,
    /// Rise of a general loss, in per cent, up to which nothing counts as forgotten; 5 by default.
    pub forgetting_tolerance: f64,
    /// Difference by the primary metric below which two systems are as good as each other; 1 point by default.
    pub minimal_difference: f64,
    /// Rise of the validation loss above its least, in per cent, beyond which a training over-fitted; 2 by default.
    pub overfit_rise: f64,
    /// What makes a trained system cheap; peak memory by default.
    pub cost: CostMeasure,
    /// Examples shown; 24 by default.
    pub examples: usize,
}

impl SystemsConfig {
    /// Compares by these metrics (a list of them, or a [`MetricSet`] with options), of which `primary` decides.
    pub fn new(metrics: impl Into<MetricSet>, primary: Metric) -> Self {
        Self {
            metrics: metrics.into(),
            primary,
            title: "Comparison of systems".to_owned(),
            forgetting_tolerance: 5.0,
            minimal_difference: 1.0,
            overfit_rise: 2.0,
            cost: CostMeasure::default(),
            examples: 24,
        }
    }

    /// Sets the title.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Draws the intervals this way.
    #[must_use]
    pub fn with_bootstrap(mut self, config: BootstrapConfig) -> Self {
        self.metrics = self.metrics.with_bootstrap(config);
        self
    }

    /// Sets the rise of a general loss, in per cent, up to which nothing counts as forgotten.
    #[must_use]
    pub fn with_forgetting_tolerance(mut self, percent: f64) -> Self {
        self.forgetting_tolerance = percent;
        self
    }

    /// Sets the difference by the primary metric from which one is useful.
    #[must_use]
    pub fn with_minimal_difference(mut self, points: f64) -> Self {
        self.minimal_difference = points;
        self
    }

    /// Sets the rise of the validation loss, in per cent, beyond which a training over-fitted.
    #[must_use]
    pub fn with_overfit_rise(mut self, percent: f64) -> Self {
        self.overfit_rise = percent;
        self
    }

    /// Sets what makes a trained system cheap.
    #[must_use]
    pub fn with_cost(mut self, measure: CostMeasure) -> Self {
        self.cost = measure;
        self
    }

    /// Sets how many examples are shown.
    #[must_use]
    pub fn with_examples(mut self, examples: usize) -> Self {
        self.examples = examples;
        self
    }

    /// Checks the options that are not the metrics'.
    ///
    /// # Errors
    /// A tolerance, difference or rise that is negative or not finite.
    pub fn validate(&self) -> Result<(), EvalError> {
        let options = [
            ("forgetting_tolerance", self.forgetting_tolerance),
            ("minimal_difference", self.minimal_difference),
            ("overfit_rise", self.overfit_rise),
        ];
        match options.into_iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            None => Ok(()),
            Some((option, value)) => Err(refuse(option, value, "a finite number of at least 0")),
        }
    }

    pub(super) fn forgetting(&self) -> ForgettingConfig {
        ForgettingConfig::new()
            .with_threshold(self.forgetting_tolerance)
            .with_bootstrap(*self.metrics.bootstrap())
    }
}
