//! Steps on records.

use rayon::prelude::*;

use super::report::CleanReport;
use super::rule::{Drop, Scratch};
use super::{NamedRule, Pipeline};
use crate::record::{Body, Record};

/// Records that one thread cleans in one go.
pub(super) const PART: usize = 64;

/// Cleans records in parallel; order is kept. The report says what each step changed and removed.
///
/// ```
/// use burnisher_data::{Body, Origin, Pipeline, Preset, Record, clean};
///
/// let record = |line, text: &str| Record::new(Body::Text(text.to_owned()), Origin::new("a.jsonl", line));
/// let (records, report) = clean(vec![record(1, "cafÃ©  au lait ")], &Pipeline::preset(Preset::Basic)?);
/// assert_eq!(records[0].body, Body::Text("café au lait".to_owned()));
/// assert_eq!(report.kept, 1);
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
pub fn clean(records: Vec<Record>, pipeline: &Pipeline) -> (Vec<Record>, CleanReport) {
    let mut kept = Vec::with_capacity(records.len());
    let mut report = pipeline.report();
    for (part, part_report) in clean_parts(records, pipeline, |record| Some(record)) {
        kept.extend(part);
        report.merge(&part_report);
    }
    (kept, report)
}

/// Cleans the records of `items` part by part; an item without a record stays as it is.
pub(super) fn clean_parts<T: Send>(
    items: Vec<T>,
    pipeline: &Pipeline,
    record_of: impl Fn(&mut T) -> Option<&mut Record> + Sync,
) -> Vec<(Vec<T>, CleanReport)> {
    let mut parts: Vec<Vec<T>> = Vec::with_capacity(items.len().div_ceil(PART));
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        parts.push(items.by_ref().take(PART).collect());
    }
    let clean_part = |mut part: Vec<T>| {
        let mut report = pipeline.report();
        let mut scratch = Scratch::default();
        part.retain_mut(|item| {
            record_of(item).is_none_or(|record| clean_record(record, pipeline, &mut scratch, &mut report))
        });
        (part, report)
    };
    parts.into_par_iter().map(clean_part).collect()
}

/// Runs every step on a record; `false` if one drops it.
fn clean_record(
    record: &mut Record,
    pipeline: &Pipeline,
    scratch: &mut Scratch,
    report: &mut CleanReport,
) -> bool {
    report.records += 1;
    scratch.forget();
    let mut whole = String::new();
    let mut is_joined = false;
    for (NamedRule { rule, .. }, step) in pipeline.rules.iter().zip(&mut report.steps) {
        step.seen += 1;
        scratch.findings.clear();
        let mut drop = too_large_record(record);
        if rule.checks() && drop.is_none() {
            let text = match &record.body {
                Body::Text(text) => text,
                _ if is_joined => &whole,
                _ => {
                    whole = record.user_and_assistant_text();
                    is_joined = true;
                    &whole
                }
            };
            drop = rule.check(text, scratch);
        }
        if rule.edits() && drop.is_none() {
            let is_single = matches!(record.body, Body::Text(_));
            let origin = record.origin.clone();
            let mut is_changed = false;
            for text in texts(&mut record.body) {
                // The analysis is of the whole, which of a record with several texts no single one is.
                if !is_single {
                    scratch.forget();
                }
                if let Some(new) = rule.edit(text, scratch) {
                    if !is_changed {
                        step.add_change(&origin, text, &new);
                    }
                    *text = new;
                    is_changed = true;
                }
            }
            match (is_single, is_changed) {
                (true, true) => scratch.follow(),
                (true, false) => {}
                (false, _) => scratch.forget(),
            }
            if is_changed {
                is_joined = false;
                step.changed += 1;
                drop = if calls_tools(record) { None } else { nothing_left(&record.trained_text()) };
            }
        }
        for (kind, count) in &scratch.findings {
            *step.findings.entry((*kind).to_owned()).or_default() += count;
        }
        if let Some(drop) = drop {
            let text = if step.wants_sample() { record.user_and_assistant_text() } else { String::new() };
            step.add_drop(&record.origin, &text, &drop);
            return false;
        }
    }
    report.kept += 1;
    true
}

/// Every text of a body.
fn texts(body: &mut Body) -> Vec<&mut String> {
    match body {
        Body::Text(text) => vec![text],
        Body::Completion { prompt, completion } => vec![prompt, completion],
        Body::Messages(messages) => messages.iter_mut().map(|message| &mut message.content).collect(),
        Body::Alpaca { instruction, input, output } => vec![instruction, input, output],
        Body::Question { question, context, answer } => vec![question, context, answer],
    }
}

/// Offsets are 32 bits wide.
pub(super) fn too_large(text: &str) -> Option<Drop> {
    if text.len() < u32::MAX as usize { None } else { Drop::new("too_large", text.len() as f64) }
}

fn too_large_record(record: &Record) -> Option<Drop> {
    let bytes: usize = match &record.body {
        Body::Text(text) => text.len(),
        _ => record.turns().iter().map(|(_, text)| text.len() + 1).sum(),
    };
    if bytes < u32::MAX as usize { None } else { Drop::new("too_large", bytes as f64) }
}

/// Whether the assistant calls tools, which is something to learn without a text.
fn calls_tools(record: &Record) -> bool {
    let Body::Messages(messages) = &record.body else { return false };
    messages.iter().any(|message| message.role == "assistant" && !message.tool_calls().is_empty())
}

/// An edit that leaves nothing to learn drops the record.
pub(super) fn nothing_left(text: &str) -> Option<Drop> {
    if text.trim().is_empty() { Drop::new("nothing_left", 0.0) } else { None }
}
