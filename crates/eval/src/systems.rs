//! Several systems on the same examples: which one to take?

mod config;
mod curve;
mod differing;
mod input;
mod page;
mod plot;
mod recommend;
mod score;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::config::SystemsConfig;
pub use self::curve::{CurveSummary, CurveVerdict};
pub use self::differing::{DifferingExample, ShownAnswer};
pub use self::input::{
    ComparedExample, Cost, CostMeasure, CurvePoint, GeneralResult, GeneralTask, SystemKind, SystemResult,
};
pub use self::recommend::{Outcome, Recommendation};
pub use self::score::{Effect, GeneralChange, ScoreDifference, SystemPair, SystemScore};
use crate::bootstrap::BootstrapConfig;
use crate::error::{EvalError, check_references};
use crate::metric::Metric;

const METRIC: &str = "systems";

/// One system of a [`SystemsReport`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SystemSummary {
    /// Its name.
    pub name: String,
    /// How it came to be.
    pub kind: SystemKind,
    /// Its place by the primary metric, from 1; the cheaper first among equals.
    pub rank: usize,
    /// By metric.
    pub scores: BTreeMap<Metric, SystemScore>,
    /// General text and tasks against the base, by source; empty for the base itself.
    pub general: Vec<GeneralChange>,
    /// How its training went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveSummary>,
    /// What it cost.
    pub cost: Cost,
}

impl SystemSummary {
    /// Whether any source of general text or tasks was forgotten ([`GeneralChange::is_forgotten`]).
    pub fn has_forgotten(&self) -> bool {
        self.general.iter().any(GeneralChange::is_forgotten)
    }
}

/// Systems on the same examples: quality, general ability, trainings, costs, and which system to take.
///
/// ```
/// use burnisher_eval::{
///     ComparedExample, Metric, Outcome, SystemKind, SystemResult, SystemsConfig, SystemsReport,
/// };
///
/// let ask = |n: usize| ComparedExample {
///     origin: format!("test.jsonl:{n}"),
///     prompt: format!("{n} + 1?"),
///     references: vec![(n + 1).to_string()],
/// };
/// let examples: Vec<_> = (0..40).map(ask).collect();
/// let systems = [
///     SystemResult::new("base", SystemKind::Base, vec!["I do not know"; 40]),
///     SystemResult::new("LoRA", SystemKind::Lora, (0..40).map(|n| (n + 1).to_string())),
/// ];
/// let config = SystemsConfig::new([Metric::ExactMatch], Metric::ExactMatch);
/// let report = SystemsReport::new(&examples, &systems, &[], &config)?;
/// assert_eq!((report.recommendation.system.as_str(), report.recommendation.outcome), ("LoRA", Outcome::Trained));
/// assert!(report.to_markdown().starts_with("# Comparison of systems\n"));
/// # Ok::<(), burnisher_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SystemsReport {
    /// The title.
    pub title: String,
    /// Number of examples.
    pub count: usize,
    /// The metric that decides.
    pub primary: Metric,
    /// How intervals were drawn.
    pub bootstrap: BootstrapConfig,
    /// [`SystemsConfig::forgetting_tolerance`].
    pub forgetting_tolerance: f64,
    /// [`SystemsConfig::minimal_difference`].
    pub minimal_difference: f64,
    /// [`SystemsConfig::overfit_rise`].
    pub overfit_rise: f64,
    /// [`SystemsConfig::cost`].
    pub cost_measure: CostMeasure,
    /// Which system to take.
    pub recommendation: Recommendation,
    /// The systems, as given.
    pub systems: Vec<SystemSummary>,
    /// Their names, best first by the primary metric.
    pub ranking: Vec<String>,
    /// Every pair by the primary metric.
    pub pairs: Vec<SystemPair>,
    /// Examples on which systems differ most: first the worst regressions against the base.
    pub examples: Vec<DifferingExample>,
    /// Examples on which all systems score the same.
    pub alike: usize,
}

impl SystemsReport {
    /// Compares systems. `tasks` holds the right answers of general tasks, if systems answered any.
    ///
    /// # Errors
    /// Not exactly one system of kind [`SystemKind::Base`], a name twice, a primary metric that is not among the
    /// metrics, options out of range; and as [`EvalError::System`] with the system's name: not as many answers as examples,
    /// losses of other texts than the base's, a general source that the base lacks, a missing task, and what the metrics
    /// refuse.
    pub fn new(
        examples: &[ComparedExample],
        systems: &[SystemResult],
        tasks: &[GeneralTask],
        config: &SystemsConfig,
    ) -> Result<Self, EvalError> {
        config.validate()?;
        let base = check(systems)?;
        let references: Vec<Vec<String>> =
            examples.iter().map(|example| example.references.clone()).collect();
        let level = 1.0 - config.metrics.bootstrap().confidence;

        let mut summaries: Vec<SystemSummary> = systems
            .iter()
            .enumerate()
            .map(|(index, system)| {
                summarize(config, &references, tasks, &systems[base], system, index == base)
                    .map_err(|source| of_system(&system.name, source))
            })
            .collect::<Result<_, _>>()?;
        correct(&mut summaries, level);

        let ranked = rank(config, &mut summaries);
        let mut pairs = Vec::new();
        for (place, first) in ranked.iter().enumerate() {
            for second in &ranked[place + 1..] {
                pairs.push(score::pair(config, &references, &systems[*first], &systems[*second])?);
            }
        }
        let higher = config.primary.higher_is_better();
        score::correct(pairs.iter_mut().map(|pair| &mut pair.difference), level, higher);

        let order: Vec<&SystemSummary> = ranked.iter().map(|index| &summaries[*index]).collect();
        let recommendation = recommend::recommend(config, &order, &pairs, examples.len());
        let ranking = order.iter().map(|system| system.name.clone()).collect();
        let (shown, alike) = differing::differing(config, examples, systems, base)?;
        Ok(Self {
            title: config.title.clone(),
            count: examples.len(),
            primary: config.primary,
            bootstrap: *config.metrics.bootstrap(),
            forgetting_tolerance: config.forgetting_tolerance,
            minimal_difference: config.minimal_difference,
            overfit_rise: config.overfit_rise,
            cost_measure: config.cost,
            recommendation,
            systems: summaries,
            ranking,
            pairs,
            examples: shown,
            alike,
        })
    }

