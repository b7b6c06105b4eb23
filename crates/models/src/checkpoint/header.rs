//! The header of one safetensors file, distrusted.
//!
//! `SafeTensors::read_metadata` stops at the first lie, does not always name the tensor, and adds lengths from the
//! file unchecked. Here every entry is judged by itself, with the crate's types.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use super::dtype::CheckpointDtype;
use crate::error::CheckpointProblem;

/// The length of the header stands in the first bytes of a file, little endian.
const LENGTH_BYTES: usize = 8;

/// The limit of the safetensors format.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Where one tensor lies in its file.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) dtype: CheckpointDtype,
    pub(super) shape: Vec<usize>,
    /// Inside the file, checked against its length and against shape and dtype.
    pub(super) range: Range<usize>,
}

/// What a header says, after every check.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) tensors: BTreeMap<String, Span>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Reads the header of a whole file's `bytes`; `file` names it in the problems.
pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Header, Vec<CheckpointProblem>> {
    let (entries, data_start) = entries(file, bytes).map_err(|problem| vec![problem])?;
    let data_len = bytes.len() - data_start;
    let mut problems = Vec::new();
    let mut header = Header::default();
    for (name, entry) in entries {
        if name == "__metadata__" {
            match serde_json::from_value::<Option<BTreeMap<String, String>>>(entry) {
                Ok(metadata) => header.metadata = metadata.unwrap_or_default(),
                Err(error) => problems.push(CheckpointProblem::File {
                    file: file.to_owned(),
                    found: format!("__metadata__: {error}"),
                    wanted: "an object of strings".to_owned(),
                }),
            }
            continue;
        }
        match span(file, &name, entry, data_len) {
            Ok(span) => {
                header.tensors.insert(name, span);
            }
            Err(problem) => problems.push(problem),
        }
    }
    // The order of tensors means something only once each of them is possible.
    if problems.is_empty() {
        problems = gaps(file, &header, data_len);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for span in header.tensors.values_mut() {
        span.range = span.range.start + data_start..span.range.end + data_start;
    }
    Ok(header)
}

/// The entries of the header's JSON object, and where the data begins.
fn entries(file: &str, bytes: &[u8]) -> Result<(Map<String, Value>, usize), CheckpointProblem> {
    let problem =
        |found: String, wanted: String| CheckpointProblem::File { file: file.to_owned(), found, wanted };
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(problem(
            "a Git LFS pointer".to_owned(),
            "the file it points to (`git lfs pull` fetches it)".to_owned(),
        ));
    }
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Err(problem(
            format!("{} bytes", bytes.len()),
            "a safetensors file, which has at least 8".to_owned(),
        ));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(problem(
            format!("a header of {length} bytes"),
            format!("at most {MAX_HEADER_BYTES} (is it a safetensors file?)"),
        ));
    }
    let data_start = LENGTH_BYTES + length as usize;
    let Some(header) = bytes.get(LENGTH_BYTES..data_start) else {
        return Err(problem(
            format!("{} bytes", bytes.len()),
            format!("a header that ends at byte {data_start} (is the file cut off?)"),
        ));
    };
    match serde_json::from_slice(header) {
        Ok(entries) => Ok((entries, data_start)),
        Err(error) => {
            Err(problem(format!("a header that is not valid JSON ({error})"), "a JSON object".to_owned()))
        }
    }
}

/// One tensor's entry, with offsets relative to the data.
fn span(file: &str, tensor: &str, entry: Value, data_len: usize) -> Result<Span, CheckpointProblem> {
    let problem = |found: String, wanted: String| CheckpointProblem::Layout {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        found,
        wanted,
    };
    let info: TensorInfo = serde_json::from_value(entry)
        .map_err(|error| problem(error.to_string(), "a dtype, a shape and two data_offsets".to_owned()))?;
    let Some(dtype) = CheckpointDtype::from_safetensors(info.dtype) else {
        return Err(CheckpointProblem::Dtype {
            tensor: tensor.to_owned(),
            found: info.dtype.to_string(),
            wanted: format!("one of {}", CheckpointDtype::names()),
        });
    };
    let (begin, end) = info.data_offsets;
    let bytes = info.shape.iter().try_fold(dtype.size(), |bytes, &dim| bytes.checked_mul(dim));
    match (bytes, end.checked_sub(begin)) {
        (None, _) => Err(problem(
            format!("shape {:?} of {dtype}", info.shape),
            "a size that fits into memory".to_owned(),
        )),
        (Some(bytes), held) if held != Some(bytes) => Err(problem(
            format!("offsets {begin}..{end}"),
            format!("{bytes} bytes for shape {:?} of {dtype}", info.shape),
        )),
        _ if end > data_len => Err(problem(
            format!("an end at byte {end} of the data"),
            format!("at most {data_len}, the bytes there are (is the file cut off?)"),
        )),
        _ => Ok(Span { dtype, shape: info.shape, range: begin..end }),
    }
}

