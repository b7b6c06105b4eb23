//! Encoded records on disk, by a hash of all that decides them.
//!
//! A file is named after its key and laid out as follows, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `BTOKENS2` |
//! | 16 | the key |
//! | 8 · 8 | records, kept, truncated, truncated tokens, longest, prompt not prefix, end not trained, no EOS |
//! | 8 · kept | each record's number |
//! | 8 · kept | each record's tokens |
//! | 4 · tokens | ids |
//! | ⌈tokens / 8⌉ | targets, a bit each, the lowest first |
//! | 8 | XXH3 of everything before |

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{EncodeReport, Encoded, EncodedSet, Encoder, TrainOn};
use crate::error::DataError;
use crate::record::{Body, Record};
use crate::writer::temporary_beside;

const MAGIC: &[u8; 8] = b"BTOKENS2";
const COUNTS: usize = 8;
/// Magic, key and counts.
const HEADER: usize = 8 + 16 + 8 * COUNTS;

/// What [`Encoder::encode_cached`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheUse {
    /// The records were read from this file.
    Read(PathBuf),
    /// They were encoded and written to this file.
    Written(PathBuf),
    /// The file was damaged; they were encoded again and it was replaced.
    Replaced {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        damage: &'static str,
    },
    /// They were encoded and not stored: the chat template tells the time, so that tomorrow's tokens are others.
    TellsTime,
}

impl Encoder<'_> {
    /// Encodes a set as [`Encoder::encode_all`] does, or reads it from `dir` if the same records were encoded with the
    /// same tokenizer, chat template and configuration before. A damaged file is replaced, with a warning.
    ///
    /// Files are never deleted here; each has about four bytes a token. Writing is atomic.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode_all`]; [`DataError::Cache`] if a file cannot be read or written.
    pub fn encode_cached(&self, records: &[Record], dir: &Path) -> Result<(EncodedSet, CacheUse), DataError> {
        if self.tokenizer.chat_template().is_some_and(|template| template.tells_time()) {
            return Ok((self.encode_all(records)?, CacheUse::TellsTime));
        }
        let key = self.key(records)?;
        let path = dir.join(format!("{key:032x}.tokens"));
        let wrong =
            |error: std::io::Error| DataError::Cache { path: path.clone(), message: error.to_string() };
        let damage = match fs::read(&path) {
            Ok(bytes) => match read(&bytes, key, records, self.config.max_length) {
                Ok(set) => return Ok((set, CacheUse::Read(path))),
                Err(damage) => Some(damage),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(wrong(error)),
        };
        if let Some(damage) = damage {
            tracing::warn!(path = %path.display(), damage, "a token cache is damaged and is made again");
        }
        let set = self.encode_all(records)?;
        fs::create_dir_all(dir).map_err(wrong)?;
        let mut file = temporary_beside(&path).map_err(wrong)?;
        file.write_all(&write(&set, key)).map_err(wrong)?;
        file.as_file().sync_all().map_err(wrong)?;
        file.persist(&path).map_err(|error| wrong(error.error))?;
        Ok((
            set,
            match damage {
                Some(damage) => CacheUse::Replaced { path, damage },
                None => CacheUse::Written(path),
            },
        ))
    }

    fn key(&self, records: &[Record]) -> Result<u128, DataError> {
        let mut hash = Xxh3::new();
        hash.update(MAGIC);
        hash.update(&self.tokenizer.fingerprint()?.to_le_bytes());
        hash.update(&(self.config.max_length as u64).to_le_bytes());
        let train_on = match self.config.train_on {
            TrainOn::Completions => 0,
            TrainOn::Everything => 1,
        };
        hash.update(&[train_on, u8::from(self.config.append_eos)]);
        for record in records.par_iter().map(record_hash).collect::<Vec<_>>() {
            hash.update(&record.to_le_bytes());
        }
        Ok(hash.digest128())
    }
}

/// The hash of all of a record that a chat template sees, each part with its length in front.
fn record_hash(record: &Record) -> u128 {
    let mut hash = Xxh3::new();
    let mut update = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    update(record.shape().as_str());
    for (role, text) in record.turns() {
        update(role);
        update(text);
    }
    if let Body::Messages(messages) = &record.body {
        for message in messages {
            update(&Value::Object(message.extra.clone()).to_string());
        }
        update(&Value::Array(record.tools().to_vec()).to_string());
    }
    hash.digest128()
}

