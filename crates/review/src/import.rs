//! What offline pages saved, into the log.

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    Judgement, JudgementLog, Origin, Plan, Record, ReviewError, SideScores, Study, Verdict, log::read_log,
    visible::visible,
};

const VERSION: u32 = 1;
/// Longest line, in bytes: a comment of 16 KiB fits with every letter escaped.
const LINE_LIMIT: u64 = 256 * 1024;
/// Refused lines that are reported one by one.
const REPORTED: usize = 20;
/// Letters of a reason: it may quote the file.
const REASON_LIMIT: usize = 300;

/// What became of the lines of one offline file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// Who judged.
    pub judge: String,
    /// Judgements written to the log.
    pub new: usize,
    /// Those of the new ones that do not count, because the log or the file holds a later answer to the same task.
    pub superseded: usize,
    /// Judgements that the log has already, or that stand in the file twice.
    pub duplicates: usize,
    /// Lines that are no judgement of one of the judge's tasks.
    pub refused: usize,
    /// The first 20 of them.
    pub reasons: Vec<RefusedLine>,
    /// A last line of the log that was written in part when its program was killed, and that was cut off.
    pub torn: Option<String>,
}

/// A line that was not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedLine {
    /// Its number, from 1.
    pub line: usize,
    /// What was found and what was wanted, fit for a terminal.
    pub reason: String,
}

impl fmt::Display for ImportReport {
    /// One line, and one more for each reported refusal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { judge, new, superseded, duplicates, refused, reasons, torn } = self;
        write!(f, "{judge}: {new} new")?;
        if *superseded > 0 {
            write!(f, " ({superseded} of them older than another answer to the same task)")?;
        }
        write!(f, ", {duplicates} already there, {refused} refused")?;
        for RefusedLine { line, reason } in reasons {
            write!(f, "\n  line {line}: {reason}")?;
        }
        if let Some(torn) = torn {
            write!(f, "\n  the last line of the log was written in part, and was cut off: {torn}")?;
        }
        if *refused > reasons.len() {
            write!(f, "\n  and {} lines more", refused - reasons.len())?;
        }
        Ok(())
    }
}

/// The first line of a file that an offline page saved.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    burnisher_offline: u32,
    study: String,
    judge: String,
}

/// Any other line.
#[derive(Deserialize)]
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

/// Adds to a log what an [`offline_page`](crate::offline_page) saved; the log is created where it is missing.
///
/// Judgements are written in the order of their time, none takes an older one away, and of several answers to a task
/// the latest counts, wherever it comes from. A judgement that the log has is not written again: importing a file
/// twice, or again after a crash, changes nothing. A line that does not fit is left out, counted and explained, and
/// the others are imported.
///
/// # Errors
/// A file that cannot be read or whose first line is not that of saved answers; answers of another study; a judge whom
/// neither the study nor the log knows, unless the study names nobody; a log that [`JudgementLog::open`] refuses, that
/// of a running server for example. Then nothing is written.
pub fn import(
    study: &Study,
    log: impl Into<PathBuf>,
    file: impl AsRef<Path>,
) -> Result<ImportReport, ReviewError> {
    let path = file.as_ref();
    let mut plan = Plan::new(study)?;
    let mut lines = Lines::open(path)?;
    let head = read_head(path, lines.next()?, &plan)?;
    let log = log.into();
    if !study.options.judges.is_empty() {
        // Opening mends the log, or makes one: who is not known finds out before.
        let mut known = plan.clone();
        if log.exists() {
            read_log(&log, study, &mut known)?;
        }
        known.judge(&head.judge)?;
    }
    let (mut log, mut contents) = JudgementLog::open(log, study, &mut plan)?;
    let judge = match plan.judge(&head.judge) {
        Err(_) if study.options.judges.is_empty() => plan.admit(study, &head.judge)?,
        found => found?,
    };
    let mut known: HashSet<Vec<u8>> = contents.records.iter().map(key).collect();
    let torn = contents.torn.take().map(|text| visible(&text, REASON_LIMIT));
    let mut report = ImportReport { judge: head.judge, torn, ..ImportReport::default() };
    let mut new = Vec::new();
    while let Some((number, bytes)) = lines.next()? {
        match read_line(study, &plan, judge, &bytes) {
            Ok(None) => {}
            Ok(Some(record)) if known.insert(key(&record)) => new.push(record),
            Ok(Some(_)) => report.duplicates += 1,
            Err(reason) => {
                report.refused += 1;
                if report.reasons.len() < REPORTED {
                    report.reasons.push(RefusedLine { line: number, reason: visible(&reason, REASON_LIMIT) });
                }
            }
        }
    }
    new.sort_by_key(|record| record.time_ms);
    if !new.is_empty() {
        log.append_all(&new)?;
    }
    report.new = new.len();
    let before = contents.records.len();
    contents.records.extend(new);
    let (latest, _) = contents.latest(&plan);
    let counting = latest[judge].iter().flatten().filter(|number| **number >= before).count();
    report.superseded = report.new - counting;
    Ok(report)
}

/// What makes two judgements the same one.
fn key(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

fn read_head(path: &Path, first: Option<(usize, Vec<u8>)>, plan: &Plan) -> Result<Head, ReviewError> {
    let bytes = first.map_or_else(Vec::new, |(_, bytes)| bytes);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let head: Head = serde_json::from_slice(bytes).map_err(|source| ReviewError::Json {
        path: path.to_owned(),
        line: 1,
        source,
    })?;
    if head.study != plan.study() || head.burnisher_offline != VERSION {
        let found = format!("{} (version {})", visible(&head.study, 64), head.burnisher_offline);
        let wanted = format!("{} (version {VERSION})", plan.study());
        return Err(ReviewError::ForeignLog { path: path.to_owned(), found, wanted });
    }
    Ok(head)
}

/// The record of a line; `None` of an empty one.
fn read_line(study: &Study, plan: &Plan, judge: usize, bytes: &[u8]) -> Result<Option<Record>, String> {
    if bytes.len() as u64 > LINE_LIMIT {
        return Err(format!("found a line above {LINE_LIMIT} bytes"));
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let Line { time_ms, task, verdict, scores, comment, elapsed_ms } =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let judgement = Judgement { task, verdict, scores, comment, elapsed_ms };
    let (_, record) =
        plan.record(study, judge, judgement, Origin::File, time_ms).map_err(|error| error.to_string())?;
    Ok(Some(record))
}

/// Lines with their numbers, of which no more is held than the limit and one byte.
struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    number: usize,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, ReviewError> {
        let file = File::open(path).map_err(ReviewError::io("read", path))?;
        Ok(Self { path, reader: BufReader::new(file), number: 0 })
    }

    fn next(&mut self) -> Result<Option<(usize, Vec<u8>)>, ReviewError> {
        let line = self.read().map_err(ReviewError::io("read", self.path))?;
        self.number += 1;
        Ok((!line.is_empty()).then_some((self.number, line)))
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.reader).take(LINE_LIMIT + 1).read_until(b'\n', &mut line)?;
        if line.len() as u64 > LINE_LIMIT && !line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
        }
        Ok(line)
    }
}
