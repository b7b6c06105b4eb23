//! Reading a GGUF file, distrusted.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use bytes::Bytes;

use super::value::Item;
use super::{GgmlType, GgufTensor, GgufValue, MAX_DIMS, alignment};
use crate::checkpoint::map_file;
use crate::error::ModelError;

const MAGIC: &[u8; 4] = b"GGUF";

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in a file's bytes.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let taken = usize::try_from(length).ok().and_then(|length| self.bytes[self.at..].get(..length));
        match taken {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => {
                Err(self.error(format!("{length} bytes wanted, {} left (is the file cut off?)", self.rest())))
            }
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn error(&self, message: impl fmt::Display) -> Malformed {
        Malformed(format!("byte {}: {message}", self.at))
    }
}

/// A GGUF file: its metadata, and its tensors as parts of the mapped file.
///
/// ```no_run
/// # fn main() -> Result<(), burnisher_models::ModelError> {
/// let file = burnisher_models::GgufFile::open("model.gguf")?;
/// println!("{:?}", file.get("general.architecture"));
/// for tensor in file.tensors() {
///     println!("{} {} {:?}", tensor.name, tensor.dtype, tensor.shape);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GgufFile {
    metadata: Vec<(String, GgufValue)>,
    tensors: Vec<GgufTensor>,
}

impl GgufFile {
    /// Maps a file and reads its metadata and its tensor table.
    ///
    /// # Errors
    /// [`ModelError::Io`] where it cannot be read, and those of [`GgufFile::from_bytes`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        Self::from_bytes(map_file(path).map_err(ModelError::io(path))?, path)
    }

    /// Reads the bytes of a file; `path` is what errors call them.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] where they are no GGUF file of version 2 or 3 in little endian, where the file contradicts
    /// itself, and where a tensor is of a type that is not built here.
    pub fn from_bytes(bytes: Bytes, path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        read(&bytes).map_err(|malformed| ModelError::Gguf {
            path: path.to_path_buf(),
            message: malformed.to_string(),
        })
    }

    /// The metadata, in the order of the file.
    pub fn metadata(&self) -> &[(String, GgufValue)] {
        &self.metadata
    }

    /// A value of the metadata.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The tensors, in the order of the file.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

/// An entry of the tensor table.
struct Info {
    name: String,
    dtype: GgmlType,
    shape: Vec<usize>,
    /// Bytes of data.
    size: usize,
    offset: u64,
}

fn read(bytes: &Bytes) -> Result<GgufFile, Malformed> {
    let mut cursor = Cursor::new(bytes);
    if cursor.array::<4>()? != *MAGIC {
        return Err(Malformed("the first bytes are not GGUF".to_owned()));
    }
    match u32::take(&mut cursor)? {
        2 | 3 => {}
        other if matches!(other.swap_bytes(), 1..=3) => {
            return Err(cursor.error("big endian, wanted little endian"));
        }
        other => return Err(cursor.error(format!("version {other}, wanted 2 or 3"))),
    }
    let (tensors, entries) = (u64::take(&mut cursor)?, u64::take(&mut cursor)?);
    let metadata = metadata(&mut cursor, entries)?;
    let Some(alignment) = alignment(&metadata) else {
        return Err(cursor.error("general.alignment is not a power of two in a u32"));
    };
    let mut names = BTreeSet::new();
    let mut infos = Vec::new();
    for _ in 0..tensors {
        let info = info(&mut cursor)?;
        if !names.insert(info.name.clone()) {
            return Err(cursor.error(format!("tensor `{}` is in the table twice", info.name)));
        }
        infos.push(info);
    }
    let data = bytes.slice(cursor.at.next_multiple_of(alignment).min(bytes.len())..);
    let mut expected = 0usize;
    let mut tensors = Vec::with_capacity(infos.len());
    for Info { name, dtype, shape, size, offset } in infos {
        if offset != expected as u64 {
            return Err(Malformed(format!(
                "tensor `{name}` begins at byte {offset} of the data, wanted {expected}"
            )));
        }
        let end = expected.checked_add(size).filter(|end| *end <= data.len());
        let Some(end) = end else {
            let there = data.len();
            return Err(Malformed(format!(
                "tensor `{name}` has {size} bytes from byte {offset} of the data, {there} are there (is the file cut off?)"
            )));
        };
        tensors.push(GgufTensor { name, dtype, shape, bytes: data.slice(expected..end) });
        expected = end.next_multiple_of(alignment);
    }
    Ok(GgufFile { metadata, tensors })
}

fn metadata(cursor: &mut Cursor<'_>, entries: u64) -> Result<Vec<(String, GgufValue)>, Malformed> {
    let mut keys = BTreeSet::new();
    let mut metadata = Vec::new();
    for _ in 0..entries {
        let key = String::take(cursor)?;
        if key.is_empty() || !keys.insert(key.clone()) {
            return Err(cursor.error(format!("the key {key:?} is empty or there already")));
        }
        let value = GgufValue::take(cursor)?;
        metadata.push((key, value));
    }
    Ok(metadata)
}

fn info(cursor: &mut Cursor<'_>) -> Result<Info, Malformed> {
    let name = String::take(cursor)?;
    let dims = u32::take(cursor)? as usize;
    if dims > MAX_DIMS {
        return Err(cursor.error(format!("tensor `{name}` has {dims} dimensions, wanted at most {MAX_DIMS}")));
    }
    let mut shape = Vec::with_capacity(dims);
    for _ in 0..dims {
        let dim = u64::take(cursor)?;
        let Ok(dim) = usize::try_from(dim) else {
            return Err(cursor.error(format!("tensor `{name}` has a dimension of {dim}")));
        };
        shape.push(dim);
    }
    shape.reverse();
    let number = u32::take(cursor)?;
    let Some(dtype) = GgmlType::from_number(number) else {
        let readable = GgmlType::names();
        return Err(cursor.error(format!("tensor `{name}` is of type {number}, readable are {readable}")));
    };
    let Some(size) = dtype.bytes_of(&shape) else {
        return Err(cursor.error(format!("tensor `{name}` of {dtype} has the shape {shape:?}")));
    };
    Ok(Info { name, dtype, shape, size, offset: u64::take(cursor)? })
}
