//! Records to files.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use crate::error::DataError;
use crate::record::{Record, Shape};
use crate::source::{Compression, Format};

/// Writes records as JSON lines, packed if the name ends in `.gz` or `.zst`.
///
/// The lines go to a temporary file in the same folder, which takes the name only in [`JsonlWriter::finish`]: a file
/// under that name is whole, and an older one stays until then. The bytes depend on nothing but the records.
///
/// ```
/// use burnisher_data::{Body, JsonlWriter, Origin, Record, Source};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("clean.jsonl.gz");
/// let record = Record::new(Body::Text("some text".to_owned()), Origin::new("raw.txt", 1));
/// let mut writer = JsonlWriter::create(&path)?;
/// writer.write(&record)?;
/// assert_eq!(writer.finish()?, 1);
/// assert_eq!(Source::open(&path)?.read()?[0].body, record.body);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JsonlWriter {
    path: PathBuf,
    packer: Packer,
    line: Vec<u8>,
    records: usize,
    /// That of the first record.
    shape: Option<Shape>,
}

enum Packer {
    Plain(BufWriter<NamedTempFile>),
    Gzip(BufWriter<GzEncoder<NamedTempFile>>),
    Zstd(BufWriter<zstd::stream::write::Encoder<'static, NamedTempFile>>),
}

impl JsonlWriter {
    /// A writer whose file will have this name.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] if the folder is not there or does not allow a new file; [`DataError::InvalidConfig`] for a name
    /// under which it would be read as a table or a text.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref().to_path_buf();
        if let Some(Format::Csv | Format::Tsv | Format::Parquet | Format::Text | Format::Conll) =
            Format::of(&path)
        {
            return Err(DataError::InvalidConfig {
                field: "path",
                found: path.display().to_string(),
                wanted: "a name that ends in .jsonl, .ndjson or .json, perhaps with .gz or .zst behind it",
            });
        }
        match Packer::new(&path) {
            Ok(packer) => Ok(Self { path, packer, line: Vec::new(), records: 0, shape: None }),
            Err(source) => Err(DataError::Write { path, source }),
        }
    }

    /// Appends a record, as [`Record::to_json`] writes it.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`]; [`DataError::MixedShapes`] for a record of another shape than the first, since the file could
    /// not be read again.
    pub fn write(&mut self, record: &Record) -> Result<(), DataError> {
        let (found, wanted) = (record.shape(), *self.shape.get_or_insert(record.shape()));
        if found != wanted {
            return Err(DataError::MixedShapes { origin: record.origin.clone(), found, wanted });
        }
        self.write_json(&record.to_json())
    }

    /// Appends a line as it is.
    pub(crate) fn write_line(&mut self, line: &[u8]) -> Result<(), DataError> {
        let to = self.packer.as_write();
        self.records += 1;
        to.write_all(line)
            .and_then(|()| to.write_all(b"\n"))
            .map_err(|source| DataError::Write { path: self.path.clone(), source })
    }

    /// Appends an object.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`].
    pub fn write_json(&mut self, object: &Map<String, Value>) -> Result<(), DataError> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, object).map_err(io::Error::from);
        self.line.push(b'\n');
        let written = written.and_then(|()| self.packer.as_write().write_all(&self.line));
        self.records += 1;
        written.map_err(|source| DataError::Write { path: self.path.clone(), source })
    }

    /// Ends the file, gives it its name, and returns how many records it has. Without this call nothing is left.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`].
    pub fn finish(self) -> Result<usize, DataError> {
        let Self { path, packer, records, .. } = self;
        let persisted = packer.finish().and_then(|file| {
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        });
        match persisted {
            Ok(_) => Ok(records),
            Err(source) => Err(DataError::Write { path, source }),
        }
    }
}

impl Packer {
    fn new(path: &Path) -> io::Result<Self> {
        let file = temporary_beside(path)?;
        Ok(match Compression::of(path) {
            Compression::Plain => Self::Plain(BufWriter::new(file)),
            Compression::Gzip => {
                Self::Gzip(BufWriter::new(GzEncoder::new(file, flate2::Compression::default())))
            }
            Compression::Zstd => Self::Zstd(BufWriter::new(zstd::stream::write::Encoder::new(file, 0)?)),
        })
    }

    fn as_write(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(writer) => writer,
            Self::Gzip(writer) => writer,
            Self::Zstd(writer) => writer,
        }
    }

    fn finish(self) -> io::Result<NamedTempFile> {
        match self {
            Self::Plain(writer) => writer.into_inner().map_err(|error| error.into_error()),
            Self::Gzip(writer) => writer.into_inner().map_err(|error| error.into_error())?.finish(),
            Self::Zstd(writer) => writer.into_inner().map_err(|error| error.into_error())?.finish(),
        }
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer { .. }")
    }
}

/// A file in the folder of `path`, with the permissions that a new file has, not a temporary one's.
pub(crate) fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".burnisher-").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}
