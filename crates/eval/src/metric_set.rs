//! Several metrics with their options, measured on one system.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bleu::{Bleu, BleuConfig, BleuCounts};
use crate::bootstrap::{
    BootstrapConfig, Estimate, PairedEstimate, Resample, bootstrap, mean, paired_bootstrap,
};
use crate::entities::{EntityConfig, EntityCounts};
use crate::error::{EvalError, check_references};
use crate::exact_match::ExactMatchConfig;
use crate::metric::Metric;
use crate::rouge::{RougeConfig, RougeType};
use crate::squad::{answer_exact_match, answer_f1};

/// Metrics and their options. Made of a list of metrics, the options are the defaults of each.
#[derive(Debug, Clone)]
pub struct MetricSet {
    metrics: Vec<Metric>,
    exact_match: ExactMatchConfig,
    entities: EntityConfig,
    rouge: RougeConfig,
    bleu: BleuConfig,
    bootstrap: BootstrapConfig,
}

impl MetricSet {
    /// These metrics with default options. A metric named twice is computed once.
    pub fn new(metrics: impl IntoIterator<Item = Metric>) -> Self {
        Self {
            metrics: metrics.into_iter().collect(),
            exact_match: ExactMatchConfig::default(),
            entities: EntityConfig::default(),
            rouge: RougeConfig::default(),
            bleu: BleuConfig::default(),
            bootstrap: BootstrapConfig::default(),
        }
    }

    /// What `exact_match` ignores.
    pub fn with_exact_match(mut self, config: ExactMatchConfig) -> Self {
        self.exact_match = config;
        self
    }

    /// How the entity metrics compare values.
    pub fn with_entities(mut self, config: EntityConfig) -> Self {
        self.entities = config;
        self
    }

    /// Tokens and stemming of the ROUGE metrics. The metric's name says the type, so `types` is not read.
    pub fn with_rouge(mut self, config: RougeConfig) -> Self {
        self.rouge = config;
        self
    }

    /// Tokens and smoothing of `bleu`.
    pub fn with_bleu(mut self, config: BleuConfig) -> Self {
        self.bleu = config;
        self
    }

    /// How intervals are drawn.
    pub fn with_bootstrap(mut self, config: BootstrapConfig) -> Self {
        self.bootstrap = config;
        self
    }

    /// How intervals are drawn.
    pub fn bootstrap(&self) -> &BootstrapConfig {
        &self.bootstrap
    }

    /// The same options for this metric alone.
    pub(crate) fn only(&self, metric: Metric) -> Self {
        Self { metrics: vec![metric], ..self.clone() }
    }

    /// The scores of one system, with intervals; `references` holds one or more per example.
    ///
    /// # Errors
    /// No metrics or examples, perplexity (it is not read off answers), not equally many outputs and reference lists,
    /// an empty reference list, options out of range, and for the entity metrics a reference without a JSON object.
    pub fn evaluate<P: AsRef<str>, R: AsRef<str>>(
        &self,
        outputs: &[P],
        references: &[Vec<R>],
    ) -> Result<BTreeMap<Metric, MetricScore>, EvalError> {
        check_references("evaluation", outputs.len(), references)?;
        self.each(|metric, examples| {
            let (estimate, unparsable) = examples.single(outputs, references, &self.bootstrap)?;
            let Estimate { value, interval } = estimate;
            let (count, higher_is_better) = (outputs.len(), metric.higher_is_better());
            Ok(MetricScore { value, interval, count, higher_is_better, unparsable })
        })
    }

    /// `measure` of every metric, by metric.
    pub(crate) fn each<R: AsRef<str>, T>(
        &self,
        measure: impl Fn(Metric, Examples<'_, R>) -> Result<T, EvalError>,
    ) -> Result<BTreeMap<Metric, T>, EvalError> {
        if self.metrics.is_empty() {
            let (option, found) = ("metrics", "none".to_owned());
            return Err(EvalError::Option { metric: "evaluation", option, found, wanted: "at least one" });
        }
        let mut scores = BTreeMap::new();
        for metric in &self.metrics {
            scores.insert(*metric, measure(*metric, self.examples(*metric)?)?);
        }
        Ok(scores)
    }

    fn examples<R: AsRef<str>>(&self, metric: Metric) -> Result<Examples<'_, R>, EvalError> {
        let rouge = |rouge: RougeType| {
            let metric = self.rouge.clone().with_types([rouge]).init()?;
            Ok(Examples::Mean(Box::new(move |output, references| {
                metric.score_multi(output, references).values().map(|score| score.fmeasure).sum()
            })))
        };
        Ok(match metric {
            Metric::ExactMatch => {
                let metric = self.exact_match.init()?;
                Examples::Mean(Box::new(move |output, references| {
                    share(references.iter().any(|reference| metric.matches(output, reference.as_ref())))
                }))
            }
            Metric::SquadExactMatch => {
                Examples::Mean(Box::new(|output, references| share(answer_exact_match(output, references))))
            }
            Metric::SquadF1 => Examples::Mean(Box::new(|output, references| answer_f1(output, references))),
            Metric::EntityPrecision => Examples::Entities(&self.entities, EntityCounts::precision),
            Metric::EntityRecall => Examples::Entities(&self.entities, EntityCounts::recall),
            Metric::EntityF1 => Examples::Entities(&self.entities, EntityCounts::f1),
            Metric::Rouge1 => rouge(RougeType::N(1))?,
            Metric::Rouge2 => rouge(RougeType::N(2))?,
            Metric::RougeL => rouge(RougeType::L)?,
            Metric::RougeLsum => rouge(RougeType::Lsum)?,
            Metric::Bleu => Examples::Bleu(self.bleu.init()?),
            Metric::Perplexity => {
                return Err(EvalError::Option {
                    metric: "evaluation",
                    option: "metrics",
                    found: metric.to_string(),
                    wanted: "metrics of answers; perplexity comes from losses",
                });
            }
        })
    }
}

