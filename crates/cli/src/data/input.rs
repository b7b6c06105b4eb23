//! Records from files, as every `burnisher data` command reads them.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use burnisher::data::{ColumnMap, Encoding, OnError, Record, Records, Shape, Shard, Source, TextUnit};
use clap::{Args, ValueEnum};

type Failure = Box<dyn std::error::Error>;

/// How files are read.
#[derive(Args)]
pub(crate) struct ReadArgs {
    /// A column of the file under another name, for example `prompt=question`; may be repeated.
    #[arg(long, value_name = "NAME=COLUMN")]
    columns: Vec<String>,
    /// The shape of the records; recognised by their columns without it.
    #[arg(long, value_enum)]
    shape: Option<ShapeArg>,
    /// What happens to a record that cannot be used.
    #[arg(long, value_enum, default_value = "stop")]
    on_error: OnErrorArg,
    /// What of a plain text file makes one record.
    #[arg(long, value_enum, default_value = "file")]
    text_unit: TextUnitArg,
    /// Refuse tables and texts that are not UTF-8, instead of finding out their encoding.
    #[arg(long)]
    utf8_only: bool,
}

/// Files, how they are read, and which part of them.
#[derive(Args)]
pub(crate) struct InputArgs {
    /// Files, folders or patterns: .jsonl, .json, .csv, .tsv, .parquet, .txt, .md; all but Parquet also as .gz or .zst.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// Do the part of one of several processes: record i of the files belongs to part i mod N. Parts are counted from 0;
    /// `burnisher data merge` puts their results together.
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<Shard>,
}

/// A set with a name.
#[derive(Clone)]
pub(crate) struct NamedInput {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl FromStr for NamedInput {
    type Err = String;

    /// `NAME=FILE`, or a file that is named by what stands before its first dot.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((name, path)) =
            text.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains('/'))
        {
            return Ok(Self { name: name.to_owned(), path: path.into() });
        }
        let path = PathBuf::from(text);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match name.split('.').next().filter(|name| !name.is_empty()) {
            Some(name) => Ok(Self { name: name.to_owned(), path }),
            None => Err(format!("{text:?} is no file; wanted FILE or NAME=FILE")),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum ShapeArg {
    /// Plain text: `text`.
    Text,
    /// `prompt` and `completion`.
    Completion,
    /// Conversations: `messages`, or ShareGPT's `conversations`.
    Messages,
    /// `instruction`, `input`, `output`.
    Alpaca,
    /// `question`, `context`, `answer`.
    Question,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnErrorArg {
    /// It ends the command, with its file and line.
    Stop,
    /// It is left out and counted.
    Skip,
}

#[derive(Clone, Copy, ValueEnum)]
enum TextUnitArg {
    /// The whole file.
    File,
    /// What stands between blank lines.
    Paragraph,
    /// Each line.
    Line,
}

/// The values of `--columns`.
pub(crate) fn column_map(pairs: &[String]) -> Result<ColumnMap, Failure> {
    let columns: BTreeMap<String, String> = pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, column)) => Ok((name.to_owned(), column.to_owned())),
            None => {
                Err(format!("--columns: found {pair:?}, wanted NAME=COLUMN, for example prompt=question"))
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(ColumnMap::new(columns)?)
}

impl ReadArgs {
    fn source(&self, files: &[PathBuf]) -> Result<Source, Failure> {
        let columns = column_map(&self.columns)?;
        let shape = self.shape.map(|shape| match shape {
            ShapeArg::Text => Shape::Text,
            ShapeArg::Completion => Shape::Completion,
            ShapeArg::Messages => Shape::Messages,
            ShapeArg::Alpaca => Shape::Alpaca,
            ShapeArg::Question => Shape::Question,
        });
        let on_error = match self.on_error {
            OnErrorArg::Stop => OnError::Stop,
            OnErrorArg::Skip => OnError::Skip,
        };
        let unit = match self.text_unit {
            TextUnitArg::File => TextUnit::File,
            TextUnitArg::Paragraph => TextUnit::Paragraph,
            TextUnitArg::Line => TextUnit::Line,
        };
        let encoding = if self.utf8_only { Encoding::Utf8Only } else { Encoding::Detect };
        Ok(Source::open_all(files)?
            .with_columns(columns)
            .with_shape(shape)
            .with_on_error(on_error)
            .with_text_unit(unit)
            .with_encoding(encoding))
    }

    /// All records of a file, folder or pattern; says what was read.
    pub(super) fn read(&self, path: &PathBuf) -> Result<Vec<Record>, Failure> {
        read(&self.source(std::slice::from_ref(path))?)
    }
}

impl InputArgs {
    fn source(&self) -> Result<Source, Failure> {
        let source = self.read.source(&self.files)?;
        Ok(match self.shard {
            Some(shard) => source.with_shard(shard),
            None => source,
        })
    }

    /// The records of this process's part, one by one.
    pub(super) fn records(&self) -> Result<PlacedRecords, Failure> {
        Ok(PlacedRecords { records: self.source()?.records()?, shard: self.shard, count: 0 })
    }

    /// The records of this process's part.
    pub(super) fn read(&self) -> Result<Vec<Record>, Failure> {
        read(&self.source()?)
    }

    /// All records, whatever this process's part.
    pub(super) fn whole(&self) -> Result<Vec<Record>, Failure> {
        read(&self.read.source(&self.files)?)
    }

    /// The records of this process's part with their places in the whole.
    pub(super) fn read_with_places(&self) -> Result<Vec<(u64, Record)>, Failure> {
        let records = self.read()?;
        Ok(records.into_iter().enumerate().map(|(at, record)| (place(self.shard, at), record)).collect())
    }
}

/// Where the record with number `at` of a part stands in the whole.
fn place(shard: Option<Shard>, at: usize) -> u64 {
    match shard {
        Some(shard) => (at * shard.count() + shard.index()) as u64,
        None => at as u64,
    }
}

fn read(source: &Source) -> Result<Vec<Record>, Failure> {
    let (records, report) = source.read_with_report()?;
    eprintln!("{}: {report}", source.path().display());
    Ok(records)
}

/// Records one by one, each with its place in the whole source.
pub(super) struct PlacedRecords {
    records: Records,
    shard: Option<Shard>,
    count: usize,
}

impl PlacedRecords {
    /// Says what was read.
    pub(super) fn finish(self) {
        eprintln!("{}", self.records.report());
    }
}

impl Iterator for PlacedRecords {
    type Item = Result<(u64, Record), burnisher::data::DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        let place = place(self.shard, self.count);
        self.count += 1;
        Some(record.map(|record| (place, record)))
    }
}
