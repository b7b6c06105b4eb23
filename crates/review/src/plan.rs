//! Which pairs a judge sees, in which order and on which sides.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{ReviewError, Study, draw::draw, study::check_name, visible::visible};

/// Whether a judge sees a pair for the first or for the second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Showing {
    /// The judgement counts.
    First,
    /// The same pair with swapped sides: shows how steady the judge is, and counts for nothing else.
    Repeat,
}

/// One pair of outputs for one judge.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// 32 hexadecimal digits that tell nothing of item, systems or sides.
    pub id: String,
    /// Position of the item in the study, from 0.
    pub item: usize,
    /// System on the left.
    pub left: String,
    /// System on the right.
    pub right: String,
    /// First or second time.
    pub showing: Showing,
}

/// The tasks of all judges of a study, in the order shown.
///
/// Every draw is a function of (seed, judge, item, pair): nothing depends on who comes first, and a study served twice
/// is the same study, and a judge who is left out of the study keeps the tasks that the log knows. Repeats come after all first showings, in their order, so that at least as many tasks as there
/// are repeats lie between the two showings of a pair.
#[derive(Debug, Clone)]
pub struct Plan {
    study: String,
    judges: Vec<JudgePlan>,
    identical: usize,
}

#[derive(Debug, Clone)]
struct JudgePlan {
    name: String,
    tasks: Vec<Task>,
    places: HashMap<String, usize>,
}

impl Plan {
    /// Draws the tasks.
    ///
    /// A pair whose two outputs are the same text is not shown; [`Plan::identical_pairs`] counts them.
    ///
    /// # Errors
    /// Whatever [`Study::validate`] finds.
    pub fn new(study: &Study) -> Result<Self, ReviewError> {
        study.validate()?;
        let pairs = all_pairs(study);
        let all: usize =
            study.items.iter().map(|item| item.outputs.len() * (item.outputs.len() - 1) / 2).sum();
        let identical = all - pairs.iter().map(Vec::len).sum::<usize>();
        let judges = study.options.judges.iter().map(|judge| JudgePlan::new(study, &judge.name, &pairs));
        Ok(Self { study: study.digest(), judges: judges.collect(), identical })
    }

    /// The [digest](Study::digest) of the study.
    pub fn study(&self) -> &str {
        &self.study
    }

    /// The names of the judges: those of the study in its order, then those whom only the log knows, in the order in
    /// which they appear there (see [`read_log`](crate::read_log)).
    pub fn judges(&self) -> impl ExactSizeIterator<Item = &str> {
        self.judges.iter().map(|judge| judge.name.as_str())
    }

    /// The tasks of judge number `judge`, from 0, in the order shown; none for a number without a judge.
    pub fn tasks(&self, judge: usize) -> &[Task] {
        self.judges.get(judge).map_or(&[], |judge| &judge.tasks)
    }

    /// Pairs of the whole study that are not shown because both outputs are the same text.
    pub fn identical_pairs(&self) -> usize {
        self.identical
    }

    /// The number of the judge with this name.
    ///
    /// # Errors
    /// No such judge.
    pub fn judge(&self, name: &str) -> Result<usize, ReviewError> {
        self.judges.iter().position(|judge| judge.name == name).ok_or_else(|| ReviewError::UnknownJudge {
            found: visible(name, 100),
            wanted: self.judges().collect::<Vec<_>>().join(", "),
        })
    }

    /// The number of the judge with this name, who is added with their tasks where the plan does not have them.
    ///
    /// # Errors
    /// A name that no study could have.
    pub(crate) fn admit(&mut self, study: &Study, name: &str) -> Result<usize, ReviewError> {
        if let Ok(judge) = self.judge(name) {
            return Ok(judge);
        }
        check_name("judge", name)?;
        self.judges.push(JudgePlan::new(study, name, &all_pairs(study)));
        Ok(self.judges.len() - 1)
    }