    /// The report as Markdown.
    pub fn to_markdown(&self) -> String {
        page::markdown(self)
    }

    /// The report as one HTML page that loads nothing.
    pub fn to_html(&self) -> String {
        page::html(self)
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        page::json(self)
    }

    /// Writes `systems.md`, `systems.json` and `systems.html` into `dir`, which is made if need be, and returns their
    /// paths.
    ///
    /// # Errors
    /// [`EvalError::Write`] with the path.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<[PathBuf; 3], EvalError> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(|source| EvalError::Write { path: dir.to_path_buf(), source })?;
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            match fs::write(&path, text) {
                Ok(()) => Ok(path),
                Err(source) => Err(EvalError::Write { path, source }),
            }
        };
        Ok([
            write("systems.md", self.to_markdown())?,
            write("systems.json", self.to_json())?,
            write("systems.html", self.to_html())?,
        ])
    }
}

fn refuse(option: &'static str, found: impl ToString, wanted: &'static str) -> EvalError {
    EvalError::Option { metric: METRIC, option, found: found.to_string(), wanted }
}

fn of_system(name: &str, source: EvalError) -> EvalError {
    EvalError::System { system: name.to_owned(), source: Box::new(source) }
}

/// The position of the base.
fn check(systems: &[SystemResult]) -> Result<usize, EvalError> {
    let mut names = BTreeSet::new();
    if let Some(twice) = systems.iter().find(|system| !names.insert(&system.name)) {
        return Err(refuse("name", format!("`{}` twice", twice.name), "a name of its own for each system"));
    }
    let bases: Vec<usize> =
        (0..systems.len()).filter(|index| systems[*index].kind == SystemKind::Base).collect();
    match bases[..] {
        [base] => Ok(base),
        _ => Err(refuse("number of base systems", bases.len(), "exactly 1")),
    }
}

fn summarize(
    config: &SystemsConfig,
    references: &[Vec<String>],
    tasks: &[GeneralTask],
    base: &SystemResult,
    system: &SystemResult,
    is_base: bool,
) -> Result<SystemSummary, EvalError> {
    check_references("answers", system.answers.len(), references)?;
    let scores = score::scores(config, references, base, system)?;
    if !scores.contains_key(&config.primary) {
        let wanted = match config.primary {
            Metric::Perplexity => "losses in every system for this metric",
            _ => "one of the metrics measured",
        };
        return Err(refuse("primary", config.primary, wanted));
    }
    let general = if is_base { Vec::new() } else { score::general(config, tasks, base, system)? };
    Ok(SystemSummary {
        name: system.name.clone(),
        kind: system.kind,
        rank: 0,
        scores,
        general,
        curve: CurveSummary::of(&system.curve, config.overfit_rise),
        cost: system.cost,
    })
}

/// Holm's correction over the systems, for each metric and each general task.
fn correct(systems: &mut [SystemSummary], level: f64) {
    let metrics: BTreeSet<Metric> = systems.iter().flat_map(|system| system.scores.keys().copied()).collect();
    for metric in metrics {
        let scores = systems.iter_mut().filter_map(|system| system.scores.get_mut(&metric));
        score::correct(
            scores.filter_map(|score| score.versus_base.as_mut()),
            level,
            metric.higher_is_better(),
        );
    }
    let changes = systems.iter().flat_map(|system| &system.general);
    let tasks: BTreeMap<String, Metric> =
        changes.filter_map(|change| Some((change.source.clone(), change.metric?))).collect();
    for (source, metric) in tasks {
        let changes = systems.iter_mut().flat_map(|system| &mut system.general);
        let scores =
            changes.filter(|change| change.source == source).filter_map(|change| change.score.as_mut());
        score::correct(
            scores.filter_map(|score| score.versus_base.as_mut()),
            level,
            metric.higher_is_better(),
        );
    }
}

/// Sets the ranks; positions, best first.
fn rank(config: &SystemsConfig, systems: &mut [SystemSummary]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..systems.len()).collect();
    let value = |system: &SystemSummary| score::signed(config.primary, system.scores[&config.primary].value);
    order.sort_by(|left, right| {
        let (left, right) = (&systems[*left], &systems[*right]);
        value(right).total_cmp(&value(left)).then_with(|| recommend::by_cost(config.cost, left, right))
    });
    for (place, index) in order.iter().enumerate() {
        systems[*index].rank = place + 1;
    }
    order
}
