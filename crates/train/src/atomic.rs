//! Files and directories that appear whole or not at all, at `kill -9` and on a full disk too.
//!
//! Something new is written beside its place under a name that ends in `.partial`, synced, and
//! renamed. A checkpoint that goes away is first renamed to `.deleted`, one that is written again
//! to `.replaced`. So a directory named `checkpoint-N` is complete, whenever the process ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::TrainError;

const PREFIX: &str = "checkpoint-";
const PARTIAL: &str = ".partial";
const DELETED: &str = ".deleted";
const REPLACED: &str = ".replaced";

/// Writes a file: the old one, if any, stays until the new one is complete and on the disk.
///
/// # Errors
///
/// [`TrainError::Io`] with the path; what was there before is unchanged and nothing else is left.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), TrainError> {
    let partial = with_suffix(path, PARTIAL);
    let written = write_and_sync(&partial, write)
        .map_err(|source| TrainError::io("write", path, source))
        .and_then(|()| rename(&partial, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// [`write_atomic`] for bytes.
///
/// # Errors
///
/// As [`write_atomic`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    write_atomic(path, |file| file.write_all(bytes))
}

/// Writes a directory: `fill` gets an empty directory to write its files in, which takes the name
/// `path` when all of them are on the disk. A directory that stands there already is replaced then.
/// Missing parents are made.
///
/// # Errors
///
/// What `fill` returns, and [`TrainError::Io`] with the path; what was there before is unchanged and
/// nothing else is left.
pub fn write_dir(path: &Path, fill: impl FnOnce(&Path) -> Result<(), TrainError>) -> Result<(), TrainError> {
    let partial = with_suffix(path, PARTIAL);
    fs::create_dir_all(parent(path)).map_err(|source| TrainError::io("create", path, source))?;
    remove_tree(&partial)?;
    let written = fs::create_dir(&partial)
        .map_err(|source| TrainError::io("create", &partial, source))
        .and_then(|()| fill(&partial))
        .and_then(|()| sync_tree(&partial))
        .and_then(|()| put_in_place(&partial, path));
    if written.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    written
}

/// `dir/checkpoint-STEP`.
pub fn checkpoint_path(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{step}"))
}

/// The complete checkpoints in `dir` with their steps, oldest first. None if there is no such directory.
///
/// # Errors
///
/// [`TrainError::Io`] if the directory cannot be read.
pub fn checkpoints(dir: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let mut found = Vec::new();
    for (name, path) in entries(dir)? {
        if let Some(step) = step_of(&name)
            && path.is_dir()
        {
            found.push((step, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The complete checkpoint in `dir` with the largest step.
///
/// # Errors
///
/// [`TrainError::Io`] if the directory cannot be read.
pub fn latest_checkpoint(dir: &Path) -> Result<Option<PathBuf>, TrainError> {
    Ok(checkpoints(dir)?.pop().map(|(_, path)| path))
}

/// Removes all but the newest `keep` checkpoints of `dir`, and never the one of step `protect`, which
/// is kept on top of them if it is older.
///
/// # Errors
///
/// [`TrainError::Io`] with the checkpoint that could not be removed.
pub fn prune(dir: &Path, keep: usize, protect: Option<u64>) -> Result<(), TrainError> {
    let found = checkpoints(dir)?;
    let surplus = found.len().saturating_sub(keep);
    for (step, path) in &found[..surplus] {
        if Some(*step) == protect {
            continue;
        }
        let deleted = with_suffix(path, DELETED);
        remove_tree(&deleted)?;
        rename(path, &deleted)?;
        remove_tree(&deleted)?;
    }
    Ok(())
}

/// Cleans up after a process that was killed: removes what is half written or half removed, and puts
/// a checkpoint back that was about to be replaced. To be called before a run begins, while no other
/// writes in `dir`. Does nothing if there is no such directory.
///
/// # Errors
///
/// [`TrainError::Io`] with the path that could not be removed.
pub fn remove_partials(dir: &Path) -> Result<(), TrainError> {
    for (name, path) in entries(dir)? {
        if let Some(original) = original_name(&name, REPLACED) {
            let original = dir.join(original);
            if original.exists() {
                remove_tree(&path)?;
            } else {
                rename(&path, &original)?;
            }
        } else if original_name(&name, PARTIAL).is_some() || original_name(&name, DELETED).is_some() {
            remove_tree(&path)?;
        }
    }
    Ok(())
}

/// What [`with_suffix`] was given, if it made this name.
fn original_name<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let stem = name.strip_suffix(suffix)?;
    match stem.strip_prefix('.') {
        Some(original) if !original.is_empty() => Some(original),
        _ => step_of(stem).map(|_| stem),
    }
}

/// The step of a complete checkpoint's name: `checkpoint-12`, but not `checkpoint-012`.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let step: u64 = digits.parse().ok()?;
    (step.to_string() == digits).then_some(step)
}

/// Names and paths in `dir`; names that are not Unicode are not ours.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, TrainError> {
    let failed = |source| TrainError::io("read", dir, source);
    let listing = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn write_and_sync(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    write(&mut writer)?;
    writer.into_inner().map_err(|error| error.into_error())?.sync_all()
}

/// Syncs every file and directory below `dir`, and `dir` itself.
fn sync_tree(dir: &Path) -> Result<(), TrainError> {
    for (_, path) in entries(dir)? {
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|source| TrainError::io("sync", &path, source))?;
        }
    }
    sync_dir(dir)
}

/// A rename is on the disk when its directory is. Only Unix can sync a directory.
fn sync_dir(dir: &Path) -> Result<(), TrainError> {
    if cfg!(unix) {
        File::open(dir)
            .and_then(|file| file.sync_all())
            .map_err(|source| TrainError::io("sync", dir, source))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), TrainError> {
    fs::rename(from, to).map_err(|source| TrainError::io("rename", to, source))?;
    sync_dir(parent(to))
}

/// Renames a complete directory to `path`. A rename cannot replace a directory that is not empty, so
/// an old one steps aside; [`remove_partials`] puts it back if the process ends in between.
fn put_in_place(partial: &Path, path: &Path) -> Result<(), TrainError> {
    if !path.exists() {
        return rename(partial, path);
    }
    let replaced = with_suffix(path, REPLACED);
    remove_tree(&replaced)?;
    rename(path, &replaced)?;
    if let Err(error) = rename(partial, path) {
        let _ = fs::rename(&replaced, path);
        return Err(error);
    }
    remove_tree(&replaced)
}

/// Removes a file or a directory with all it holds; it need not exist.
fn remove_tree(path: &Path) -> Result<(), TrainError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TrainError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// The name with `suffix`, and with a leading dot unless it is a checkpoint's.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let mut full = OsString::new();
    if name.to_str().and_then(step_of).is_none() {
        full.push(".");
    }
    full.push(name);
    full.push(suffix);
    parent(path).join(full)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_names() {
        let cases = [
            ("checkpoint-0", Some(0)),
            ("checkpoint-12", Some(12)),
            ("checkpoint-012", None),
            ("checkpoint-", None),
            ("checkpoint--1", None),
            ("checkpoint-+1", None),
            ("checkpoint-1.partial", None),
            ("checkpoint-99999999999999999999", None),
            ("other-1", None),
        ];
        for (name, step) in cases {
            assert_eq!(step_of(name), step, "{name}");
        }
    }

    #[test]
    fn names_while_writing() {
        let cases = [
            ("out/checkpoint-7", "out/checkpoint-7.partial"),
            ("out/state.json", "out/.state.json.partial"),
            ("state.json", "./.state.json.partial"),
        ];
        for (path, partial) in cases {
            let named = with_suffix(Path::new(path), PARTIAL);
            assert_eq!(named, Path::new(partial));
            let name = named.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let original = Path::new(path).file_name().and_then(|name| name.to_str());
            assert_eq!(original_name(name, PARTIAL), original);
        }
        for name in ["other.partial", ".partial", "checkpoint-x.partial", "checkpoint-7"] {
            assert_eq!(original_name(name, PARTIAL), None, "{name}");
        }
    }
}
