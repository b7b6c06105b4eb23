//! What the fuzz targets share.

#[cfg(feature = "burn")]
pub mod run;

use std::fs;
use std::path::{Path, PathBuf};

use arbitrary::Arbitrary;
use burnisher_quant::{RawDtype, RawTensor};

/// A directory of this process in memory, where parsers that take a path find their files.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty directory for `target`.
    pub fn new(target: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let dir = parent.join(format!("burnisher-fuzz-{target}-{}", std::process::id()));
        // A directory may be left from a process that was stopped.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        Self(dir)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Puts a file with these bytes there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Takes a file away, if it is there.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(name));
    }
}

/// Several files in one input: the parts between bytes 0xFF, which UTF-8 has not.
pub fn texts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let mut parts = data.splitn(N, |byte| *byte == 0xff);
    let mut texts = [""; N];
    for text in &mut texts {
        *text = std::str::from_utf8(parts.next().unwrap_or_default()).ok()?;
    }
    Some(texts)
}

/// Two files in one input, of which the second may hold any byte: the length of the first in two bytes, little endian.
pub fn two_files(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_le_bytes(*length).into())
}

/// A change to the tensors of a quantized weight. Numbers are taken modulo what there is.
#[derive(Arbitrary, Debug)]
pub enum Edit {
    /// A tensor is absent.
    Drop(u8),
    /// One byte is another.
    Byte(u8, u16, u8),
    /// Four bytes are another number: a scale, an entry of a table.
    Word(u8, u16, u32),
    /// Another shape, the bytes as they were.
    Shape(u8, Vec<u64>),
    /// Another shape with as many bytes as there are: its extents multiply to them.
    Extent(u8, u8),
    /// Another dtype.
    Dtype(u8, u8),
    /// Other bytes, in one dimension.
    Data(u8, Vec<u8>),
    /// A number in the text of the state is another.
    Number(u8, u64),
    /// Some of the text of the state is another.
    Text(u16, u8, String),
    /// A tensor has another's name.
    Rename(u8, u8),
}

const DTYPES: [RawDtype; 5] = [RawDtype::U8, RawDtype::I8, RawDtype::F16, RawDtype::Bf16, RawDtype::F32];

/// Makes the changes, one after another.
pub fn change(tensors: &mut Vec<(String, RawTensor)>, edits: &[Edit]) {
    for edit in edits.iter().take(8) {
        if tensors.is_empty() {
            return;
        }
        let count = tensors.len();
        let of = |index: u8| usize::from(index) % count;
        match edit {
            Edit::Drop(index) => drop(tensors.remove(of(*index))),
            Edit::Byte(index, at, value) => replace(&mut tensors[of(*index)].1, (*at).into(), &[*value]),
            Edit::Word(index, at, value) => {
                replace(&mut tensors[of(*index)].1, usize::from(*at) * 4, &value.to_le_bytes());
            }
            Edit::Shape(index, shape) => {
                tensors[of(*index)].1.shape = shape.iter().map(|extent| *extent as usize).collect();
            }
            Edit::Extent(index, rows) => {
                let tensor = &mut tensors[of(*index)].1;
                let values = tensor.data.len() / tensor.dtype.size();
                let rows = usize::from(*rows).max(1);
                tensor.shape = vec![rows, values / rows];
            }
            Edit::Dtype(index, dtype) => {
                tensors[of(*index)].1.dtype = DTYPES[usize::from(*dtype) % DTYPES.len()];
            }
            Edit::Data(index, data) => {
                let tensor = &mut tensors[of(*index)].1;
                tensor.shape = vec![data.len() / tensor.dtype.size()];
                tensor.data.clone_from(data);
            }
            Edit::Number(which, value) => {
                state_text(tensors, |text| with_number(&text, usize::from(*which), *value));
            }
            Edit::Text(at, length, other) => state_text(tensors, |text| {
                let at = usize::from(*at) % (text.len() + 1);
                let end = (at + usize::from(*length)).min(text.len());
                format!(
                    "{}{other}{}",
                    text.get(..at).unwrap_or_default(),
                    text.get(end..).unwrap_or_default()
                )
            }),
            Edit::Rename(index, other) => {
                let name = tensors[of(*other)].0.clone();
                tensors[of(*index)].0 = name;
            }
        }
    }
}

fn replace(tensor: &mut RawTensor, at: usize, bytes: &[u8]) {
    if let Some(place) = tensor.data.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Changes the JSON text, which is the last tensor, and its length.
fn state_text(tensors: &mut [(String, RawTensor)], change: impl Fn(String) -> String) {
    if let Some((_, tensor)) = tensors.last_mut()
        && let Ok(text) = String::from_utf8(tensor.data.clone())
    {
        tensor.data = change(text).into_bytes();
        tensor.shape = vec![tensor.data.len()];
    }
}

fn with_number(text: &str, which: usize, value: u64) -> String {
    let mut starts: Vec<usize> = Vec::new();
    let mut inside = false;
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_digit() && !inside {
            starts.push(at);
        }
        inside = byte.is_ascii_digit();
    }
    if starts.is_empty() {
        return text.to_owned();
    }
    let start = starts[which % starts.len()];
    let length = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    format!("{}{value}{}", &text[..start], &text[start + length..])
}
