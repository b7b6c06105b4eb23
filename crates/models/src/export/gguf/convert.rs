//! A weight on its way from a Hugging Face file into a GGUF file.

use std::io::{self, Write};

use super::GgmlType;
use super::write::Source;
use crate::checkpoint::{CheckpointDtype, TensorEntry};

/// A weight under its new name, with its numbers in another type. Nothing is held but one row at a time.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) name: String,
    pub(super) dtype: GgmlType,
    pub(super) entry: TensorEntry,
    pub(super) rows: RowOrder,
    pub(super) change: Change,
}

/// The order of a weight's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowOrder {
    /// As they are.
    Kept,
    /// Within each head of this many rows, those that rotary positions turn together become neighbours: `i` and
    /// `i + width / 2` go to `2i` and `2i + 1`. `LlamaModel.permute` of llama.cpp's converter.
    Pairs {
        /// Rows of a head; even.
        width: usize,
    },
}

/// What is done to a weight's numbers, in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// 1 is added.
    AddOne,
    /// They are multiplied.
    Times(f32),
}

impl RowOrder {
    /// The row that comes to stand at `row`.
    fn source(self, row: usize) -> usize {
        match self {
            Self::Kept => row,
            Self::Pairs { width } => {
                let (head, inside) = (row / width, row % width);
                head * width + inside % 2 * (width / 2) + inside / 2
            }
        }
    }
}

impl Change {
    fn apply(self, value: f32) -> f32 {
        match self {
            Self::None => value,
            Self::AddOne => value + 1.0,
            Self::Times(factor) => value * factor,
        }
    }
}

/// The type in which ggml holds what a file stores so; `None` for what is no weight.
pub(super) fn stored_as(dtype: CheckpointDtype) -> Option<GgmlType> {
    match dtype {
        CheckpointDtype::F32 => Some(GgmlType::F32),
        CheckpointDtype::F16 => Some(GgmlType::F16),
        CheckpointDtype::BF16 => Some(GgmlType::BF16),
        _ => None,
    }
}

/// The type that a tensor of this name and shape gets, as llama.cpp's converter chooses: vectors and norms stay f32,
/// and rows that are no whole number of blocks become f16.
pub(super) fn dtype_of(name: &str, shape: &[usize], wanted: GgmlType) -> GgmlType {
    if shape.len() < 2 || name.ends_with("_norm.weight") {
        GgmlType::F32
    } else if wanted.bytes_of(shape).is_none() {
        GgmlType::F16
    } else {
        wanted
    }
}

impl Source for Converted {
    fn name(&self) -> &str {
        &self.name
    }

    fn dtype(&self) -> GgmlType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let wrong =
            |message: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {message}", self.name));
        let Some(stored) = stored_as(self.entry.dtype) else {
            return Err(wrong(format!("{} is no type of a weight", self.entry.dtype)));
        };
        let rows = self.entry.shape.first().copied().unwrap_or(1);
        let width = self.entry.bytes.len() / rows.max(1);
        let mut encoded = Vec::new();
        for row in 0..rows {
            let source = self.rows.source(row);
            let mut values = stored.decode(&self.entry.bytes[source * width..(source + 1) * width]);
            values.iter_mut().for_each(|value| *value = self.change.apply(*value));
            if let Some(value) = values.iter().find(|value| !self.dtype.holds(**value)) {
                return Err(wrong(format!("row {source} holds {value}, which {} cannot", self.dtype)));
            }
            encoded.clear();
            self.dtype.encode(&values, &mut encoded);
            out.write_all(&encoded)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(converted: &Converted) -> Result<Vec<f32>, String> {
        let mut out = Vec::new();
        converted.write(&mut out).map_err(|error| error.to_string())?;
        assert_eq!(Some(out.len()), converted.dtype.bytes_of(converted.shape()));
        Ok(converted.dtype.decode(&out))
    }

    fn converted(values: &[f32], shape: &[usize]) -> Converted {
        Converted {
            name: "t".to_owned(),
            dtype: GgmlType::F32,
            entry: TensorEntry::from_f32(values, shape.to_vec()),
            rows: RowOrder::Kept,
            change: Change::None,
        }
    }

    #[test]
    fn rows_of_a_head_become_pairs() {
        // Two heads of four rows: 0 1 | 2 3 of each becomes 0 2 1 3.
        let values: Vec<f32> = (0..16u8).map(f32::from).collect();
        let pairs = RowOrder::Pairs { width: 4 };
        let tensor = Converted { rows: pairs, ..converted(&values, &[8, 2]) };
        let rows = [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0];
        let expected: Vec<f32> = rows.iter().flat_map(|row| [2.0 * row, 2.0 * row + 1.0]).collect();
        assert_eq!(written(&tensor), Ok(expected));
        let bias = Converted { rows: pairs, ..converted(&values[..8], &[8]) };
        assert_eq!(written(&bias), Ok(rows.to_vec()));
    }

    #[test]
    fn numbers_are_changed_and_checked() {
        let values = [0.5, -0.0, 70_000.0];
        let tensor = converted(&values, &[3]);
        assert_eq!(written(&tensor), Ok(values.to_vec()));
        assert_eq!(written(&Converted { change: Change::AddOne, ..tensor }), Ok(vec![1.5, 1.0, 70_001.0]));
        let tensor = Converted { change: Change::Times(2.0), ..converted(&values, &[3]) };
        assert_eq!(written(&tensor), Ok(vec![1.0, 0.0, 140_000.0]));
        let tensor = Converted { dtype: GgmlType::F16, ..converted(&values, &[1, 3]) };
        assert_eq!(written(&tensor), Err("t: row 0 holds 70000, which F16 cannot".to_owned()));
        let nan = written(&converted(&[0.0, f32::NAN], &[2, 1]));
        assert_eq!(nan, Err("t: row 1 holds NaN, which F32 cannot".to_owned()));
        assert_eq!(written(&converted(&[], &[0, 4])), Ok(Vec::new()));
        assert_eq!(written(&converted(&[3.0], &[])), Ok(vec![3.0]));
    }

    #[test]
    fn types_follow_the_converter() {
        let cases: [(&str, &[usize], GgmlType, GgmlType); 5] = [
            ("blk.0.attn_q.weight", &[64, 64], GgmlType::Q8_0, GgmlType::Q8_0),
            ("blk.0.attn_q.weight", &[64, 48], GgmlType::Q8_0, GgmlType::F16),
            ("blk.0.attn_q.bias", &[64], GgmlType::BF16, GgmlType::F32),
            ("blk.0.attn_norm.weight", &[64], GgmlType::F16, GgmlType::F32),
            ("token_embd.weight", &[10, 64], GgmlType::BF16, GgmlType::BF16),
        ];
        for (name, shape, wanted, expected) in cases {
            assert_eq!(dtype_of(name, shape, wanted), expected, "{name} {shape:?}");
        }
    }
}
