//! The numbers of a GGUF file's tensors.

use std::fmt;

use half::{bf16, f16};

use super::q8_0;

/// How a tensor's numbers are stored: the types of ggml that are written and read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GgmlType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// Signed bytes with an f16 scale for every 32 numbers of a row.
    Q8_0,
}

/// Type, name, number in the tensor table (`ggml_type`), number in `general.file_type` (`llama_ftype`) of a file whose
/// matrices are of the type, numbers in a block, bytes of a block.
static TABLE: [(GgmlType, &str, u32, u32, usize, usize); 4] = [
    (GgmlType::F32, "F32", 0, 0, 1, 4),
    (GgmlType::F16, "F16", 1, 1, 1, 2),
    (GgmlType::Q8_0, "Q8_0", 8, 7, q8_0::BLOCK, q8_0::BLOCK_BYTES),
    (GgmlType::BF16, "BF16", 30, 32, 1, 2),
];

impl GgmlType {
    fn row(self) -> &'static (Self, &'static str, u32, u32, usize, usize) {
        match self {
            Self::F32 => &TABLE[0],
            Self::F16 => &TABLE[1],
            Self::Q8_0 => &TABLE[2],
            Self::BF16 => &TABLE[3],
        }
    }

    /// The number in a file's tensor table.
    pub(super) fn number(self) -> u32 {
        self.row().2
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == number).map(|row| row.0)
    }

    /// The value of `general.file_type`.
    pub(super) fn file_type(self) -> u32 {
        self.row().3
    }

    /// How many numbers share a block. A row must be a multiple of it.
    pub fn block_len(self) -> usize {
        self.row().4
    }

    /// The bytes of a tensor of this shape, whose last dimension is a row; `None` where a row is no whole number of
    /// blocks, or the size does not fit into memory.
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        let &(_, _, _, _, block, bytes) = self.row();
        // Whoever multiplies the dimensions in another order meets the 0 last.
        shape.iter().filter(|&&dim| dim != 0).try_fold(1_usize, |count, &dim| count.checked_mul(dim))?;
        let row = shape.last().copied().unwrap_or(1);
        let blocks =
            shape.iter().rev().skip(1).try_fold(row / block, |blocks, &dim| blocks.checked_mul(dim))?;
        blocks.checked_mul(bytes).filter(|_| row.is_multiple_of(block))
    }

    /// Appends whole blocks of numbers, rounded to the nearest.
    ///
    /// # Panics
    /// Where `values` are no whole number of blocks.
    pub(super) fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F16 => out.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes())),
            Self::BF16 => out.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
            Self::Q8_0 => q8_0::quantize(values, out),
        }
    }

    /// The numbers of whole blocks.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let (twos, _) = bytes.as_chunks::<2>();
        match self {
            Self::F32 => bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect(),
            Self::F16 => twos.iter().map(|value| f16::from_le_bytes(*value).to_f32()).collect(),
            Self::BF16 => twos.iter().map(|value| bf16::from_le_bytes(*value).to_f32()).collect(),
            Self::Q8_0 => q8_0::dequantize(bytes),
        }
    }

    /// Whether the number stays finite.
    pub(super) fn holds(self, value: f32) -> bool {
        match self {
            Self::F32 => value.is_finite(),
            Self::F16 => f16::from_f32(value).is_finite(),
            Self::BF16 => bf16::from_f32(value).is_finite(),
            Self::Q8_0 => f16::from_f32(value / q8_0::MAX).is_finite(),
        }
    }

    /// Every type, for messages.
    pub(super) fn names() -> String {
        let names: Vec<String> = TABLE.iter().map(|row| format!("{} ({})", row.1, row.2)).collect();
        names.join(", ")
    }
}

/// Writes ggml's name: `Q8_0`.
impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_types() {
        for row in &TABLE {
            assert_eq!(row.0.row(), row);
            assert_eq!(GgmlType::from_number(row.2), Some(row.0));
            let mut bytes = Vec::new();
            row.0.encode(&vec![127.0; 2 * row.4], &mut bytes);
            assert_eq!(Some(bytes.len()), row.0.bytes_of(&[2, row.4]));
            assert_eq!(row.0.decode(&bytes), vec![127.0; 2 * row.4], "{}", row.0);
        }
        assert_eq!(GgmlType::from_number(2), None);
        assert_eq!(GgmlType::names(), "F32 (0), F16 (1), Q8_0 (8), BF16 (30)");
    }

    #[test]
    fn sizes_that_cannot_be_are_none() {
        let cases: [(GgmlType, &[usize], Option<usize>); 7] = [
            (GgmlType::F32, &[], Some(4)),
            (GgmlType::F16, &[3, 5], Some(30)),
            (GgmlType::Q8_0, &[3, 64], Some(3 * 2 * 34)),
            (GgmlType::Q8_0, &[64, 3], None),
            (GgmlType::Q8_0, &[0, 32], Some(0)),
            (GgmlType::F32, &[usize::MAX, 2], None),
            (GgmlType::BF16, &[2, 0], Some(0)),
        ];
        for (dtype, shape, expected) in cases {
            assert_eq!(dtype.bytes_of(shape), expected, "{dtype} {shape:?}");
        }
    }

    #[test]
    fn numbers_that_become_infinite_are_told() {
        assert!(GgmlType::F16.holds(65_504.0) && !GgmlType::F16.holds(65_520.0));
        assert!(GgmlType::BF16.holds(65_520.0) && !GgmlType::BF16.holds(f32::NAN));
        assert!(GgmlType::Q8_0.holds(8e6) && !GgmlType::Q8_0.holds(9e6));
        assert!(!GgmlType::F32.holds(f32::INFINITY));
    }
}
