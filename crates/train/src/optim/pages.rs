//! The file that paged state lies in.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use memmap2::{MmapMut, MmapOptions};

use crate::TrainError;

/// Where the state of a paged optimizer lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paging {
    /// In a file without a name in this directory, which is made if it is not there. The system frees it when the
    /// process ends, however it ends. A directory in memory (`/tmp` on some systems) saves nothing.
    TemporaryIn(PathBuf),
    /// In this file, which goes away with the optimizer. One that another process left behind is overwritten; any other
    /// file is refused.
    File(PathBuf),
}

/// What the file begins with, so that no other one is overwritten.
const HEAD: &[u8; 64] = b"burnisher: the state of a paged optimizer, of one run only     \n";

/// The regions begin at multiples of this.
const ALIGNMENT: u64 = 64;

/// An open file of regions, each the state of one parameter.
#[derive(Debug)]
pub(super) struct Pages {
    file: File,
    path: PathBuf,
    is_named: bool,
    end: u64,
}

impl Pages {
    pub(super) fn open(paging: &Paging) -> Result<Self, TrainError> {
        match paging {
            Paging::TemporaryIn(dir) => {
                let file = fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir));
                let file =
                    file.map_err(|source| TrainError::io("make a file for paged state in", dir, source))?;
                Ok(Self { file, path: dir.clone(), is_named: false, end: 0 })
            }
            Paging::File(path) => Self::named(path),
        }
    }

    fn named(path: &Path) -> Result<Self, TrainError> {
        let failed = |source| TrainError::io("open", path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(TrainError::PageFile {
                    path: path.to_path_buf(),
                    found: "the state of a run that is going on".to_owned(),
                });
            }
            // Some file systems have no locks.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let mut head = Vec::new();
        (&mut file).take(HEAD.len() as u64).read_to_end(&mut head).map_err(failed)?;
        if !head.is_empty() && head != HEAD {
            let found = "a file of something else".to_owned();
            return Err(TrainError::PageFile { path: path.to_path_buf(), found });
        }
        let begun = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(HEAD));
        begun.map_err(|source| TrainError::io("write", path, source))?;
        Ok(Self { file, path: path.to_path_buf(), is_named: true, end: HEAD.len() as u64 })
    }

    /// A new region of zeros; returns where it begins. They are written: a hole in the file would be an error of the
    /// memory when the disk is full.
    pub(super) fn allocate(&mut self, bytes: usize) -> Result<u64, TrainError> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let start = self.end.next_multiple_of(ALIGNMENT);
        let mut write = || {
            self.file.seek(SeekFrom::Start(self.end))?;
            let mut left = start + bytes as u64 - self.end;
            while left > 0 {
                let piece = left.min(ZEROS.len() as u64);
                self.file.write_all(&ZEROS[..piece as usize])?;
                left -= piece;
            }
            io::Result::Ok(())
        };
        write().map_err(|source| TrainError::io("write", &self.path, source))?;
        self.end = start + bytes as u64;
        Ok(start)
    }

    /// The region's bytes while `run` runs. Before and after, no memory of this process holds them: on every system
    /// that is what telling it that they are not wanted (`MADV_DONTNEED`) does on some.
    pub(super) fn with<R>(
        &self,
        start: u64,
        bytes: usize,
        run: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R, TrainError> {
        if bytes == 0 {
            return Ok(run(&mut []));
        }
        // SAFETY: nobody else writes the file: it has no name, or is locked by this process. Where the file system has
        // no locks, it is the user's: two runs must not be given one `optim_page_file`, as its documentation says.
        let mapped = unsafe { MmapOptions::new().offset(start).len(bytes).map_mut(&self.file) };
        let mut mapped: MmapMut = mapped.map_err(|source| TrainError::io("map", &self.path, source))?;
        Ok(run(&mut mapped))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.is_named {
            // Nothing depends on it: the next run overwrites what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_hold_what_was_written_and_begin_as_zeros() -> Result<(), TrainError> {
        let dir = tempfile::tempdir().expect("a directory");
        for paging in
            [Paging::TemporaryIn(dir.path().join("new")), Paging::File(dir.path().join("state.pages"))]
        {
            let mut pages = Pages::open(&paging)?;
            let regions = [1, 0, 70_000, 4096, 333].map(|bytes| (pages.allocate(bytes), bytes));
            for (number, (start, bytes)) in (1u8..).zip(&regions) {
                let start = *start.as_ref().expect("a region");
                assert_eq!(start % ALIGNMENT, 0);
                pages.with(start, *bytes, |values| {
                    assert!(values.iter().all(|value| *value == 0));
                    values.fill(number);
                })?;
            }
            for (number, (start, bytes)) in (1u8..).zip(&regions) {
                let start = *start.as_ref().expect("a region");
                let same =
                    |values: &mut [u8]| values.len() == *bytes && values.iter().all(|value| *value == number);
                assert!(pages.with(start, *bytes, same)?, "region {number}");
            }
        }
        assert!(!dir.path().join("state.pages").exists(), "a named file goes away");
        assert_eq!(fs::read_dir(dir.path().join("new")).expect("a directory").count(), 0);
        Ok(())
    }

    #[test]
    fn only_a_file_of_its_own_is_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.pages");
        fs::write(&path, "a thesis").expect("a file");
        let error = Pages::open(&Paging::File(path.clone())).expect_err("another's file").to_string();
        assert!(error.contains("a file of something else"), "{error}");
        assert_eq!(fs::read(&path).expect("the file"), b"a thesis");
        let mut left_behind = HEAD.to_vec();
        left_behind.extend([7; 1000]);
        fs::write(&path, left_behind).expect("a file");
        let pages = Pages::open(&Paging::File(path.clone())).expect("an earlier run's file");
        assert_eq!(pages.end, 64);
        let error = Pages::open(&Paging::File(path)).expect_err("a file in use").to_string();
        assert!(error.contains("a run that is going on"), "{error}");
    }
}
