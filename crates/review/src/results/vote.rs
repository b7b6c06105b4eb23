//! Judgements by systems in place of sides.

use std::collections::BTreeMap;

use crate::{LogContents, Plan, Record, Showing, SideScores, Verdict};

/// What a judge said about a pair whose systems stand in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    First,
    Second,
    Tie,
    BothBad,
}

impl Outcome {
    pub(crate) fn of(record: &Record) -> Self {
        let ordered = record.left < record.right;
        match (record.verdict, ordered) {
            (Verdict::Left, true) | (Verdict::Right, false) => Self::First,
            (Verdict::Right, true) | (Verdict::Left, false) => Self::Second,
            (Verdict::Tie, _) => Self::Tie,
            (Verdict::BothBad, _) => Self::BothBad,
        }
    }

    /// Points of the first system: a tie is half a win.
    pub(crate) fn points(self) -> f64 {
        match self {
            Self::First => 1.0,
            Self::Second => 0.0,
            Self::Tie | Self::BothBad => 0.5,
        }
    }

    /// As the second system sees it.
    pub(crate) fn reversed(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
            same => same,
        }
    }

    /// Without the difference between a tie and two bad outputs.
    pub(crate) fn preference(self) -> Self {
        if self == Self::BothBad { Self::Tie } else { self }
    }
}

/// The last answer of a judge to the first showing of a pair.
#[derive(Debug, Clone)]
pub(crate) struct Vote<'a> {
    /// Number of the judge.
    pub(crate) judge: usize,
    /// Position of the item.
    pub(crate) item: usize,
    /// The system whose name comes first.
    pub(crate) first: &'a str,
    pub(crate) second: &'a str,
    pub(crate) outcome: Outcome,
    pub(crate) verdict: Verdict,
    pub(crate) left: &'a str,
    pub(crate) right: &'a str,
    pub(crate) scores: &'a BTreeMap<String, SideScores>,
}

/// The votes that count, by judge and in the order shown: independent of the order in which answers came.
pub(crate) fn votes<'a>(plan: &Plan, log: &'a LogContents) -> Vec<Vote<'a>> {
    let (latest, _) = log.latest(plan);
    let mut votes = Vec::new();
    for (judge, latest) in latest.iter().enumerate() {
        for (task, number) in plan.tasks(judge).iter().zip(latest) {
            let Some(record) = number.map(|number| &log.records[number]) else { continue };
            if task.showing == Showing::Repeat {
                continue;
            }
            let (left, right) = (record.left.as_str(), record.right.as_str());
            votes.push(Vote {
                judge,
                item: task.item,
                first: left.min(right),
                second: left.max(right),
                outcome: Outcome::of(record),
                verdict: record.verdict,
                left,
                right,
                scores: &record.scores,
            });
        }
    }
    votes
}
