//! Records of a JSON lines file by number.

mod lines;
mod stored;

use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::DataError;
use crate::record::{Origin, Record, Shape};
use crate::source::{Assembler, ColumnMap, Compression};

use lines::LineIndex;

/// Where the index of a file is kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IndexLocation {
    /// Beside the file, with `.idx` after its name; in memory only where the folder cannot be written.
    #[default]
    Beside,
    /// In this file.
    At(PathBuf),
    /// In memory only.
    Memory,
}

/// A JSON lines file whose records are read by number, in any order and from any number of threads.
///
/// The file is mapped, not read; the index takes 8 bytes per record. A stored index is used only if length, time of
/// change and a hash of both ends of the file are those it was made from, else it is made anew.
///
/// The file must not be changed while it is open: a mapped file that becomes shorter ends the program when the lost
/// part is read.
///
/// ```
/// use burnisher_data::IndexedJsonl;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.jsonl");
/// std::fs::write(&path, "{\"text\": \"one\"}\n\n{\"text\": \"two\"}\n")?;
/// let records = IndexedJsonl::open(&path)?;
/// assert_eq!(records.len(), 2);
/// assert_eq!(records.get(1)?.origin.line, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct IndexedJsonl {
    map: Mmap,
    file: Arc<str>,
    lines: LineIndex,
    assembler: Assembler,
}

impl IndexedJsonl {
    /// Opens a file whose index is kept beside it.
    ///
    /// # Errors
    ///
    /// As [`IndexedJsonl::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(path, &IndexLocation::Beside, ColumnMap::default(), None)
    }

    /// Opens a file with an index at `location`; its first record decides the shape, unless `shape` fixes it.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] and [`DataError::EmptyFile`]; [`DataError::InvalidConfig`] for a compressed file, which
    /// cannot be read by number; [`DataError::Write`] if the index cannot be written to the file that was asked for; what
    /// is wrong with the first record.
    pub fn open_with(
        path: impl AsRef<Path>,
        location: &IndexLocation,
        columns: ColumnMap,
        shape: Option<Shape>,
    ) -> Result<Self, DataError> {
        let path = path.as_ref();
        if Compression::of(path) != Compression::Plain {
            let found = path.display().to_string();
            return Err(DataError::InvalidConfig {
                field: "path",
                found,
                wanted: "a JSON lines file that is not compressed",
            });
        }
        let (map, metadata) =
            map(path).map_err(|source| DataError::Read { path: path.to_path_buf(), source })?;
        let lines = index(path, location, &map, &metadata)?;
        if lines.len() == 0 {
            return Err(DataError::EmptyFile { path: path.to_path_buf() });
        }
        let assembler = Assembler::new(columns, shape);
        let mut opened = Self { map, file: path.display().to_string().into(), lines, assembler };
        let mut assembler = opened.assembler.clone();
        opened.record(0, &mut assembler)?;
        opened.assembler = assembler;
        Ok(opened)
    }

    /// How many records the file has: lines that are not blank.
    #[allow(clippy::len_without_is_empty, reason = "a file without records is not opened")]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Record `index`, counted from 0.
    ///
    /// # Errors
    ///
    /// What is wrong with this record, as [`Source::read`](crate::Source::read).
    ///
    /// # Panics
    ///
    /// If there is no record of this number.
    pub fn get(&self, index: usize) -> Result<Record, DataError> {
        assert!(index < self.len(), "record {index} of a file of {}", self.len());
        self.record(index, &mut self.assembler.clone())
    }

    /// All records, in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Record, DataError>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    fn record(&self, index: usize, assembler: &mut Assembler) -> Result<Record, DataError> {
        let line = self.map[self.lines.range(index)].trim_ascii_end();
        assembler.line(line, Origin::new(Arc::clone(&self.file), self.lines.line(index)))
    }
}

fn map(path: &Path) -> std::io::Result<(Mmap, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // SAFETY: the type's documentation forbids changing the file while it is mapped; it is only read here.
    let map = unsafe { Mmap::map(&file) }?;
    Ok((map, metadata))
}

/// The stored index if it is this file's, else a new one, which is stored.
fn index(
    path: &Path,
    location: &IndexLocation,
    bytes: &[u8],
    metadata: &Metadata,
) -> Result<LineIndex, DataError> {
    let stored_at = match location {
        IndexLocation::Beside => {
            let mut name = path.as_os_str().to_owned();
            name.push(".idx");
            PathBuf::from(name)
        }
        IndexLocation::At(path) => path.clone(),
        IndexLocation::Memory => return Ok(LineIndex::of(bytes)),
    };
    let key = stored::Key::of(bytes, metadata);
    if let Ok(stored) = fs::read(&stored_at)
        && let Some(index) = stored::read(&stored, &key)
    {
        return Ok(index);
    }
    let index = LineIndex::of(bytes);
    match (stored::write(&stored_at, &index, &key), location) {
        (Ok(()), _) => {}
        (Err(error), IndexLocation::Beside) => {
            tracing::warn!(path = %stored_at.display(), %error, "the index is kept in memory only");
        }
        (Err(source), _) => return Err(DataError::Write { path: stored_at, source }),
    }
    Ok(index)
}
