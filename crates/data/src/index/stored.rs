//! The file of an index: little-endian numbers of 8 bytes behind a name, and their hash at the end.

use std::fs::Metadata;
use std::io::{self, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::xxh3_64;

use super::lines::LineIndex;
use crate::writer::temporary_beside;

const MAGIC: &[u8; 8] = b"BRNIDX01";

/// Bytes at each end of the file that are hashed.
const ENDS: usize = 64 * 1024;

/// What tells whether a file is still the one that was indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    length: u64,
    /// Nanoseconds since 1970; 0 where the system does not tell.
    modified: u64,
    ends: u64,
}

impl Key {
    pub(super) fn of(bytes: &[u8], metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let head = xxh3_64(&bytes[..bytes.len().min(ENDS)]);
        let tail = xxh3_64(&bytes[bytes.len().saturating_sub(ENDS)..]);
        Self {
            length: bytes.len() as u64,
            modified: modified.map_or(0, |time| time.as_nanos() as u64),
            ends: head ^ tail.rotate_left(1),
        }
    }

    fn numbers(&self) -> [u64; 3] {
        [self.length, self.modified, self.ends]
    }
}

/// The index in these bytes, if they are whole and made from the file with this key.
pub(super) fn read(bytes: &[u8], key: &Key) -> Option<LineIndex> {
    let (content, hash) = bytes.split_last_chunk::<8>()?;
    let numbers = content.strip_prefix(MAGIC)?;
    if xxh3_64(content) != u64::from_le_bytes(*hash) || numbers.len() % 8 != 0 {
        return None;
    }
    let mut numbers = numbers.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number));
    for wanted in key.numbers() {
        if numbers.next()? != wanted {
            return None;
        }
    }
    let records = usize::try_from(numbers.next()?).ok()?;
    let starts: Vec<u64> = numbers.by_ref().take(records).collect();
    let mut blanks = Vec::new();
    while let Some(record) = numbers.next() {
        blanks.push((record, numbers.next()?));
    }
    let ordered = starts.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = starts.last().is_none_or(|last| *last < key.length);
    (starts.len() == records && ordered && inside).then_some(LineIndex { length: key.length, starts, blanks })
}

/// Writes the index under a temporary name, then renames it.
pub(super) fn write(path: &Path, index: &LineIndex, key: &Key) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    let blanks = index.blanks.iter().flat_map(|(record, blank)| [*record, *blank]);
    let numbers = key.numbers().into_iter().chain([index.len() as u64]);
    for number in numbers.chain(index.starts.iter().copied()).chain(blanks) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let hash = xxh3_64(&bytes);
    bytes.extend_from_slice(&hash.to_le_bytes());
    let mut file = temporary_beside(path)?;
    file.write_all(&bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
