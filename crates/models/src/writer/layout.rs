//! Where each tensor lies in a safetensors file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Map, Value, json};

use crate::{
    checkpoint::CheckpointDtype,
    error::{CheckpointProblem, ModelError},
};

/// The header of a safetensors file is padded to this, so that the data behind it is aligned.
const HEADER_ALIGNMENT: usize = 8;

/// The most bytes of a late tensor.
const LATE_BYTES: usize = 4096;

/// A tensor without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The numbers it is stored in.
    pub dtype: CheckpointDtype,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Whether the shape is only a bound so far.
    pub(super) is_late: bool,
}

impl TensorSpec {
    /// A tensor of this name, dtype and shape.
    pub fn new(name: impl Into<String>, dtype: CheckpointDtype, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into(), is_late: false }
    }

    /// A small vector of bytes whose length, at most 4096, is known only when it is written. It lies behind all others.
    pub fn late(name: impl Into<String>) -> Self {
        Self { is_late: true, ..Self::new(name, CheckpointDtype::U8, [LATE_BYTES]) }
    }

    /// Bytes of its values; `None` for a shape that no memory holds.
    pub fn bytes(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.dtype.size(), |bytes, &dim| bytes.checked_mul(dim))
    }
}

/// The header of a file, and its tensors in the file's order with their offsets behind the header.
pub(super) struct Layout<'a> {
    /// Length, text and padding.
    pub(super) header: Vec<u8>,
    pub(super) tensors: Vec<(&'a TensorSpec, u64)>,
    /// Bytes of all tensors.
    pub(super) bytes: u64,
}

impl<'a> Layout<'a> {
    /// Tensors are ordered by alignment and then by name, as the safetensors library does; late ones come last. The
    /// header is at least `header_bytes` long.
    pub(super) fn new(
        tensors: &'a [TensorSpec],
        metadata: &BTreeMap<String, String>,
        header_bytes: usize,
    ) -> Self {
        let mut ordered: Vec<&TensorSpec> = tensors.iter().collect();
        ordered.sort_by(|left, right| {
            let by_dtype = right.dtype.to_safetensors().cmp(&left.dtype.to_safetensors());
            let by_name = left.name.cmp(&right.name);
            left.is_late.cmp(&right.is_late).then(by_dtype).then(by_name)
        });
        let mut header = Map::new();
        if !metadata.is_empty() {
            header.insert("__metadata__".to_owned(), json!(metadata));
        }
        let mut offset = 0;
        let mut placed = Vec::with_capacity(ordered.len());
        for tensor in ordered {
            let end = offset + tensor.bytes().unwrap_or(0) as u64;
            let dtype = tensor.dtype.to_string();
            let entry = json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] });
            header.insert(tensor.name.clone(), entry);
            placed.push((tensor, offset));
            offset = end;
        }
        let mut text = Value::Object(header).to_string();
        let wanted = text.len().max(header_bytes.saturating_sub(size_of::<u64>()));
        let padding = wanted.next_multiple_of(HEADER_ALIGNMENT) - text.len();
        text.extend(std::iter::repeat_n(' ', padding));
        let header = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        Self { header, tensors: placed, bytes: offset }
    }
}

/// Names must differ.
pub(super) fn check(path: &Path, tensors: &[TensorSpec]) -> Result<(), ModelError> {
    let bytes: Vec<usize> = tensors.iter().map(|tensor| tensor.bytes().unwrap_or(usize::MAX)).collect();
    check_bytes(path, tensors, &bytes)
}

/// Names must differ, and shapes must fit their bytes.
pub(super) fn check_bytes(path: &Path, tensors: &[TensorSpec], bytes: &[usize]) -> Result<(), ModelError> {
    let file = path.file_name().unwrap_or(path.as_os_str()).display().to_string();
    let problem = |tensor: &TensorSpec, found: String, wanted: String| CheckpointProblem::Layout {
        file: file.clone(),
        tensor: tensor.name.clone(),
        found,
        wanted,
    };
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    for (tensor, bytes) in tensors.iter().zip(bytes) {
        if !names.insert(&tensor.name) || tensor.name == "__metadata__" {
            problems.push(problem(tensor, "a name that is taken".to_owned(), "another".to_owned()));
        }
        if tensor.bytes() != Some(*bytes) {
            let found = format!("shape {:?} of {}", tensor.shape, tensor.dtype);
            problems.push(problem(tensor, found, format!("a shape for its {bytes} bytes")));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ModelError::Tensors { path: path.to_path_buf(), problems }) }
}

/// Consecutive runs of at most `max_bytes`, at least one.
pub(super) fn shards(tensors: &[TensorSpec], max_bytes: u64) -> Vec<&[TensorSpec]> {
    let mut shards = Vec::new();
    let (mut start, mut held) = (0, 0u64);
    for (at, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.bytes().unwrap_or(usize::MAX) as u64;
        if at > start && held.saturating_add(bytes) > max_bytes {
            shards.push(&tensors[start..at]);
            (start, held) = (at, 0);
        }
        held = held.saturating_add(bytes);
    }
    shards.push(&tensors[start..]);
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_consecutive_runs_below_the_limit() {
        #[rustfmt::skip]
        let cases: &[(&[usize], u64, &[usize])] = &[
            (&[], 16, &[0]),
            (&[1, 1, 1], 16, &[3]),
            (&[2, 2, 1], 16, &[2, 1]),
            (&[9, 1], 16, &[1, 1]),
            (&[1, 9, 1], 16, &[1, 1, 1]),
            (&[1, 1, 1], 0, &[1, 1, 1]),
        ];
        for (sizes, limit, expected) in cases {
            let spec =
                |(i, size): (usize, &usize)| TensorSpec::new(format!("t{i}"), CheckpointDtype::F32, [*size]);
            let tensors: Vec<TensorSpec> = sizes.iter().enumerate().map(spec).collect();
            let found: Vec<usize> = shards(&tensors, *limit).iter().map(|shard| shard.len()).collect();
            assert_eq!(found, *expected, "{sizes:?} by {limit}");
        }
    }
}
