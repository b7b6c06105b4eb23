//! Answers that were paid for, on disk.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::Answer;
use crate::error::DataError;
use crate::record::Origin;

/// How often, and how long each time, a folder that another run has open is waited for.
const WAITS: usize = 10;
const WAIT: Duration = Duration::from_millis(50);

/// Answers by the key of their question, in `answers.jsonl` of a folder: one line an answer, appended and written
/// through to the disk before the answer is used. A crash, or the end of the power, loses at most the answers that were on
/// their way, one for each request at the same time. Answers to other questions (another task, another model) do no harm.
///
/// The file is locked while it is open, so that two runs cannot interleave lines; the lock ends with the process.
#[derive(Debug)]
pub struct DiskCache {
    path: PathBuf,
    journal: Mutex<Journal>,
    repaired: usize,
}

#[derive(Debug)]
struct Journal {
    file: File,
    answers: HashMap<String, Answer>,
    /// Where half a line begins that could not be taken back.
    torn: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    answer: Answer,
}

impl DiskCache {
    /// Opens the cache in a folder, which is made where it is missing. Half a last line, which a crash left, is cut off.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] and [`DataError::Write`] if the folder or file cannot be used,
    /// [`DataError::CacheInUse`] if another run has it open, [`DataError::Json`] or [`DataError::Utf8`] for a damaged
    /// line that is not the last.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = dir.as_ref().join("answers.jsonl");
        let write = |source| DataError::Write { path: path.clone(), source };
        let read = |source| DataError::Read { path: path.clone(), source };
        let made = dir.as_ref().ancestors().take_while(|folder| !folder.exists()).count();
        fs::create_dir_all(dir.as_ref()).map_err(write)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(write)?;
        // A process that is just being started holds the files of its parent for a moment.
        for wait in 0..=WAITS {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if wait < WAITS => thread::sleep(WAIT),
                Err(TryLockError::WouldBlock) => return Err(DataError::CacheInUse { path }),
                Err(TryLockError::Error(source)) => return Err(read(source)),
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(read)?;
        if bytes.is_empty() {
            // The folder's own entry, and those of the folders that were made for it.
            for folder in dir.as_ref().ancestors().take(made + 1) {
                let here = folder.as_os_str().is_empty();
                sync_folder(if here { Path::new(".") } else { folder }).map_err(write)?;
            }
        }
        let mut whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if serde_json::from_slice::<Line>(&bytes[whole..]).is_ok() {
            // Only the line break is missing, and the answer was paid for.
            file.write_all(b"\n").and_then(|()| file.sync_data()).map_err(write)?;
            whole = bytes.len();
        }
        let repaired = bytes.len() - whole;
        if repaired > 0 {
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(write)?;
            file.seek(SeekFrom::End(0)).map_err(write)?;
        }
        let mut answers = HashMap::new();
        for (number, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let origin = || Origin::new(path.display().to_string(), number + 1);
            let text = std::str::from_utf8(line)
                .map_err(|error| DataError::Utf8 { origin: origin(), column: error.valid_up_to() + 1 })?;
            let line: Line = serde_json::from_str(text)
                .map_err(|error| DataError::Json { origin: origin(), message: error.to_string() })?;
            answers.insert(line.key, line.answer);
        }
        Ok(Self { path, journal: Mutex::new(Journal { file, answers, torn: None }), repaired })
    }

    /// The answer to a question, if it is there.
    pub fn get(&self, key: &str) -> Option<Answer> {
        self.journal().answers.get(key).cloned()
    }

    /// Keeps an answer; when this returns, it is on the disk.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] if the disk does not take it.
    pub fn put(&self, key: &str, answer: &Answer) -> Result<(), DataError> {
        let write = |source| DataError::Write { path: self.path.clone(), source };
        let line = Line { key: key.to_owned(), answer: answer.clone() };
        let mut text = serde_json::to_string(&line).map_err(|error| write(error.into()))?;
        text.push('\n');
        let mut journal = self.journal();
        if let Some(end) = journal.torn {
            journal.file.set_len(end).map_err(write)?;
            journal.torn = None;
        }
        let before = journal.file.metadata().map_err(write)?.len();
        let written = journal.file.write_all(text.as_bytes()).and_then(|()| journal.file.sync_data());
        if let Err(source) = written {
            // Half a line in the middle would spoil the file for good.
            journal.torn = journal.file.set_len(before).is_err().then_some(before);
            return Err(write(source));
        }
        journal.answers.insert(line.key, line.answer);
        Ok(())
    }

    /// Answers kept.
    pub fn len(&self) -> usize {
        self.journal().answers.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of a torn last line that were cut off at opening.
    pub fn repaired_bytes(&self) -> usize {
        self.repaired
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the name of a new file through to the disk.
#[cfg(unix)]
fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Folders cannot be opened there.
#[cfg(not(unix))]
fn sync_folder(_dir: &Path) -> io::Result<()> {
    Ok(())
}