fn write(set: &EncodedSet, key: u128) -> Vec<u8> {
    let EncodedSet { encoded, report } = set;
    let mut out = Vec::with_capacity(HEADER + 16 * encoded.len() + report.tokens / 8 * 33 + 16);
    out.extend(MAGIC);
    out.extend(key.to_le_bytes());
    let counts: [usize; COUNTS] = [
        report.records,
        report.kept,
        report.truncated,
        report.truncated_tokens,
        report.longest,
        report.prompt_not_prefix,
        report.end_not_trained,
        usize::from(report.no_eos),
    ];
    counts.iter().for_each(|count| out.extend((*count as u64).to_le_bytes()));
    encoded.iter().for_each(|record| out.extend(record.index.to_le_bytes()));
    encoded.iter().for_each(|record| out.extend((record.len() as u64).to_le_bytes()));
    for id in encoded.iter().flat_map(|record| &record.ids) {
        out.extend(id.to_le_bytes());
    }
    let mut byte = 0_u8;
    let mut bits = 0_u32;
    for target in encoded.iter().flat_map(|record| &record.loss_mask) {
        byte |= u8::from(*target) << (bits % 8);
        bits = (bits + 1) % 8;
        if bits == 0 {
            out.push(std::mem::take(&mut byte));
        }
    }
    if bits > 0 {
        out.push(byte);
    }
    let checksum = xxh3_64(&out);
    out.extend(checksum.to_le_bytes());
    out
}

/// The set of a file, or what is wrong with the file.
fn read(bytes: &[u8], key: u128, records: &[Record], max_length: usize) -> Result<EncodedSet, &'static str> {
    let end = bytes.len().checked_sub(8).filter(|end| *end >= HEADER).ok_or("it is too short")?;
    let (body, checksum) = bytes.split_at(end);
    if xxh3_64(body).to_le_bytes() != checksum {
        return Err("its checksum does not fit");
    }
    let (header, body) = body.split_at(HEADER);
    if &header[..8] != MAGIC || header[8..24] != key.to_le_bytes() {
        return Err("it begins with another key");
    }
    let counts: Vec<usize> = numbers(&header[24..]).map(|count| count as usize).collect();
    let (all, kept) = (counts[0], counts[1]);
    if all != records.len() || kept > all {
        return Err("it has another number of records");
    }
    let sized = |count: usize, size: usize| count.checked_mul(size).ok_or("its sizes overflow");
    let (indices, body) = body.split_at_checked(sized(kept, 8)?).ok_or("it ends early")?;
    let (lengths, body) = body.split_at_checked(sized(kept, 8)?).ok_or("it ends early")?;
    let tokens =
        numbers(lengths).try_fold(0_usize, |sum, length| sum.checked_add(usize::try_from(length).ok()?));
    let tokens = tokens.ok_or("its sizes overflow")?;
    let (ids, mask) = body.split_at_checked(sized(tokens, 4)?).ok_or("it ends early")?;
    if mask.len() != tokens.div_ceil(8) {
        return Err("its sizes do not add up");
    }
    let mut report = EncodeReport::new(max_length);
    (report.records, report.kept) = (all, kept);
    (report.truncated, report.truncated_tokens, report.longest) = (counts[2], counts[3], counts[4]);
    (report.prompt_not_prefix, report.end_not_trained, report.no_eos) =
        (counts[5], counts[6], counts[7] == 1);
    let mut encoded: Vec<Encoded> = Vec::with_capacity(kept);
    let (mut start, mut next) = (0, 0);
    for (index, length) in numbers(indices).zip(numbers(lengths)) {
        let number = usize::try_from(index).ok().filter(|number| (next..all).contains(number));
        let number = number.ok_or("its records are out of order")?;
        let dropped = records[next..number].iter().map(|record| record.origin.clone());
        report.dropped_no_target.extend(dropped);
        next = number + 1;
        let end = start + length as usize;
        let ids = ids[4 * start..4 * end].chunks_exact(4);
        let ids = ids.map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])).collect();
        let mask = (start..end).map(|at| mask[at / 8] >> (at % 8) & 1 == 1).collect();
        let record = Encoded::new(ids, mask, index);
        report.tokens += record.len();
        report.target_tokens += record.target_tokens();
        encoded.push(record);
        start = end;
    }
    report.dropped_no_target.extend(records[next..].iter().map(|record| record.origin.clone()));
    Ok(EncodedSet { encoded, report })
}

/// The whole 64-bit numbers of a slice.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|number| {
        let mut whole = [0; 8];
        whole.copy_from_slice(number);
        u64::from_le_bytes(whole)
    })
}