    /// The plan without these judges: what is counted by it leaves their judgements out.
    ///
    /// # Errors
    /// A name that is not in the plan.
    pub fn without<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Result<Self, ReviewError> {
        let mut plan = self.clone();
        for name in names {
            let name = name.as_ref();
            self.judge(name)?;
            plan.judges.retain(|judge| judge.name != name);
        }
        Ok(plan)
    }

    /// The place of a task among those of judge number `judge`, from 0.
    ///
    /// # Errors
    /// The judge has no such task.
    pub fn place(&self, judge: usize, task: &str) -> Result<usize, ReviewError> {
        let plan = self.judges.get(judge);
        plan.and_then(|plan| plan.places.get(task)).copied().ok_or_else(|| ReviewError::UnknownTask {
            judge: plan.map_or_else(String::new, |plan| plan.name.clone()),
            found: visible(task, 64),
        })
    }
}

impl JudgePlan {
    fn new(study: &Study, judge: &str, pairs: &[Vec<(&str, &str)>]) -> Self {
        let options = &study.options;
        let mut first = Vec::new();
        for (index, (item, pairs)) in study.items.iter().zip(pairs).enumerate() {
            let mut drawn: Vec<(u128, Task)> = pairs
                .iter()
                .map(|(one, other)| {
                    let bits = |purpose| draw(options.seed, purpose, &[judge, &item.id, one, other]);
                    let (left, right) = if bits("side") & 1 == 0 { (one, other) } else { (other, one) };
                    let task = Task {
                        id: format!("{:032x}", bits("task")),
                        item: index,
                        left: (*left).to_owned(),
                        right: (*right).to_owned(),
                        showing: Showing::First,
                    };
                    (bits("order"), task)
                })
                .collect();
            if let Some(most) = options.pairs_per_item.filter(|most| *most < drawn.len()) {
                drawn.sort_by_key(|(_, task)| draw(options.seed, "choice", &[&task.id]));
                drawn.truncate(most);
            }
            first.extend(drawn);
        }
        first.sort_by(|(one, a), (other, b)| (one, &a.id).cmp(&(other, &b.id)));
        let mut tasks: Vec<Task> = first.into_iter().map(|(_, task)| task).collect();
        let repeats = repeats(study, judge, &tasks);
        tasks.extend(repeats);
        let places = tasks.iter().enumerate().map(|(place, task)| (task.id.clone(), place)).collect();
        Self { name: judge.to_owned(), tasks, places }
    }
}

/// The first shown pair of the drawn items, sides swapped, in the order shown.
fn repeats(study: &Study, judge: &str, tasks: &[Task]) -> Vec<Task> {
    let mut firsts: HashMap<usize, usize> = HashMap::new();
    for (place, task) in tasks.iter().enumerate() {
        firsts.entry(task.item).or_insert(place);
    }
    let seed = study.options.seed;
    let wanted = (study.options.repeats * firsts.len() as f64).round() as usize;
    let mut places: Vec<usize> = firsts.into_values().collect();
    places.sort_by_key(|place| (draw(seed, "repeat", &[judge, &study.items[tasks[*place].item].id]), *place));
    places.truncate(wanted);
    places.sort_unstable();
    let swapped = |place: usize| {
        let task = &tasks[place];
        Task {
            id: format!("{:032x}", draw(seed, "repeated task", &[&task.id])),
            item: task.item,
            left: task.right.clone(),
            right: task.left.clone(),
            showing: Showing::Repeat,
        }
    };
    places.into_iter().map(swapped).collect()
}

/// By item, the pairs that are shown.
fn all_pairs(study: &Study) -> Vec<Vec<(&str, &str)>> {
    study.items.iter().map(|item| pairs(&item.outputs)).collect()
}

/// All pairs of systems, each in the order of names, whose outputs differ.
fn pairs(outputs: &std::collections::BTreeMap<String, String>) -> Vec<(&str, &str)> {
    let systems: Vec<_> = outputs.iter().collect();
    let mut pairs = Vec::new();
    for (index, (one, text)) in systems.iter().enumerate() {
        let others = systems[index + 1..].iter().filter(|(_, other)| other != text);
        pairs.extend(others.map(|(other, _)| (one.as_str(), other.as_str())));
    }
    pairs
}