/// Tensors must follow each other without overlap and fill the data to its end.
fn gaps(file: &str, header: &Header, data_len: usize) -> Vec<CheckpointProblem> {
    let mut spans: Vec<(&String, &Range<usize>)> =
        header.tensors.iter().map(|(name, span)| (name, &span.range)).collect();
    spans.sort_by_key(|(_, range)| (range.start, range.end));
    let mut problems = Vec::new();
    let mut cursor = 0;
    for (name, range) in spans {
        if range.start != cursor {
            problems.push(CheckpointProblem::Layout {
                file: file.to_owned(),
                tensor: name.clone(),
                found: format!("a begin at byte {} of the data", range.start),
                wanted: format!("{cursor}, where the tensor before it ends"),
            });
        }
        cursor = cursor.max(range.end);
    }
    if cursor != data_len {
        problems.push(CheckpointProblem::File {
            file: file.to_owned(),
            found: format!("{data_len} bytes of data"),
            wanted: format!("{cursor}, where the last tensor ends"),
        });
    }
    problems
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn message(bytes: &[u8]) -> String {
        let problems = parse("f", bytes).expect_err("a lie must be found");
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        texts.join("\n")
    }

    #[test]
    fn lies_are_named() {
        let f32 = |name: &str, shape: &str, begin: u64, end: u64| {
            format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
        };
        let object = |entries: &[String]| format!("{{{}}}", entries.join(","));
        let one = |shape, begin, end| object(&[f32("a", shape, begin, end)]);
        #[rustfmt::skip]
        let cases: &[(&str, Vec<u8>, &str)] = &[
            ("empty", vec![], "f: found 0 bytes, wanted a safetensors file, which has at least 8"),
            ("pointer", b"version https://git-lfs.github.com/spec/v1".to_vec(),
             "f: found a Git LFS pointer, wanted the file it points to (`git lfs pull` fetches it)"),
            ("header length", u64::MAX.to_le_bytes().to_vec(),
             "f: found a header of 18446744073709551615 bytes, wanted at most 100000000 (is it a safetensors file?)"),
            ("header cut off", 9u64.to_le_bytes().to_vec(),
             "f: found 8 bytes, wanted a header that ends at byte 17 (is the file cut off?)"),
            ("data cut off", file(&one("[2]", 0, 8), &[0; 7]),
             "f: tensor `a`: the header says an end at byte 8 of the data, wanted at most 7, the bytes there are \
              (is the file cut off?)"),
            ("size", file(&one("[2]", 0, 4), &[0; 4]),
             "f: tensor `a`: the header says offsets 0..4, wanted 8 bytes for shape [2] of F32"),
            ("backwards", file(&one("[2]", 8, 0), &[0; 8]),
             "f: tensor `a`: the header says offsets 8..0, wanted 8 bytes for shape [2] of F32"),
            ("overflow", file(&one("[9223372036854775807,4]", 0, 8), &[0; 8]),
             "f: tensor `a`: the header says shape [9223372036854775807, 4] of F32, wanted a size that fits into memory"),
            ("hole", file(&one("[1]", 4, 8), &[0; 8]),
             "f: tensor `a`: the header says a begin at byte 4 of the data, wanted 0, where the tensor before it ends"),
            ("overlap", file(&object(&[f32("a", "[2]", 0, 8), f32("b", "[1]", 4, 8)]), &[0; 8]),
             "f: tensor `b`: the header says a begin at byte 4 of the data, wanted 8, where the tensor before it ends"),
            ("trailing", file(&one("[1]", 0, 4), &[0; 6]),
             "f: found 6 bytes of data, wanted 4, where the last tensor ends"),
            ("two lies", file(&object(&[f32("a", "[2]", 0, 4), f32("b", "[1]", 4, 99)]), &[0; 8]),
             "f: tensor `a`: the header says offsets 0..4, wanted 8 bytes for shape [2] of F32\n\
              f: tensor `b`: the header says offsets 4..99, wanted 4 bytes for shape [1] of F32"),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(message(bytes), *expected, "{name}");
        }
        assert!(message(&file("{", &[])).starts_with("f: found a header that is not valid JSON (EOF"));
        let unknown = file(r#"{"a":{"dtype":"Q4","shape":[],"data_offsets":[0,0]}}"#, &[]);
        assert!(
            message(&unknown)
                .starts_with("f: tensor `a`: the header says unknown variant `Q4`, expected one of")
        );
        let foreign = file(r#"{"a":{"dtype":"F8_E4M3","shape":[0],"data_offsets":[0,0]}}"#, &[]);
        assert!(message(&foreign).starts_with("tensor `a`: found dtype F8_E4M3, wanted one of BOOL, U8"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_safetensors_crate(shapes in prop::collection::vec(prop::collection::vec(0usize..4, 0..3), 0..5)) {
            let views: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
                .into_iter()
                .enumerate()
                .map(|(i, shape)| {
                    let len = 2 * shape.iter().product::<usize>();
                    (format!("t{i}"), shape, vec![i as u8; len])
                })
                .collect();
            let bytes = safetensors::serialize(
                views.iter().map(|(name, shape, data)| {
                    (name, TensorView::new(Dtype::BF16, shape.clone(), data).expect("sizes agree"))
                }),
                None,
            )
            .expect("serializes");
            let header = parse("f", &bytes).expect("a valid file");
            let theirs = SafeTensors::deserialize(&bytes).expect("a valid file");
            prop_assert_eq!(header.tensors.len(), theirs.len());
            for (name, span) in &header.tensors {
                let view = theirs.tensor(name).expect("same names");
                prop_assert_eq!(&span.shape[..], view.shape());
                prop_assert_eq!(&bytes[span.range.clone()], view.data());
            }
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), len in 0u64..80, json in "\\PC{0,40}") {
            let _ = parse("f", &bytes);
            let mut framed = len.to_le_bytes().to_vec();
            framed.extend_from_slice(json.as_bytes());
            let _ = parse("f", &framed);
        }

        #[test]
        fn no_offsets_are_believed(begin in any::<u64>(), end in any::<u64>(), dim in any::<u64>()) {
            let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{dim}],"data_offsets":[{begin},{end}]}}}}"#);
            let bytes = file(&header, &[0; 16]);
            if let Ok(header) = parse("f", &bytes) {
                let span = &header.tensors["a"];
                prop_assert_eq!(span.range.end, bytes.len());
            }
        }
    }
}
