//! Whether judges favour a side, and whether they say the same when they see a pair again.

use std::collections::HashMap;

use serde::Serialize;

use super::{Outcome, Rate, Vote};
use crate::{LogContents, Plan, Showing, Verdict};

/// How the verdicts fall on the two sides. Sides are random: without a bias the left share is near one half.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PositionBias {
    /// Verdicts for the left output.
    pub left: usize,
    /// Verdicts for the right output.
    pub right: usize,
    /// Left among left and right, with Wilson's interval: sides are drawn anew for each judge.
    pub left_share: Rate,
}

/// What judges say about pairs that they see a second time with swapped sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Consistency {
    /// Share of the repeats with the same preference as before; two bad outputs are a tie here. With Wilson's
    /// interval.
    pub same: Rate,
    /// By judge.
    pub judges: Vec<JudgeConsistency>,
}

/// How steady one judge is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JudgeConsistency {
    /// Name.
    pub judge: String,
    /// Repeats answered, with their first showing.
    pub repeats: usize,
    /// Same preference as before.
    pub same: usize,
    /// The other system preferred: where this is frequent, the judge goes by the side.
    pub reversed: usize,
}

pub(super) fn position(votes: &[Vote<'_>], confidence: f64) -> PositionBias {
    let count = |verdict| votes.iter().filter(|vote| vote.verdict == verdict).count();
    let (left, right) = (count(Verdict::Left), count(Verdict::Right));
    PositionBias { left, right, left_share: Rate::new(left as f64, left + right, confidence) }
}

pub(super) fn consistency(plan: &Plan, log: &LogContents, confidence: f64) -> Consistency {
    let (latest, _) = log.latest(plan);
    let judges: Vec<JudgeConsistency> = plan
        .judges()
        .zip(&latest)
        .enumerate()
        .map(|(judge, (name, latest))| of_judge(name, plan.tasks(judge), latest, log))
        .collect();
    let (same, of) = judges.iter().fold((0, 0), |(same, of), judge| (same + judge.same, of + judge.repeats));
    Consistency { same: Rate::new(same as f64, of, confidence), judges }
}

fn of_judge(
    name: &str,
    tasks: &[crate::Task],
    latest: &[Option<usize>],
    log: &LogContents,
) -> JudgeConsistency {
    let mut firsts: HashMap<(usize, &str, &str), Outcome> = HashMap::new();
    let mut result = JudgeConsistency { judge: name.to_owned(), repeats: 0, same: 0, reversed: 0 };
    // First showings stand before all repeats.
    for (task, number) in tasks.iter().zip(latest) {
        let Some(number) = number else { continue };
        let outcome = Outcome::of(&log.records[*number]).preference();
        let systems = (task.left.as_str().min(&task.right), task.left.as_str().max(&task.right));
        let key = (task.item, systems.0, systems.1);
        match task.showing {
            Showing::First => {
                firsts.insert(key, outcome);
            }
            Showing::Repeat => {
                let Some(before) = firsts.get(&key) else { continue };
                result.repeats += 1;
                result.same += usize::from(*before == outcome);
                result.reversed += usize::from(*before != Outcome::Tie && *before == outcome.reversed());
            }
        }
    }
    result
}
