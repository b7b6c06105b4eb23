//! The append-only log of judgements: a line each, on the disk before the judge is thanked.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Judgement, Plan, Record, ReviewError, Study};

/// How often, and how long each time, a log that another process holds is waited for.
const WAITS: usize = 10;
const WAIT: std::time::Duration = std::time::Duration::from_millis(50);

const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    burnisher_review: u32,
    study: String,
    title: String,
}

/// The judgements of a log and where they stand in the plan.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LogContents {
    /// Every judgement in the order written, changed ones too.
    pub records: Vec<Record>,
    /// A last line that was cut off while it was written; no judge was told that it is saved.
    pub torn: Option<String>,
}

impl LogContents {
    /// For each judge and task of the plan the number of its latest record by [`Record::time_ms`], the last written of
    /// equally late ones, and how many records are replaced by a later one. Judges who are not in the plan are left out.
    pub fn latest(&self, plan: &Plan) -> (Vec<Vec<Option<usize>>>, usize) {
        let judges = plan.judges().len();
        let mut latest: Vec<Vec<Option<usize>>> =
            (0..judges).map(|judge| vec![None; plan.tasks(judge).len()]).collect();
        let mut changed = 0;
        for (index, record) in self.records.iter().enumerate() {
            let Ok(judge) = plan.judge(&record.judge) else { continue };
            let Ok(place) = plan.place(judge, &record.task) else { continue };
            let counts = &mut latest[judge][place];
            match *counts {
                Some(before) => {
                    changed += 1;
                    if record.time_ms >= self.records[before].time_ms {
                        *counts = Some(index);
                    }
                }
                None => *counts = Some(index),
            }
        }
        (latest, changed)
    }
}

/// A log open for writing, locked against other processes.
#[derive(Debug)]
pub struct JudgementLog {
    path: PathBuf,
    file: File,
    /// Bytes that are whole lines on the disk.
    length: u64,
    broken: bool,
}

impl JudgementLog {
    /// Opens or creates a log and reads what it holds.
    ///
    /// A last line without its end is what a killed process leaves: it is cut off and returned in
    /// [`LogContents::torn`]. It is kept where it is a whole record that lacks only the line feed.
    ///
    /// Judges whom the log knows and the study does not name (any more) are added to the plan: their judgements stay.
    ///
    /// # Errors
    /// A file that cannot be read, written or locked; a log of another study; a line that does not fit the study.
    pub fn open(
        path: impl Into<PathBuf>,
        study: &Study,
        plan: &mut Plan,
    ) -> Result<(Self, LogContents), ReviewError> {
        let path = path.into();
        let created = !path.exists();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = private(&mut options).open(&path).map_err(ReviewError::io("open", &path))?;
        // A process that is just being started holds the files of its parent for a moment.
        for wait in 0..=WAITS {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if wait < WAITS => std::thread::sleep(WAIT),
                Err(TryLockError::WouldBlock) => return Err(ReviewError::LogInUse { path }),
                Err(TryLockError::Error(source)) => return Err(ReviewError::io("lock", &path)(source)),
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(ReviewError::io("read", &path))?;
        let parsed = parse(&path, &bytes, study, plan)?;
        let mut log = Self { path, file, length: parsed.whole, broken: false };
        log.cut()?;
        if parsed.unended {
            log.write(b"\n")?;
        }
        if !parsed.headed {
            let head = Head {
                burnisher_review: VERSION,
                study: plan.study().to_owned(),
                title: study.title.clone(),
            };
            log.write(&line(&head))?;
        }
        if created {
            sync_folder(&log.path)?;
        }
        Ok((log, parsed.contents))
    }

    /// Writes one judgement; when this returns, it is on the disk.
    ///
    /// # Errors
    /// The disk is full or fails. What was half written is taken back, so that the log stays whole.
    pub fn append(&mut self, record: &Record) -> Result<(), ReviewError> {
        self.write(&line(record))
    }

    /// Writes many judgements, those of an offline page for example, with one wait for the disk.
    ///
    /// # Errors
    /// As [`append`](Self::append); then none is written.
    pub fn append_all(&mut self, records: &[Record]) -> Result<(), ReviewError> {
        let lines: Vec<u8> = records.iter().flat_map(line).collect();
        self.write(&lines)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ReviewError> {
        if self.broken {
            return Err(ReviewError::LogBroken { path: self.path.clone() });
        }
        match self.file.write_all(bytes).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.broken = self.cut().is_err();
                Err(ReviewError::io("write", &self.path)(source))
            }
        }
    }