impl<M: IntoIterator<Item = Metric>> From<M> for MetricSet {
    fn from(metrics: M) -> Self {
        Self::new(metrics)
    }
}

/// The score of one system.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricScore {
    /// The score, 0..100.
    pub value: f64,
    /// Bounds of the score.
    pub interval: [f64; 2],
    /// Number of examples.
    pub count: usize,
    /// Whether a higher score is better.
    pub higher_is_better: bool,
    /// Answers without a JSON object; only for the entity metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unparsable: Option<usize>,
}

/// The scores of one system under default options; `references` holds one or more per example.
///
/// # Errors
/// As [`MetricSet::evaluate`].
pub fn evaluate<P: AsRef<str>, R: AsRef<str>>(
    metrics: &[Metric],
    outputs: &[P],
    references: &[Vec<R>],
) -> Result<BTreeMap<Metric, MetricScore>, EvalError> {
    MetricSet::new(metrics.iter().copied()).evaluate(outputs, references)
}

/// What a metric needs of an example, and how a set of these becomes a score.
pub(crate) enum Examples<'a, R> {
    /// A number 0..1 per example, of which the score is the mean.
    Mean(Box<dyn Fn(&str, &[R]) -> f64 + 'a>),
    /// Counts per example; the score of their sum.
    Entities(&'a EntityConfig, fn(&EntityCounts) -> f64),
    /// Counts per example; the score of their sum.
    Bleu(Bleu),
}

impl<R: AsRef<str>> Examples<'_, R> {
    /// The estimate for one system, and how many of its answers are no JSON.
    fn single<P: AsRef<str>>(
        &self,
        outputs: &[P],
        references: &[Vec<R>],
        config: &BootstrapConfig,
    ) -> Result<(Estimate, Option<usize>), EvalError> {
        Ok(match self {
            Self::Mean(score) => (bootstrap(&numbers(score, outputs, references), config, mean)?, None),
            Self::Entities(entities, score) => {
                let report = entities.score(outputs, references)?;
                (bootstrap(&report.examples, config, |sample| score(&sample.sum()))?, Some(report.unparsable))
            }
            Self::Bleu(bleu) => {
                (bootstrap(&counts(bleu, outputs, references), config, |sample| corpus(bleu, sample))?, None)
            }
        })
    }

    /// The estimate for two systems, and how many answers of each are no JSON.
    pub(crate) fn paired<P: AsRef<str>>(
        &self,
        [base, tuned]: [&[P]; 2],
        references: &[Vec<R>],
        config: &BootstrapConfig,
    ) -> Result<(PairedEstimate, Option<[usize; 2]>), EvalError> {
        Ok(match self {
            Self::Mean(score) => {
                let [base, tuned] = [base, tuned].map(|outputs| numbers(score, outputs, references));
                (paired_bootstrap(&base, &tuned, config, mean)?, None)
            }
            Self::Entities(entities, score) => {
                let (base, tuned) = (entities.score(base, references)?, entities.score(tuned, references)?);
                let statistic = |sample: Resample<'_, EntityCounts>| score(&sample.sum());
                let estimate = paired_bootstrap(&base.examples, &tuned.examples, config, statistic)?;
                (estimate, Some([base.unparsable, tuned.unparsable]))
            }
            Self::Bleu(bleu) => {
                let [base, tuned] = [base, tuned].map(|outputs| counts(bleu, outputs, references));
                (paired_bootstrap(&base, &tuned, config, |sample| corpus(bleu, sample))?, None)
            }
        })
    }
}

/// The scores of all examples, 0..100.
fn numbers<P: AsRef<str>, R>(
    score: impl Fn(&str, &[R]) -> f64,
    outputs: &[P],
    references: &[Vec<R>],
) -> Vec<f64> {
    outputs
        .iter()
        .zip(references)
        .map(|(output, references)| 100.0 * score(output.as_ref(), references))
        .collect()
}

fn counts<P: AsRef<str>, R: AsRef<str>>(
    bleu: &Bleu,
    outputs: &[P],
    references: &[Vec<R>],
) -> Vec<BleuCounts> {
    outputs
        .iter()
        .zip(references)
        .map(|(output, references)| bleu.counts(output.as_ref(), references))
        .collect()
}

fn corpus(bleu: &Bleu, sample: Resample<'_, BleuCounts>) -> f64 {
    let mut sum = BleuCounts::default();
    sample.for_each(|counts| sum += counts);
    bleu.score(&sum).score
}

fn share(hit: bool) -> f64 {
    f64::from(u8::from(hit))
}
