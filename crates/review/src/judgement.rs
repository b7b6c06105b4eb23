//! What a judge says about a pair, and how the log keeps it.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{Need, Plan, ReviewError, Showing, Study, visible::visible};

/// Longest comment, in bytes.
const COMMENT_LIMIT: usize = 16 * 1024;

/// Which output is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The left one.
    Left,
    /// The right one.
    Right,
    /// Both are equally good.
    Tie,
    /// Neither is acceptable; counts as a tie in ratings, and is counted on its own too.
    BothBad,
}

/// The scores of one criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SideScores {
    /// Of the left output.
    pub left: Option<i64>,
    /// Of the right output.
    pub right: Option<i64>,
}

/// One judgement, as a judge's page sends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Judgement {
    /// The id of the task.
    pub task: String,
    /// Which output is better.
    pub verdict: Verdict,
    /// Scores by criterion.
    #[serde(default)]
    pub scores: BTreeMap<String, SideScores>,
    /// Free text.
    #[serde(default)]
    pub comment: String,
    /// Milliseconds from showing the pair to the answer, by the browser's clock.
    #[serde(default)]
    pub elapsed_ms: Option<u64>,
}

impl Judgement {
    /// A judgement without scores and comment.
    pub fn new(task: impl Into<String>, verdict: Verdict) -> Self {
        Self { task: task.into(), verdict, scores: BTreeMap::new(), comment: String::new(), elapsed_ms: None }
    }

    /// Adds scores for a criterion.
    pub fn with_scores(mut self, criterion: impl Into<String>, left: i64, right: i64) -> Self {
        self.scores.insert(criterion.into(), SideScores { left: Some(left), right: Some(right) });
        self
    }

    /// Adds a comment.
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = comment.into();
        self
    }
}

/// How a judgement came into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Through the server.
    Server,
    /// From a file that an offline page saved.
    File,
}

/// A line of the log: a judgement with everything needed to count it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Record {
    /// Milliseconds since 1970, by the server's clock; by the browser's in imported judgements. Of several answers of a
    /// judge to a task the latest counts.
    pub time_ms: u64,
    /// Name of the judge.
    pub judge: String,
    /// Id of the task.
    pub task: String,
    /// Id of the item.
    pub item: String,
    /// System on the left.
    pub left: String,
    /// System on the right.
    pub right: String,
    /// First or second time that the judge saw the pair.
    pub showing: Showing,
    /// Which output is better.
    pub verdict: Verdict,
    /// Scores by criterion.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, SideScores>,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Milliseconds that the judge took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// How it came here.
    pub origin: Origin,
}

impl Record {
    /// The system that the judge preferred, if any.
    pub fn preferred(&self) -> Option<&str> {
        match self.verdict {
            Verdict::Left => Some(&self.left),
            Verdict::Right => Some(&self.right),
            Verdict::Tie | Verdict::BothBad => None,
        }
    }
}

impl Plan {
    /// Checks a judgement of judge number `judge` and completes it to a line of the log, with the place of its task.
    ///
    /// # Errors
    /// A task that is not the judge's, an unknown criterion, a score outside its scale, a required score that is
    /// missing, a comment above 16 KiB.
    pub fn record(
        &self,
        study: &Study,
        judge: usize,
        judgement: Judgement,
        origin: Origin,
        time_ms: u64,
    ) -> Result<(usize, Record), ReviewError> {
        let place = self.place(judge, &judgement.task)?;
        check(study, &judgement)?;
        let task = &self.tasks(judge)[place];
        let Judgement { task: id, verdict, scores, comment, elapsed_ms } = judgement;
        let record = Record {
            time_ms,
            judge: self.judges().nth(judge).unwrap_or_default().to_owned(),
            task: id,
            item: study.items[task.item].id.clone(),
            left: task.left.clone(),
            right: task.right.clone(),
            showing: task.showing,
            verdict,
            scores,
            comment,
            elapsed_ms,
            origin,
        };
        Ok((place, record))
    }
}

fn check(study: &Study, judgement: &Judgement) -> Result<(), ReviewError> {
    let refuse = |place: String, found: String, wanted: String| {
        Err(ReviewError::Judgement { task: judgement.task.clone(), place, found, wanted })
    };
    if judgement.comment.len() > COMMENT_LIMIT {
        let found = format!("{} bytes", judgement.comment.len());
        return refuse("comment".to_owned(), found, format!("at most {COMMENT_LIMIT}"));
    }
    for name in judgement.scores.keys() {
        if !study.criteria.iter().any(|criterion| criterion.name == *name) {
            let found = format!("`{}`", visible(name, 64));
            let names: Vec<&str> = study.criteria.iter().map(|criterion| criterion.name.as_str()).collect();
            return refuse("criterion".to_owned(), found, format!("one of [{}]", names.join(", ")));
        }
    }
    for criterion in &study.criteria {
        let scores = judgement.scores.get(&criterion.name).copied().unwrap_or_default();
        for (side, score) in [("left", scores.left), ("right", scores.right)] {
            let place = || format!("{} {side}", criterion.name);
            let scale = format!("{} to {}", criterion.min, criterion.max);
            match score {
                Some(score) if !(criterion.min..=criterion.max).contains(&score) => {
                    return refuse(place(), score.to_string(), scale);
                }
                None if criterion.need == Need::Required => {
                    return refuse(place(), "no score".to_owned(), scale);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Milliseconds since 1970; 0 on a clock before.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