    /// Drops everything behind the last whole line.
    fn cut(&mut self) -> Result<(), ReviewError> {
        let mut cut = || {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            self.file.sync_data()
        };
        cut().map_err(ReviewError::io("repair", &self.path))
    }
}

/// Reads a log without locking or repairing it, while a server writes it for example. Judges whom only the log knows are
/// added to the plan.
///
/// # Errors
/// As [`JudgementLog::open`], but for locking and writing.
pub fn read_log(path: impl AsRef<Path>, study: &Study, plan: &mut Plan) -> Result<LogContents, ReviewError> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(ReviewError::io("read", path))?;
    Ok(parse(path, &bytes, study, plan)?.contents)
}

struct Parsed {
    contents: LogContents,
    /// Bytes of the lines that are kept.
    whole: u64,
    /// The last line that is kept lacks its line feed.
    unended: bool,
    headed: bool,
}

fn parse(path: &Path, bytes: &[u8], study: &Study, plan: &mut Plan) -> Result<Parsed, ReviewError> {
    let mut parsed = Parsed { contents: LogContents::default(), whole: 0, unended: false, headed: false };
    for (index, bytes) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let ended = bytes.ends_with(b"\n");
        let read = if index == 0 {
            read_head(path, bytes, plan).map(|()| None)
        } else {
            read_line(path, index + 1, bytes, study, plan).map(Some)
        };
        match read {
            Ok(record) => parsed.contents.records.extend(record),
            Err(ReviewError::Json { .. }) if !ended => {
                parsed.contents.torn = Some(String::from_utf8_lossy(bytes).into_owned());
                break;
            }
            Err(error) => return Err(error),
        }
        parsed.headed = true;
        parsed.whole += bytes.len() as u64;
        parsed.unended = !ended;
    }
    Ok(parsed)
}

fn read_head(path: &Path, bytes: &[u8], plan: &Plan) -> Result<(), ReviewError> {
    let head: Head = serde_json::from_slice(bytes).map_err(|source| ReviewError::Json {
        path: path.to_owned(),
        line: 1,
        source,
    })?;
    if head.study != plan.study() || head.burnisher_review != VERSION {
        let found = format!("{} (version {})", head.study, head.burnisher_review);
        let wanted = format!("{} (version {VERSION})", plan.study());
        return Err(ReviewError::ForeignLog { path: path.to_owned(), found, wanted });
    }
    Ok(())
}

fn read_line(
    path: &Path,
    line: usize,
    bytes: &[u8],
    study: &Study,
    plan: &mut Plan,
) -> Result<Record, ReviewError> {
    let record: Record = serde_json::from_slice(bytes).map_err(|source| ReviewError::Json {
        path: path.to_owned(),
        line,
        source,
    })?;
    let fits = plan.admit(study, &record.judge).and_then(|judge| {
        let judgement = Judgement {
            task: record.task.clone(),
            verdict: record.verdict,
            scores: record.scores.clone(),
            comment: record.comment.clone(),
            elapsed_ms: record.elapsed_ms,
        };
        let (_, wanted) = plan.record(study, judge, judgement, record.origin, record.time_ms)?;
        if wanted == record {
            return Ok(());
        }
        let place = format!("task `{}`", record.task);
        let found = format!("item `{}`, `{}` against `{}`", record.item, record.left, record.right);
        Err(ReviewError::study(place, found, "the item and sides that the plan has for it"))
    });
    match fits {
        Ok(()) => Ok(record),
        Err(source) => Err(ReviewError::LogLine { path: path.to_owned(), line, source: Box::new(source) }),
    }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Readable and writable by this user only: a log holds names, comments and sides.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes a new name in a folder last.
pub(crate) fn sync_folder(path: &Path) -> Result<(), ReviewError> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(ReviewError::io("write", folder))?;
    }
    Ok(())
}
