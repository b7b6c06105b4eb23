//! The file of a [`SignatureIndex`], version 2. All numbers are little endian.
//!
//! ```text
//! magic       8 bytes "BURNSIGN", version u32
//! sketch      kind u8 (0 MinHash, 1 SimHash), unit u8 (0 words, 1 characters), rule u8, family u8,
//!             shingle size u32, permutations u32, seed u64 (family, permutations and seed 0 for SimHash)
//! counts      records seen u64, entries u64, files u32
//! files       each: bytes u32, UTF-8
//! columns     positions u64…, origins (file u32, line u64, record u64 or 0)…, fingerprints u128…,
//!             contents u64…, signatures: entries · permutations numbers of u32 or, by the family, u64
//! checksum    XXH3, 128 bits, of everything before
//! ```

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Default;

use super::index::SignatureIndex;
use super::minhash::{HashFamily, MinHashConfig};
use super::shingle::{ShingleUnit, Shingling};
use super::signatures::Lanes;
use super::simhash::SimHashConfig;
use super::sketch::Sketch;
use super::words::WordRule;
use crate::error::DataError;

const MAGIC: &[u8; 8] = b"BURNSIGN";
const VERSION: u32 = 2;

const RULES: [WordRule; 3] = [WordRule::Letters, WordRule::NonWord, WordRule::Simplified];
const FAMILIES: [HashFamily; 5] = [
    HashFamily::Fast,
    HashFamily::DatasketchLegacy,
    HashFamily::DatasketchAffine32,
    HashFamily::DatasketchAffine64,
    HashFamily::Datatrove,
];

/// Writes the index beside `path`, flushes it to the disk and renames it.
pub(crate) fn save(index: &SignatureIndex, path: &Path) -> Result<(), DataError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    replace(index, dir, path).map_err(|source| DataError::Write { path: path.to_owned(), source })
}

fn replace(index: &SignatureIndex, dir: &Path, path: &Path) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-").suffix(".tmp");
    // Temporary files are private; this one is to become what the umask makes of any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(dir)?;
    let mut out = Writer { out: BufWriter::with_capacity(1 << 20, file.as_file()), hash: Xxh3Default::new() };
    write(index, &mut out)?;
    let checksum = out.hash.digest128();
    out.out.write_all(&checksum.to_le_bytes())?;
    out.out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself is durable once the directory is; only Unix can open one as a file.
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    Ok(())
}

struct Writer<W> {
    out: W,
    hash: Xxh3Default,
}

impl<W: Write> Writer<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

fn write<W: Write>(index: &SignatureIndex, out: &mut Writer<W>) -> io::Result<()> {
    out.put(MAGIC)?;
    out.put(&VERSION.to_le_bytes())?;
    let shingling = index.sketch.shingling();
    let (unit, size) = match shingling.unit {
        ShingleUnit::Words(size) => (0, size),
        ShingleUnit::Characters(size) => (1, size),
    };
    let (kind, family, permutations, seed) = match &index.sketch {
        Sketch::MinHash(config) => (0, place(&FAMILIES, &config.family), config.num_perm, config.seed),
        Sketch::SimHash(_) => (1, 0, 0, 0),
    };
    out.put(&[kind, unit, place(&RULES, &shingling.words), family])?;
    out.put(&(size as u32).to_le_bytes())?;
    out.put(&(permutations as u32).to_le_bytes())?;
    out.put(&seed.to_le_bytes())?;
    let entries = &index.entries;
    out.put(&index.seen.to_le_bytes())?;
    out.put(&(index.len() as u64).to_le_bytes())?;
    out.put(&(entries.files.len() as u32).to_le_bytes())?;
    for file in &entries.files {
        let bytes = u32::try_from(file.len()).map_err(io::Error::other)?;
        out.put(&bytes.to_le_bytes())?;
        out.put(file.as_bytes())?;
    }
    entries.positions.iter().try_for_each(|position| out.put(&position.to_le_bytes()))?;
    for (file, line, record) in &entries.origins {
        out.put(&file.to_le_bytes())?;
        out.put(&line.to_le_bytes())?;
        out.put(&record.to_le_bytes())?;
    }
    entries.fingerprints.iter().try_for_each(|fingerprint| out.put(&fingerprint.to_le_bytes()))?;
    entries.signatures.contents.iter().try_for_each(|content| out.put(&content.to_le_bytes()))?;
    match &entries.signatures.rows.lanes {
        Lanes::Narrow(values) => values.iter().try_for_each(|value| out.put(&value.to_le_bytes())),
        Lanes::Wide(values) => values.iter().try_for_each(|value| out.put(&value.to_le_bytes())),
    }
}

fn place<T: PartialEq>(table: &[T], wanted: &T) -> u8 {
    table.iter().position(|entry| entry == wanted).expect("the table is complete") as u8
}

/// Reads an index. Nothing is allocated that the length of the file does not pay for.
pub(crate) fn load(path: &Path) -> Result<SignatureIndex, DataError> {
    let read_error = |source| DataError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read_error)?;
    let left = file.metadata().map_err(read_error)?.len();
    let mut reader = Reader { from: BufReader::with_capacity(1 << 20, file), hash: Xxh3Default::new(), left };
    reader.index().map_err(|fault| match fault {
        Fault::Read(source) => read_error(source),
        Fault::Content(message) => DataError::SignatureFile { path: path.to_owned(), message },
        Fault::Config(error) => error,
    })
}

