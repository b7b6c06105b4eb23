//! What a judge's browser is told: nothing more than it shows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Blinding, Criterion, Record, SideScores, Study, Task, Verdict};

/// A task as the page shows it.
#[derive(Debug, Serialize)]
pub(crate) struct TaskView<'a> {
    task: &'a str,
    /// Position among the judge's tasks, from 0.
    at: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a str>,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    left: SideView<'a>,
    right: SideView<'a>,
    answer: Option<AnswerView<'a>>,
}

#[derive(Debug, Serialize)]
struct SideView<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
}

/// What the judge answered before.
#[derive(Debug, Serialize)]
struct AnswerView<'a> {
    verdict: Verdict,
    scores: &'a BTreeMap<String, SideScores>,
    comment: &'a str,
}

/// What the page needs before the first task.
#[derive(Debug, Serialize)]
pub(crate) struct StudyView<'a> {
    title: &'a str,
    instructions: &'a str,
    criteria: &'a [Criterion],
}

impl<'a> TaskView<'a> {
    pub(crate) fn new(study: &'a Study, task: &'a Task, at: usize, answer: Option<&'a Record>) -> Self {
        let item = &study.items[task.item];
        let open = study.options.blinding == Blinding::Open;
        let side = |system: &'a String| SideView {
            text: item.outputs.get(system).map_or("", String::as_str),
            system: open.then_some(system.as_str()),
        };
        Self {
            task: &task.id,
            at,
            item: open.then_some(item.id.as_str()),
            prompt: &item.prompt,
            reference: item.reference.as_deref(),
            context: item.context.as_deref(),
            left: side(&task.left),
            right: side(&task.right),
            answer: answer.map(|record| AnswerView {
                verdict: record.verdict,
                scores: &record.scores,
                comment: &record.comment,
            }),
        }
    }
}

impl<'a> StudyView<'a> {
    pub(crate) fn new(study: &'a Study) -> Self {
        Self { title: &study.title, instructions: &study.instructions, criteria: &study.criteria }
    }
}
