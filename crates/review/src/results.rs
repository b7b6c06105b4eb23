//! What people preferred, how sure that is, and how far they agree.

mod agreement;
mod criteria;
mod markdown;
mod metric;
mod preference;
mod rate;
mod steadiness;
mod vote;

use std::path::Path;

use burnisher_eval::BootstrapConfig;
use serde::Serialize;

pub use agreement::{JudgeAgreement, JudgePair};
pub use criteria::CriterionScore;
pub use metric::{MetricAgreement, MetricScores};
pub use preference::{PairResult, Rating, SystemResult};
use rate::ItemVotes;
pub use rate::{IntervalKind, Rate};
pub use steadiness::{Consistency, JudgeConsistency, PositionBias};
pub(crate) use vote::{Outcome, Vote, votes};

use crate::{LogContents, Plan, ReviewError, Study, read_log};

/// How results are counted. The default is 1000 resamples, 95 % and no metrics.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ResultsConfig {
    /// Resamples of the intervals of win rates, ratings and scores, and the confidence of all intervals.
    pub bootstrap: BootstrapConfig,
    /// Automatic scores to compare with what people preferred.
    pub metrics: Vec<MetricScores>,
    /// Judges whose judgements do not count.
    pub excluded_judges: Vec<String>,
}

impl ResultsConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws and reports intervals this way.
    pub fn with_bootstrap(mut self, bootstrap: BootstrapConfig) -> Self {
        self.bootstrap = bootstrap;
        self
    }

    /// Leaves out what these judges said. They are named in the results, and the log keeps it.
    pub fn with_excluded_judges<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.excluded_judges.extend(names.into_iter().map(Into::into));
        self
    }

    /// Compares with this metric too.
    pub fn with_metric(mut self, metric: MetricScores) -> Self {
        self.metrics.push(metric);
        self
    }
}

/// How far a judge came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JudgeProgress {
    /// Name.
    pub judge: String,
    /// Tasks answered, repeats among them.
    pub answered: usize,
    /// Tasks given.
    pub of: usize,
}

/// A judge whose judgements do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExcludedJudge {
    /// Name.
    pub judge: String,
    /// Judgements of the log that are left out, changed ones too.
    pub judgements: usize,
}

/// The results of a study: of all judges whom the study names or the log knows, but for excluded ones.
///
/// Of each task the latest answer counts. Second showings count for [`Consistency`] alone.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Results {
    /// Heading of the study.
    pub title: String,
    /// Its digest.
    pub study: String,
    /// How far the judges came.
    pub judges: Vec<JudgeProgress>,
    /// Who was left out.
    pub excluded: Vec<ExcludedJudge>,
    /// Comparisons that count: last answers to first showings.
    pub comparisons: usize,
    /// Answers that a later one replaced.
    pub changed: usize,
    /// Pairs that nobody was shown because both outputs are the same text.
    pub identical_pairs: usize,
    /// Each system, best first by Bradley-Terry.
    pub systems: Vec<SystemResult>,
    /// Each pair of systems that was compared.
    pub pairs: Vec<PairResult>,
    /// Scores by criterion and system.
    pub criteria: Vec<CriterionScore>,
    /// How far judges agree.
    pub agreement: JudgeAgreement,
    /// Whether a side was favoured.
    pub position: PositionBias,
    /// Whether judges say the same twice.
    pub consistency: Consistency,
    /// How far metrics agree with people.
    pub metrics: Vec<MetricAgreement>,
}

impl Results {
    /// Counts what a log holds; `plan` is the one that the log was read with.
    ///
    /// # Errors
    /// An excluded judge who is not in the plan; an option of the bootstrap outside its range; scores of a metric for unknown items or systems, or not finite.
    pub fn new(
        study: &Study,
        plan: &Plan,
        log: &LogContents,
        config: &ResultsConfig,
    ) -> Result<Self, ReviewError> {
        let plan = &plan.without(&config.excluded_judges)?;
        let excluded = config.excluded_judges.iter().map(|judge| ExcludedJudge {
            judge: judge.clone(),
            judgements: log.records.iter().filter(|record| record.judge == *judge).count(),
        });
        let (latest, changed) = log.latest(plan);
        let judges = plan.judges().zip(&latest).map(|(judge, latest)| JudgeProgress {
            judge: judge.to_owned(),
            answered: latest.iter().flatten().count(),
            of: latest.len(),
        });
        let votes = votes(plan, log);
        let bootstrap = &config.bootstrap;
        let confidence = bootstrap.confidence;
        let metrics = config.metrics.iter().map(|metric| metric::agreement(study, &votes, metric, bootstrap));
        Ok(Self {
            title: study.title.clone(),
            study: plan.study().to_owned(),
            judges: judges.collect(),
            excluded: excluded.collect(),
            comparisons: votes.len(),
            changed,
            identical_pairs: plan.identical_pairs(),
            systems: preference::systems(study, &votes, bootstrap)?,
            pairs: preference::pairs(&votes, bootstrap)?,
            criteria: criteria::scores(study, &votes, bootstrap)?,
            agreement: agreement::agreement(plan, &votes)?,
            position: steadiness::position(&votes, confidence),
            consistency: steadiness::consistency(plan, log, confidence),
            metrics: metrics.collect::<Result<_, _>>()?,
        })
    }

    /// Counts a log file, while a server writes it too. The study need not name the judges: the log knows them.
    ///
    /// # Errors
    /// As [`read_log`] and [`Results::new`].
    pub fn from_log(
        study: &Study,
        log: impl AsRef<Path>,
        config: &ResultsConfig,
    ) -> Result<Self, ReviewError> {
        let mut plan = Plan::new(study)?;
        let contents = read_log(log, study, &mut plan)?;
        Self::new(study, &plan, &contents, config)
    }

    /// The results as indented JSON.
    ///
    /// # Errors
    /// None in practice: every field has a form in JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
