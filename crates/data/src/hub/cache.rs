use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// One repository's folder in the cache.
///
/// `blobs/ETAG` are the contents, `snapshots/COMMIT/FILE` are links to them, `refs/BRANCH` holds a commit.
#[derive(Debug)]
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, name: &str) -> Self {
        Self { folder: cache.join(name), locks: cache.join(".locks").join(name) }
    }

    /// The path of a file at a branch or commit, if it is there.
    pub(super) fn find(&self, revision: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(revision)?.join(file);
        path.is_file().then_some(path)
    }

    /// The folder of a branch or commit, if it is there.
    pub(super) fn snapshot(&self, revision: &str) -> Option<PathBuf> {
        let snapshots = self.folder.join("snapshots");
        let commit = match fs::read_to_string(self.folder.join("refs").join(revision)) {
            Ok(commit) if is_name(commit.trim()) => commit.trim().to_owned(),
            _ if is_name(revision) => revision.to_owned(),
            _ => return None,
        };
        Some(snapshots.join(commit)).filter(|folder| folder.is_dir())
    }

    /// The files of a branch or commit that are there, with `/` between folders, sorted.
    pub(super) fn files(&self, revision: &str) -> Vec<String> {
        let mut files = Vec::new();
        if let Some(folder) = self.snapshot(revision) {
            list(&folder, "", &mut files);
        }
        files.sort();
        files
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Holds the others off one blob until it is dropped.
    pub(super) fn lock(&self, etag: &str) -> Result<File, DataError> {
        let path = self.locks.join(format!("{etag}.lock"));
        let locked = create_parent(&path)
            .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path))
            .and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| DataError::Write { path, source })
    }

    /// Lets a branch stand at a commit; a commit needs no such note.
    pub(super) fn set_ref(&self, revision: &str, commit: &str) -> Result<(), DataError> {
        if revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        let written = create_parent(&path).and_then(|()| fs::write(&path, commit));
        written.map_err(|source| DataError::Write { path, source })
    }

    pub(super) fn forget_ref(&self, revision: &str) -> Result<(), DataError> {
        let path = self.folder.join("refs").join(revision);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DataError::Write { path, source }),
            _ => Ok(()),
        }
    }

    /// Gives a blob its name in a snapshot.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), DataError> {
        let path = self.folder.join("snapshots").join(commit).join(file);
        let depth = 2 + file.split('/').count() - 1;
        let target = Path::new(&"../".repeat(depth)).join("blobs").join(etag);
        let linked = create_parent(&path).and_then(|()| match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => link(&target, &self.blob(etag), &path),
        });
        linked.map_err(|source| DataError::Write { path, source })
    }
}

/// What may be the name of a blob or commit.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 128 && !text.starts_with('.') && text.bytes().all(allowed)
}

pub(super) fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path() {
            path if path.is_dir() => list(&path, &format!("{name}/"), files),
            path if path.is_file() => files.push(name),
            _ => {}
        }
    }
}

#[cfg(unix)]
fn link(target: &Path, _blob: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// Links need a privilege there.
#[cfg(not(unix))]
fn link(_target: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(|_| ()))
}
