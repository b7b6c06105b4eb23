//! Every system by every metric, and against the base.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SystemsConfig;
use super::input::{GeneralTask, SystemResult};
use crate::bootstrap::{Estimate, bootstrap};
use crate::compare::{Comparison, MetricComparison};
use crate::error::EvalError;
use crate::forgetting::{Forgetting, ForgettingVerdict};
use crate::loss::loss_per_token;
use crate::mcnemar::holm;
use crate::metric::Metric;
use crate::metric_set::{MetricScore, MetricSet};
use crate::perplexity::{TextLoss, check};

/// What a difference says after Holm's correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Better, beyond what chance gives.
    Better,
    /// Chance alone could give it.
    Unclear,
    /// Worse, beyond what chance gives.
    Worse,
}

/// The difference of two systems by one metric, from the paired bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScoreDifference {
    /// The difference.
    pub value: f64,
    /// Its bounds, of this comparison alone.
    pub interval: [f64; 2],
    /// Two-sided ([`PairedEstimate`](crate::PairedEstimate)).
    pub p_value: f64,
    /// The p-value after Holm's correction over all comparisons of its table.
    pub corrected_p: f64,
    /// What it says at the level 1 − confidence of the bootstrap.
    pub effect: Effect,
}

impl ScoreDifference {
    fn new(value: f64, interval: [f64; 2], p_value: f64) -> Self {
        Self { value, interval, p_value, corrected_p: p_value, effect: Effect::Unclear }
    }

    fn correct(&mut self, corrected_p: f64, level: f64, higher_is_better: bool) {
        self.corrected_p = corrected_p;
        self.effect = match () {
            () if corrected_p > level || self.value == 0.0 => Effect::Unclear,
            () if (self.value > 0.0) == higher_is_better => Effect::Better,
            () => Effect::Worse,
        };
    }

    /// The difference, positive for better.
    pub(super) fn gain(&self, metric: Metric) -> f64 {
        signed(metric, self.value)
    }

    /// The largest gain inside the interval.
    pub(super) fn largest_gain(&self, metric: Metric) -> f64 {
        signed(metric, self.interval[usize::from(metric.higher_is_better())])
    }
}

/// `value`, positive for better.
pub(super) fn signed(metric: Metric, value: f64) -> f64 {
    if metric.higher_is_better() { value } else { -value }
}

/// The score of one system by one metric, 0..100 but for perplexity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SystemScore {
    /// The score.
    pub value: f64,
    /// Its bounds.
    pub interval: [f64; 2],
    /// Number of examples, or texts for perplexity.
    pub count: usize,
    /// Whether a higher score is better.
    pub higher_is_better: bool,
    /// Answers without a JSON object; only for the entity metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unparsable: Option<usize>,
    /// This system minus the base; absent for the base itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versus_base: Option<ScoreDifference>,
}

impl From<MetricComparison> for SystemScore {
    fn from(score: MetricComparison) -> Self {
        Self {
            value: score.tuned,
            interval: score.tuned_interval,
            count: score.count,
            higher_is_better: score.higher_is_better,
            unparsable: score.tuned_unparsable,
            versus_base: Some(ScoreDifference::new(score.difference, score.interval, score.p_value)),
        }
    }
}

impl From<MetricScore> for SystemScore {
    fn from(score: MetricScore) -> Self {
        let MetricScore { value, interval, count, higher_is_better, unparsable } = score;
        Self { value, interval, count, higher_is_better, unparsable, versus_base: None }
    }
}

/// Two systems by the primary metric: the better-ranked minus the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemPair {
    /// The name of the better-ranked system.
    pub first: String,
    /// The name of the other.
    pub second: String,
    /// First minus second; Holm's correction is over all pairs.
    pub difference: ScoreDifference,
}

/// What became of one source of general text or tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GeneralChange {
    /// The source's name.
    pub source: String,
    /// The loss of its texts, before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Forgetting>,
    /// What its task measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// The score of its task; Holm's correction is over the systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<SystemScore>,
}

impl GeneralChange {
    /// Whether the loss rose beyond the tolerance or the score fell beyond what chance gives.
    pub fn is_forgotten(&self) -> bool {
        let loss = self.loss.is_some_and(|loss| loss.verdict == ForgettingVerdict::Worse);
        let score = self.score.and_then(|score| score.versus_base);
        loss || score.is_some_and(|difference| difference.effect == Effect::Worse)
    }
}

