//! What `n` processes wrote, put together as one would have written it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Lines, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::record::Record;
use crate::source::{LineReader, Shard, open_lines};
use crate::writer::{JsonlWriter, temporary_beside};

/// What is put behind a shard's name to name the file that says where its records belong.
const PLACES: &str = ".places";

/// The first line of a file of places; below it stands one place per line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    shard: String,
}

/// Writes what one of several processes leaves of a source, with the place of each record in the whole source.
///
/// Each of `n` processes reads one [`Shard`] of the same source, does what it does to single records, and writes what
/// is left; [`merge_shards`] then puts the files together. Beside `out.jsonl` stands `out.jsonl.places`: a line of JSON
/// that names the shard, then the place of each record in the source, counted from 0. Both are there once
/// [`ShardWriter::finish`] returns, and not before.
#[derive(Debug)]
pub struct ShardWriter {
    records: JsonlWriter,
    places: BufWriter<tempfile::NamedTempFile>,
    places_path: PathBuf,
    last: Option<u64>,
}

impl ShardWriter {
    /// A writer of `path`, packed as its name says (`.gz`, `.zst`).
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] with the path.
    pub fn create(path: impl AsRef<Path>, shard: Shard) -> Result<Self, DataError> {
        let path = path.as_ref();
        let places_path = places_of(path);
        let failed = |source| DataError::Write { path: places_path.clone(), source };
        let records = JsonlWriter::create(path)?;
        let mut places = BufWriter::new(temporary_beside(&places_path).map_err(failed)?);
        let head = serde_json::json!({ "shard": shard.to_string() });
        writeln!(places, "{head}").map_err(failed)?;
        Ok(Self { records, places, places_path, last: None })
    }

    /// Writes a record and its place in the whole source, which must be behind the last one's.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] with the path; [`DataError::Shards`] if the place is not behind the last one.
    pub fn write(&mut self, place: u64, record: &Record) -> Result<(), DataError> {
        if let Some(last) = self.last.filter(|last| *last >= place) {
            let message = format!("place {place} was written behind {last}; places must rise");
            return Err(DataError::Shards { path: self.places_path.clone(), message });
        }
        self.last = Some(place);
        self.records.write(record)?;
        writeln!(self.places, "{place}")
            .map_err(|source| DataError::Write { path: self.places_path.clone(), source })
    }

    /// Puts both files in their place.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] with the path.
    pub fn finish(self) -> Result<(), DataError> {
        let failed = |source| DataError::Write { path: self.places_path.clone(), source };
        let places = self.places.into_inner().map_err(|error| failed(error.into_error()))?;
        places.as_file().sync_all().map_err(failed)?;
        // Places of an earlier run must not stand beside these records, whenever this ends.
        match fs::remove_file(&self.places_path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        self.records.finish()?;
        places.persist(&self.places_path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// Puts the shards of one source together, in the order of the source, and returns the number of records: byte for byte
/// what one process that read the whole source would have written. The files are read side by side, line by line.
///
/// # Errors
///
/// [`DataError::Shards`] if a file has no `.places`, if a shard is missing or there twice, if they are of different
/// counts, or if a file and its places have different lengths; [`DataError::Read`] and [`DataError::Write`].
pub fn merge_shards(shards: &[PathBuf], out: impl AsRef<Path>) -> Result<usize, DataError> {
    let mut open: Vec<Opened> = shards.iter().map(|path| Opened::open(path)).collect::<Result<_, _>>()?;
    check_complete(&open)?;
    let mut writer = JsonlWriter::create(out)?;
    while let Some((_, at)) = open.iter().enumerate().filter_map(|(at, shard)| Some((shard.place?, at))).min()
    {
        writer.write_line(&open[at].line)?;
        open[at].advance()?;
    }
    writer.finish()
}

fn check_complete(shards: &[Opened]) -> Result<(), DataError> {
    let Some(first) = shards.first() else {
        let message = "no shard was named".to_owned();
        return Err(DataError::Shards { path: PathBuf::new(), message });
    };
    let mut seen: Vec<Option<&Path>> = vec![None; first.shard.count()];
    for shard in shards {
        let wrong = |message| Err(DataError::Shards { path: shard.path.clone(), message });
        if shard.shard.count() != seen.len() {
            let (found, wanted) = (shard.shard, seen.len());
            return wrong(format!("it is shard {found}, {} is one of {wanted}", first.path.display()));
        }
        if let Some(other) = seen[shard.shard.index()].replace(&shard.path) {
            return wrong(format!("{} is shard {}, too", other.display(), shard.shard));
        }
    }
    let missing: Vec<String> = seen
        .iter()
        .enumerate()
        .filter(|(_, path)| path.is_none())
        .map(|(at, _)| format!("{at}/{}", seen.len()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("missing shards: {}", missing.join(", "));
    Err(DataError::Shards { path: first.path.clone(), message })
}

fn places_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PLACES);
    name.into()
}

/// A shard that is being read: its next line and the place of it.
struct Opened {
    path: PathBuf,
    shard: Shard,
    lines: LineReader,
    places: Lines<BufReader<File>>,
    line: Vec<u8>,
    place: Option<u64>,
}

impl Opened {
    fn open(path: &Path) -> Result<Self, DataError> {
        let wrong = |message| DataError::Shards { path: path.to_path_buf(), message };
        let places_path = places_of(path);
        let file = File::open(&places_path).map_err(|error| {
            wrong(format!("its places cannot be read: {}: {error}", places_path.display()))
        })?;
        let mut places = BufReader::new(file).lines();
        let head =
            places.next().transpose().map_err(|source| DataError::Read { path: places_path, source })?;
        let head: Head = serde_json::from_str(&head.unwrap_or_default())
            .map_err(|error| wrong(format!("its places do not begin with the shard: {error}")))?;
        let (shard, lines) = (head.shard.parse()?, open_lines(path)?);
        let mut opened =
            Self { path: path.to_path_buf(), shard, lines, places, line: Vec::new(), place: None };
        opened.advance()?;
        Ok(opened)
    }

    fn advance(&mut self) -> Result<(), DataError> {
        let wrong = |message| DataError::Shards { path: self.path.clone(), message };
        let place = match self.places.next() {
            None => None,
            Some(Err(source)) => return Err(DataError::Read { path: places_of(&self.path), source }),
            Some(Ok(text)) => Some(
                text.parse()
                    .map_err(|_| wrong(format!("its places hold {text:?}; wanted a whole number")))?,
            ),
        };
        if let Some(place) = place.filter(|place| Some(*place) <= self.place) {
            return Err(wrong(format!("its places do not rise at {place}")));
        }
        self.line.clear();
        let found = self.lines.next(&mut self.line).transpose()?.is_some();
        if found != place.is_some() {
            let more = if found { "records than places" } else { "places than records" };
            return Err(wrong(format!("there are more {more}")));
        }
        self.place = place;
        Ok(())
    }
}
