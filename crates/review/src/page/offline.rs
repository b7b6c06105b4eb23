//! A judge's whole study in one file, for a machine without the server, and the way back into the log.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{policy, render};
use crate::{
    Judgement, Origin, Plan, Record, ReviewError, SideScores, Study, Verdict,
    view::{StudyView, TaskView},
};

/// The page of one judge with all tasks inside. It works from a file without any network, keeps answers in the
/// browser's storage, and saves them to and takes them from JSONL files, which [`import`] reads.
///
/// In a blind study the page holds no name of a system, as the served one.
///
/// # Errors
/// A study that does not validate; a judge who is not in it.
pub fn offline_page(study: &Study, judge: &str) -> Result<String, ReviewError> {
    let plan = Plan::new(study)?;
    let tasks = plan.tasks(plan.judge(judge)?);
    let views: Vec<TaskView<'_>> =
        tasks.iter().enumerate().map(|(place, task)| TaskView::new(study, task, place, None)).collect();
    let data = json!({
        "digest": plan.study(),
        "judge": judge,
        "study": StudyView::new(study),
        "tasks": views,
    });
    render(study, Some(&data), &policy("'none'", ""))
}

/// The first line of a file that an offline page saved.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    burnisher_offline: u32,
    study: String,
    judge: String,
}

/// Any other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    time_ms: u64,
    task: String,
    verdict: Verdict,
    #[serde(default)]
    scores: std::collections::BTreeMap<String, SideScores>,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    elapsed_ms: Option<u64>,
}

/// The judgements of one offline file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// Who judged.
    pub judge: String,
    /// The judgements in the log's form, for [`JudgementLog::append_all`](crate::JudgementLog::append_all).
    pub records: Vec<Record>,
}

/// Reads what an offline page saved.
///
/// # Errors
/// A file that cannot be read, of another study, of a judge who is not in it; a line that is no judgement of one of the
/// judge's tasks, with its number.
pub fn import(study: &Study, path: impl AsRef<Path>) -> Result<Imported, ReviewError> {
    let path = path.as_ref();
    let plan = Plan::new(study)?;
    let text = fs::read_to_string(path).map_err(ReviewError::io("read", path))?;
    let json = |line: usize| move |source| ReviewError::Json { path: path.to_owned(), line, source };
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (_, first) = lines.next().unwrap_or((1, ""));
    let head: Head = serde_json::from_str(first).map_err(json(1))?;
    if head.study != plan.study() || head.burnisher_offline != 1 {
        let found = format!("{} (version {})", head.study, head.burnisher_offline);
        let wanted = format!("{} (version 1)", plan.study());
        return Err(ReviewError::ForeignLog { path: path.to_owned(), found, wanted });
    }
    let judge = plan.judge(&head.judge)?;
    let mut records = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let Line { time_ms, task, verdict, scores, comment, elapsed_ms } =
            serde_json::from_str(line).map_err(json(number))?;
        let judgement = Judgement { task, verdict, scores, comment, elapsed_ms };
        let (_, record) = plan.record(study, judge, judgement, Origin::File, time_ms).map_err(|source| {
            ReviewError::LogLine { path: path.to_owned(), line: number, source: Box::new(source) }
        })?;
        records.push(record);
    }
    Ok(Imported { judge: head.judge, records })
}