/// The scores of one system; against the base where it is another.
pub(super) fn scores(
    config: &SystemsConfig,
    references: &[Vec<String>],
    base: &SystemResult,
    system: &SystemResult,
) -> Result<BTreeMap<Metric, SystemScore>, EvalError> {
    if std::ptr::eq(base, system) {
        let scores = config.metrics.evaluate(&base.answers, references)?;
        let mut scores: BTreeMap<_, _> =
            scores.into_iter().map(|(metric, score)| (metric, score.into())).collect();
        if let Some(losses) = &base.losses {
            scores.insert(Metric::Perplexity, perplexity(config, losses)?);
        }
        return Ok(scores);
    }
    let mut report = compare(&config.metrics, base, system, references)?;
    if let (Some(before), Some(after)) = (&base.losses, &system.losses) {
        report = report.with_losses(before, after)?;
    }
    let mut scores: BTreeMap<_, _> =
        report.metrics.into_iter().map(|(metric, score)| (metric, score.into())).collect();
    if let (None, Some(losses)) = (&base.losses, &system.losses) {
        scores.insert(Metric::Perplexity, perplexity(config, losses)?);
    }
    Ok(scores)
}

fn compare(
    metrics: &MetricSet,
    base: &SystemResult,
    system: &SystemResult,
    references: &[Vec<String>],
) -> Result<crate::ComparisonReport, EvalError> {
    Comparison::new(metrics.clone())
        .with_base(base.answers.iter().cloned())
        .with_tuned(system.answers.iter().cloned())
        .against(references)
}

fn perplexity(config: &SystemsConfig, losses: &[TextLoss]) -> Result<SystemScore, EvalError> {
    check("perplexity", losses)?;
    let Estimate { value, interval } =
        bootstrap(losses, config.metrics.bootstrap(), |texts| loss_per_token(texts).exp())?;
    let (count, higher_is_better) = (losses.len(), false);
    Ok(SystemScore { value, interval, count, higher_is_better, unparsable: None, versus_base: None })
}

/// `second` minus `first` turned round: the better-ranked minus the other.
pub(super) fn pair(
    config: &SystemsConfig,
    references: &[Vec<String>],
    first: &SystemResult,
    second: &SystemResult,
) -> Result<SystemPair, EvalError> {
    let metric = config.primary;
    let score = match (&first.losses, &second.losses) {
        (Some(after), Some(before)) if metric == Metric::Perplexity => {
            let report =
                crate::ComparisonReport { metrics: BTreeMap::new(), bootstrap: *config.metrics.bootstrap() };
            report.with_losses(before, after)?
        }
        _ => compare(&config.metrics.only(metric), second, first, references)?,
    }
    .metrics[&metric];
    let difference = ScoreDifference::new(score.difference, score.interval, score.p_value);
    Ok(SystemPair { first: first.name.clone(), second: second.name.clone(), difference })
}

/// Corrects differences that belong together.
pub(super) fn correct<'a>(
    differences: impl IntoIterator<Item = &'a mut ScoreDifference>,
    level: f64,
    higher_is_better: bool,
) {
    let differences: Vec<_> = differences.into_iter().collect();
    let p_values: Vec<f64> = differences.iter().map(|difference| difference.p_value).collect();
    for (difference, p) in differences.into_iter().zip(holm(&p_values)) {
        difference.correct(p, level, higher_is_better);
    }
}

/// What became of every source of the base, by name, as far as this system was measured on it.
pub(super) fn general(
    config: &SystemsConfig,
    tasks: &[GeneralTask],
    base: &SystemResult,
    system: &SystemResult,
) -> Result<Vec<GeneralChange>, EvalError> {
    let mut changes: BTreeMap<&str, GeneralChange> = BTreeMap::new();
    for after in &system.general {
        let found = base.general.iter().filter(|before| before.source == after.source);
        let empty = || GeneralChange { source: after.source.clone(), loss: None, metric: None, score: None };
        let change = changes.entry(&after.source).or_insert_with(empty);
        let mut compared = false;
        for before in found {
            if let (Some(before), Some(after)) = (&before.losses, &after.losses) {
                change.loss = Some(config.forgetting().assess(before, after)?);
                compared = true;
            }
            if let (Some(before), Some(answers)) = (&before.answers, &after.answers) {
                let task = task(tasks, &after.source)?;
                let report = Comparison::new(config.metrics.only(task.metric))
                    .with_base(before.iter().cloned())
                    .with_tuned(answers.iter().cloned())
                    .against(&task.references)?;
                change.metric = Some(task.metric);
                change.score = Some(report.metrics[&task.metric].into());
                compared = true;
            }
        }
        if !compared {
            let wanted = base.general.iter().map(|general| general.source.as_str()).collect::<Vec<_>>();
            return Err(EvalError::UnknownName {
                kind: "general source",
                found: after.source.clone(),
                wanted: format!("the base's, measured in the same way: {}", wanted.join(", ")),
            });
        }
    }
    Ok(changes.into_values().collect())
}

fn task<'a>(tasks: &'a [GeneralTask], source: &str) -> Result<&'a GeneralTask, EvalError> {
    tasks.iter().find(|task| task.source == source).ok_or_else(|| EvalError::UnknownName {
        kind: "general task",
        found: source.to_owned(),
        wanted: tasks.iter().map(|task| task.source.as_str()).collect::<Vec<_>>().join(", "),
    })
}
