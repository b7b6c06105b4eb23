//! A judge's whole study in one file, for a machine without the server.

use serde_json::json;

use super::{policy, render};
use crate::{
    Plan, ReviewError, Study,
    view::{StudyView, TaskView},
};

/// The page of one judge with all tasks inside. It works from a file without any network, keeps answers in the
/// browser's storage, and saves them to and takes them from JSONL files, which [`import`](crate::import()) reads.
///
/// In a blind study the page holds no name of a system, as the served one, and in any study no token.
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
