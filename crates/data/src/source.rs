//! Files to records.

mod array;
mod columns;
mod conll;
mod direct;
mod elements;
mod files;
mod format;
mod input;
mod jsonl;
mod lines;
mod parquet;
mod path;
mod reading;
mod records;
mod report;
mod rows;
mod shape;
mod shard;
mod squad;
mod table;
mod text;

use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::record::{Record, Shape};

pub use columns::ColumnMap;
pub(crate) use columns::nearest;
pub(crate) use format::Compression;
pub use format::Format;
pub use input::Encoding;
pub(crate) use lines::LineReader;
pub(crate) use records::Assembler;
pub use records::Records;
pub use report::{OnError, SkipReason, Skipped, SourceReport};
pub use rows::{Rows, SourceRow};
pub(crate) use shape::{advice, speakers};
pub use shard::Shard;
pub use text::TextUnit;

use elements::{FileContext, Parsing, ReadOptions};
use files::Files;

/// The most bytes one record may have, unless set otherwise: 256 MiB.
pub(crate) const MAX_RECORD_BYTES: usize = 256 * 1024 * 1024;

/// A file of training records, or a folder, pattern or list of them.
///
/// # Files
///
/// A folder is read with the folders in it, a pattern (`data/*.jsonl`, `**` for folders of any depth) as the shell
/// reads it; both leave out hidden files and take the rest in the order of their paths, byte by byte. Of a folder, only
/// names that tell a format are read, and not `README`, `LICENSE` and `CHANGELOG`; the [`SourceReport`] counts the
/// others.
///
/// # Format
///
/// | ending | content | records |
/// |---|---|---|
/// | `.jsonl`, `.ndjson`, any other | JSON lines, blank lines skipped, CRLF accepted | one per line |
/// | `.json` | one array of objects, or JSON lines | one per element or line |
/// | `.json` | SQuAD's nested file: `data`, `paragraphs`, `qas` | one per question, as below |
/// | `.csv`, `.tsv` | a table whose first row names the columns | one per row, all cells strings |
/// | `.parquet` | a table; lists and structures become JSON (feature `parquet`) | one per row |
/// | `.txt`, `.md` | plain text | as [`TextUnit`] says: one per file |
/// | `.conll`, `.bio`, `.iob` | a token and its tag per line, as below | one per sentence |
///
/// All but Parquet may be packed as `.gz` or `.zst`. A byte order mark is accepted everywhere; other encodings than
/// UTF-8 as [`Encoding`] says. [`Source::with_files_as`] is for files whose names tell another format, or none.
///
/// **SQuAD.** A question has the columns `id`, `title`, `context`, `question` and `answers` (`{"text": [..],
/// "answer_start": [..]}`), as `squad` on the Hugging Face hub has them; what else the question (`is_impossible`), its
/// paragraph and its article have follows. Of a question's answers only those two lists are kept. The line is that of
/// the article, the message names the question (`data[3].paragraphs[0].qas[2]`).
///
/// **CoNLL.** Columns stand between tabs, or between spaces in a line without a tab; the first is the token, the last
/// its tag, and every line has as many as the first. A blank line ends a sentence. Left out are `-DOCSTART-` lines and,
/// before a sentence, comments: lines that begin with `# ` and have not the columns and the tag of a token. A record has
/// the columns `tokens` and `tags`, two lists of strings, and no shape: [`Source::rows`] reads it.
///
/// # Shape
///
/// The columns of the first good record decide, and every record of the file must have the same shape; another file of the set
/// may have another. The shapes are looked for in this order, so a file that has the columns of two takes the first:
///
/// | shape | columns | trained |
/// |---|---|---|
/// | messages | `messages` (`role`, `content`), or `conversations` (`from`, `value`) | the assistant's turns |
/// | completion | `prompt`, `completion`: two strings, or two lists of messages | the completion |
/// | alpaca | `instruction`, `output`, optional `input` | the output |
/// | text | `text` | all of it |
/// | question | `question`, optional `context`, `answer` or SQuAD's `answers` | the answer |
///
/// A conversation may have the roles `system` and `tool`, contents that are lists of parts of type `text`,
/// `tool_calls` in place of a content, and a column `tools` (a list, or one as text), which goes to the chat template.
/// Of SQuAD's `answers` (`{"text": [..]}`, or a list of strings) the first is trained; the column stays in `extra`.
///
/// Other column names are mapped with [`ColumnMap`]; columns that the shape does not know are kept in
/// [`Record::extra`]. What has no shape, or needs none, is read with [`Source::rows`].
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    files: Files,
    columns: ColumnMap,
    shape: Option<Shape>,
    format: Option<Format>,
    formats: Option<Vec<Format>>,
    shard: Option<Shard>,
    on_error: OnError,
    encoding: Encoding,
    text_unit: TextUnit,
    max_record_bytes: usize,
}

