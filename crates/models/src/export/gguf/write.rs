//! Writing a GGUF file.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;

use super::value::Item;
use super::{GgmlType, GgufValue, MAX_DIMS, MAX_NAME, alignment};
use crate::error::ModelError;
use crate::writer::write_atomically;

/// The version that is written.
const VERSION: u32 = 3;

/// A tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name, in at most 63 bytes.
    pub name: String,
    /// The numbers it is stored in.
    pub dtype: GgmlType,
    /// Its shape as Hugging Face and Burn have it, the last dimension a row; the file has it backwards. At most 4
    /// dimensions.
    pub shape: Vec<usize>,
    /// Its bytes. From a [`GgufFile`](super::GgufFile) this is a part of the mapped file, no copy.
    pub bytes: Bytes,
}

impl GgufTensor {
    /// The values. Q8_0's are the product of byte and scale in f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.dtype.decode(&self.bytes)
    }
}

/// A tensor on its way into a file.
pub(super) trait Source {
    fn name(&self) -> &str;
    fn dtype(&self) -> GgmlType;
    /// The last dimension is a row.
    fn shape(&self) -> &[usize];
    /// Writes as many bytes as type and shape say.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;
}

impl Source for GgufTensor {
    fn name(&self) -> &str {
        &self.name
    }

    fn dtype(&self) -> GgmlType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.bytes)
    }
}

/// Writes metadata and tensors, in the order given, as a GGUF file. It appears whole or not at all.
///
/// # Errors
/// [`ModelError::Gguf`] for a key or a name that is empty, too long or given twice, and for a tensor that ggml cannot
/// hold or whose bytes do not fit its shape; [`ModelError::Write`] where the file cannot be written. What stood there
/// is unchanged.
pub fn write_gguf(
    path: impl AsRef<Path>,
    metadata: &[(String, GgufValue)],
    tensors: &[GgufTensor],
) -> Result<(), ModelError> {
    let path = path.as_ref();
    for GgufTensor { name, dtype, shape, bytes } in tensors {
        if dtype.bytes_of(shape) != Some(bytes.len()) {
            let message =
                format!("tensor `{name}` of {dtype} has the shape {shape:?} and {} bytes", bytes.len());
            return Err(ModelError::Gguf { path: path.to_path_buf(), message });
        }
    }
    write(path, metadata, tensors)
}

/// As [`write_gguf`], with tensors that make their bytes while they are written.
pub(super) fn write(
    path: &Path,
    metadata: &[(String, GgufValue)],
    tensors: &[impl Source],
) -> Result<(), ModelError> {
    let wrong = |message: String| ModelError::Gguf { path: path.to_path_buf(), message };
    check_names(metadata, tensors).map_err(wrong)?;
    let Some(alignment) = alignment(metadata) else {
        return Err(wrong("general.alignment is not a power of two in a u32".to_owned()));
    };
    let mut header = b"GGUF".to_vec();
    VERSION.put(&mut header);
    (tensors.len() as u64).put(&mut header);
    (metadata.len() as u64).put(&mut header);
    for (key, value) in metadata {
        key.put(&mut header);
        value.put(&mut header);
    }
    let mut offset = 0usize;
    let mut sizes = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let (name, shape, dtype) = (tensor.name(), tensor.shape(), tensor.dtype());
        let size = dtype.bytes_of(shape).filter(|_| shape.len() <= MAX_DIMS);
        let Some(size) = size else {
            return Err(wrong(format!("tensor `{name}` of {dtype} cannot have the shape {shape:?}")));
        };
        name.to_owned().put(&mut header);
        (shape.len() as u32).put(&mut header);
        shape.iter().rev().for_each(|dim| (*dim as u64).put(&mut header));
        dtype.number().put(&mut header);
        (offset as u64).put(&mut header);
        offset += size.next_multiple_of(alignment);
        sizes.push(size);
    }
    header.resize(header.len().next_multiple_of(alignment), 0);
    write_atomically(path, |out| {
        out.write_all(&header)?;
        for (tensor, size) in tensors.iter().zip(&sizes) {
            let mut counted = Counted { out: &mut *out, bytes: 0 };
            tensor.write(&mut counted)?;
            let bytes = counted.bytes;
            if bytes != *size {
                let message = format!("tensor `{}` gave {bytes} bytes, wanted {size}", tensor.name());
                return Err(io::Error::other(message));
            }
            out.write_all(&vec![0; size.next_multiple_of(alignment) - size])?;
        }
        Ok(())
    })
}

/// Names and keys must be there, short enough, and different.
fn check_names(metadata: &[(String, GgufValue)], tensors: &[impl Source]) -> Result<(), String> {
    let mut keys = BTreeSet::new();
    for (key, _) in metadata {
        if key.is_empty() || key.len() > usize::from(u16::MAX) || !keys.insert(key) {
            return Err(format!("the key {key:?} is empty, too long or given twice"));
        }
    }
    let mut names = BTreeSet::new();
    for name in tensors.iter().map(Source::name) {
        if name.is_empty() || name.len() > MAX_NAME || !names.insert(name) {
            return Err(format!("the tensor name {name:?} is empty, too long or given twice"));
        }
    }
    Ok(())
}

/// Counts what goes through.
struct Counted<W> {
    out: W,
    bytes: usize,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
