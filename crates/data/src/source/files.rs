use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::format::Format;
use super::report::SkipReason;
use crate::error::DataError;

/// Names that describe a folder of data instead of being part of it.
const ABOUT: [&str; 4] = ["readme", "license", "licence", "changelog"];

/// The files of a source, and what was left out in looking for them.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) ignored: Vec<(PathBuf, SkipReason)>,
}

impl Files {
    /// A file as it is named, a folder, or a pattern.
    pub(crate) fn find(path: &Path) -> Result<Self, DataError> {
        let read_error = |source| DataError::Read { path: path.to_path_buf(), source };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => folder(path),
            Ok(metadata) => {
                // A pipe can be opened only once.
                if metadata.is_file() {
                    File::open(path).map_err(read_error)?;
                }
                Ok(Self { files: vec![path.to_path_buf()], ignored: Vec::new() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(path) => matching(path),
            Err(error) => Err(read_error(error)),
        }
    }

    /// True if the source is one file that is not part of a set.
    pub(crate) fn is_single(&self) -> bool {
        self.files.len() == 1 && self.ignored.is_empty()
    }
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

fn matching(pattern: &Path) -> Result<Files, DataError> {
    let text = pattern.to_string_lossy();
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let paths = glob::glob_with(&text, options).map_err(|error| DataError::InvalidConfig {
        field: "path",
        found: format!("{text} ({error})"),
        wanted: "a file, a folder or a glob pattern",
    })?;
    let (mut files, mut ignored) = (BTreeSet::new(), Vec::new());
    for path in paths {
        let path = path.map_err(|error| {
            let path = error.path().to_path_buf();
            DataError::Read { path, source: error.into() }
        })?;
        match path.is_dir() {
            true => ignored.push((path, SkipReason::Folder)),
            false => {
                files.insert(path);
            }
        }
    }
    named(pattern, files.into_iter().collect(), ignored)
}

fn folder(path: &Path) -> Result<Files, DataError> {
    let mut walk = Walk { files: Vec::new(), ignored: Vec::new(), seen: HashSet::new() };
    walk.enter(path)?;
    walk.files.sort();
    named(path, walk.files, walk.ignored)
}

fn named(path: &Path, files: Vec<PathBuf>, ignored: Vec<(PathBuf, SkipReason)>) -> Result<Files, DataError> {
    match files.is_empty() {
        true => Err(DataError::NoFiles { path: path.to_path_buf() }),
        false => Ok(Files { files, ignored }),
    }
}

struct Walk {
    files: Vec<PathBuf>,
    ignored: Vec<(PathBuf, SkipReason)>,
    /// Folders that were entered, without links in their paths.
    seen: HashSet<PathBuf>,
}

impl Walk {
    fn enter(&mut self, folder: &Path) -> Result<(), DataError> {
        let read_error = |source| DataError::Read { path: folder.to_path_buf(), source };
        if !self.seen.insert(folder.canonicalize().map_err(read_error)?) {
            self.ignored.push((folder.to_path_buf(), SkipReason::Folder));
            return Ok(());
        }
        let entries: io::Result<Vec<PathBuf>> =
            fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut entries = entries.map_err(read_error)?;
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            if name.starts_with('.') {
                continue;
            }
            let about = ABOUT.contains(&name.split('.').next().unwrap_or_default());
            if path.is_dir() {
                self.enter(&path)?;
            } else if about || Format::of(&path).is_none() {
                self.ignored.push((path, SkipReason::NoDataFile));
            } else {
                self.files.push(path);
            }
        }
        Ok(())
    }
}