enum Fault {
    Read(io::Error),
    Content(String),
    Config(DataError),
}

struct Reader<R> {
    from: R,
    hash: Xxh3Default,
    /// Bytes of the file that were not read yet.
    left: u64,
}

impl<R: Read> Reader<R> {
    fn index(&mut self) -> Result<SignatureIndex, Fault> {
        if self.left < 8 || self.bytes()? != *MAGIC {
            return Err(content("it does not begin with BURNSIGN: not a signature file"));
        }
        let version = u32::from_le_bytes(self.bytes()?);
        if version != VERSION {
            return Err(content(format!("version {version}; this program reads version {VERSION}")));
        }
        let sketch = self.sketch()?;
        let mut index = SignatureIndex::new(sketch).map_err(Fault::Config)?;
        index.seen = u64::from_le_bytes(self.bytes()?);
        let count = u64::from_le_bytes(self.bytes()?);
        let files = u32::from_le_bytes(self.bytes()?);
        let entries = &mut index.entries;
        for _ in 0..files {
            let len = u64::from(u32::from_le_bytes(self.bytes()?));
            entries.files.push(self.name(len)?);
        }
        let rows = &mut entries.signatures.rows;
        let lane = if matches!(rows.lanes, Lanes::Narrow(_)) { 4 } else { 8 };
        let each = 8 + 20 + 16 + 8 + (rows.width() * lane) as u64;
        let wanted = count.checked_mul(each).and_then(|columns| columns.checked_add(16));
        if wanted != Some(self.left) {
            let (wanted, left) =
                (wanted.map_or("too many".to_owned(), |wanted| wanted.to_string()), self.left);
            return Err(content(format!(
                "{left} bytes follow the header, which announces {wanted} for {count} entries"
            )));
        }
        let count = count as usize;
        let numbers = count * rows.width();
        entries.positions = self.column(count, u64::from_le_bytes)?;
        entries.origins = self.column(count, |bytes: [u8; 20]| {
            let (file, numbers) = bytes.split_at(4);
            let (line, record) = numbers.split_at(8);
            (
                u32::from_le_bytes(file.try_into().expect("4 bytes")),
                u64::from_le_bytes(line.try_into().expect("8 bytes")),
                u64::from_le_bytes(record.try_into().expect("8 bytes")),
            )
        })?;
        entries.fingerprints = self.column(count, u128::from_le_bytes)?;
        entries.signatures.contents = self.column(count, u64::from_le_bytes)?;
        match &mut entries.signatures.rows.lanes {
            Lanes::Narrow(values) => *values = self.column(numbers, u32::from_le_bytes)?,
            Lanes::Wide(values) => *values = self.column(numbers, u64::from_le_bytes)?,
        }
        let checksum = self.hash.digest128();
        if u128::from_le_bytes(self.bytes()?) != checksum {
            return Err(content("the checksum does not fit: the file was changed or damaged"));
        }
        if entries.origins.iter().any(|(file, ..)| *file >= files) {
            return Err(content(format!("an origin names a file beyond the {files} of the header")));
        }
        let ascending = entries.positions.is_sorted_by(|left, right| left < right);
        if !ascending || entries.positions.last().is_some_and(|last| *last >= index.seen) {
            return Err(content("positions are not ascending or beyond the records seen"));
        }
        Ok(index)
    }

    fn sketch(&mut self) -> Result<Sketch, Fault> {
        let [kind, unit, rule, family] = self.bytes()?;
        let size = u32::from_le_bytes(self.bytes()?) as usize;
        let num_perm = u32::from_le_bytes(self.bytes()?) as usize;
        let seed = u64::from_le_bytes(self.bytes()?);
        let unknown =
            || content(format!("unknown parameters: kind {kind}, unit {unit}, rule {rule}, family {family}"));
        let words = *RULES.get(usize::from(rule)).ok_or_else(unknown)?;
        let family = *FAMILIES.get(usize::from(family)).ok_or_else(unknown)?;
        let unit = match unit {
            0 => ShingleUnit::Words(size),
            1 => ShingleUnit::Characters(size),
            _ => return Err(unknown()),
        };
        let shingling = Shingling { unit, words };
        match kind {
            0 => Ok(Sketch::MinHash(MinHashConfig { num_perm, seed, family, shingling })),
            1 => Ok(Sketch::SimHash(SimHashConfig { shingling })),
            _ => Err(unknown()),
        }
    }

    fn name(&mut self, len: u64) -> Result<Arc<str>, Fault> {
        self.take(len)?;
        let mut name = vec![0; len as usize];
        self.from.read_exact(&mut name).map_err(Fault::Read)?;
        self.hash.update(&name);
        String::from_utf8(name).map(Arc::from).map_err(|_| content("the name of a file is not UTF-8"))
    }

    fn column<T, const N: usize>(
        &mut self,
        count: usize,
        value: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Fault> {
        let mut column = Vec::with_capacity(count);
        for _ in 0..count {
            column.push(value(self.bytes()?));
        }
        Ok(column)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N as u64)?;
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(Fault::Read)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn take(&mut self, bytes: u64) -> Result<(), Fault> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| content("it is cut short"))?;
        Ok(())
    }
}

fn content(message: impl Into<String>) -> Fault {
    Fault::Content(message.into())
}