impl Source {
    /// A source over the file at `path`, all data files of the folder, or all files that match the pattern.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the file or folder cannot be opened, [`DataError::NoFiles`] if a folder or pattern has
    /// no data file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref().to_path_buf();
        let files = Files::find(&path)?;
        Ok(Self {
            path,
            files,
            columns: ColumnMap::default(),
            shape: None,
            format: None,
            formats: None,
            shard: None,
            on_error: OnError::default(),
            encoding: Encoding::default(),
            text_unit: TextUnit::default(),
            max_record_bytes: MAX_RECORD_BYTES,
        })
    }

    /// One source over several files, folders and patterns, in the order given.
    ///
    /// # Errors
    ///
    /// As [`Source::open`] for each; [`DataError::InvalidConfig`] for an empty list.
    pub fn open_all<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, DataError> {
        let mut sources = paths.into_iter().map(Self::open);
        let mut all = sources.next().unwrap_or_else(|| {
            let (found, wanted) = ("an empty list".to_owned(), "at least one path");
            Err(DataError::InvalidConfig { field: "paths", found, wanted })
        })?;
        for source in sources {
            let Files { files, ignored } = source?.files;
            all.files.files.extend(files);
            all.files.ignored.extend(ignored);
        }
        Ok(all)
    }

    /// Reads the shapes' columns under other names.
    #[must_use]
    pub fn with_columns(mut self, columns: ColumnMap) -> Self {
        self.columns = columns;
        self
    }

    /// Fixes the shape instead of recognising it; `None` recognises it, as without this call.
    #[must_use]
    pub fn with_shape(mut self, shape: Option<Shape>) -> Self {
        self.shape = shape;
        self
    }

    /// Reads every file as this format, whatever its name says: CoNLL-2003's `eng.train` as [`Format::Conll`]. Whether it
    /// is packed, its name still tells, and of a folder only names that tell a format are read.
    #[must_use]
    pub fn with_files_as(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Reads only files of these formats; the report counts the others.
    #[must_use]
    pub fn with_formats(mut self, formats: impl IntoIterator<Item = Format>) -> Self {
        self.formats = Some(formats.into_iter().collect());
        self
    }

    /// Gives out only this shard's records; all are read and checked.
    #[must_use]
    pub fn with_shard(mut self, shard: Shard) -> Self {
        self.shard = Some(shard);
        self
    }

    /// What happens to records that cannot be used.
    #[must_use]
    pub fn with_on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// How the bytes of tables, plain texts and CoNLL files become characters.
    #[must_use]
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// What of a plain text file makes one record.
    #[must_use]
    pub fn with_text_unit(mut self, unit: TextUnit) -> Self {
        self.text_unit = unit;
        self
    }

    /// The most bytes of a line, element, row or text; 256 MiB unless set. A longer one is not read into memory.
    #[must_use]
    pub fn with_max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = bytes;
        self
    }

    /// The file, folder or pattern as it was given; of a list, its first entry.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files, in the order in which they are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files.files
    }

    /// The records one by one, in file order, in constant memory. The iterator ends after its first error.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the first file cannot be opened, unless bad records are skipped.
    pub fn records(&self) -> Result<Records, DataError> {
        Records::new(self, Parsing::OneByOne)
    }

    /// All records, in file order. JSON lines are parsed on all cores; the result does not depend on their number.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the file, with its line: bytes that are not UTF-8, broken JSON (a
    /// line that is cut off too), a record that is no object, a missing column, a value of the wrong type, a
    /// second shape, a record without assistant text. [`DataError::EmptyFile`] if there is no record.
    pub fn read(&self) -> Result<Vec<Record>, DataError> {
        let (records, report) = self.read_with_report()?;
        self.warn(&report);
        Ok(records)
    }

    /// All records, as [`Source::read`], and what was left out.
    ///
    /// # Errors
    ///
    /// As [`Source::read`].
    pub fn read_with_report(&self) -> Result<(Vec<Record>, SourceReport), DataError> {
        let mut records = Records::new(self, Parsing::Batches)?;
        let all = records.by_ref().collect::<Result<Vec<Record>, DataError>>()?;
        Ok((all, records.into_report()))
    }

    /// The records one by one as they stand in the files, without a training shape: what a task with columns of its own
    /// needs. Everything else is as for [`Source::records`], in constant memory too; a shape that was set plays no part.
    ///
    /// A [`ColumnMap`] gives its columns their canonical names; another column that has such a name gets `extra_` before
    /// it.
    ///
    /// ```
    /// use burnisher_data::Source;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("a.bio");
    /// std::fs::write(&path, "Ada\tB-PER\nwrote\tO\n\nYes\tO\n")?;
    /// let first = Source::open(&path)?.rows()?.next().expect("two sentences")?;
    /// assert_eq!(first.origin.line, 1);
    /// assert_eq!(first.columns["tokens"], serde_json::json!(["Ada", "wrote"]));
    /// assert_eq!(first.columns["tags"], serde_json::json!(["B-PER", "O"]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the first file cannot be opened, unless bad records are skipped.
    pub fn rows(&self) -> Result<Rows, DataError> {
        Rows::new(self, Parsing::OneByOne)
    }

    /// All records as they stand in the files, in file order. JSON lines are parsed on all cores; the result does not
    /// depend on their number.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with a file, with its line: broken JSON or characters, a record that is no object, a
    /// mapped column that is missing. [`DataError::EmptyFile`] if there is no record.
    pub fn read_rows(&self) -> Result<Vec<SourceRow>, DataError> {
        let (rows, report) = self.read_rows_with_report()?;
        self.warn(&report);
        Ok(rows)
    }

    /// All records, as [`Source::read_rows`], and what was left out.
    ///
    /// # Errors
    ///
    /// As [`Source::read_rows`].
    pub fn read_rows_with_report(&self) -> Result<(Vec<SourceRow>, SourceReport), DataError> {
        let mut rows = Rows::new(self, Parsing::Batches)?;
        let all = rows.by_ref().collect::<Result<Vec<SourceRow>, DataError>>()?;
        Ok((all, rows.into_report()))
    }

    fn warn(&self, report: &SourceReport) {
        if report.total_skipped() > 0 {
            tracing::warn!(path = %self.path.display(), "{report}");
        }
    }

    fn read_options(&self, parsing: Parsing) -> ReadOptions {
        ReadOptions {
            format: self.format,
            encoding: self.encoding,
            text_unit: self.text_unit,
            max_record_bytes: self.max_record_bytes,
            parsing,
        }
    }
}

/// The lines of a file, unpacked.
pub(crate) fn open_lines(path: &Path) -> Result<LineReader, DataError> {
    let file = path.display().to_string().into();
    let input = input::open(path).map_err(|source| DataError::Read { path: path.to_path_buf(), source })?;
    Ok(LineReader::new(input.reader, FileContext { file, max_record_bytes: MAX_RECORD_BYTES }))
}
