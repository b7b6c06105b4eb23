use rayon::prelude::*;

use crate::blockwise::scaled;
use crate::dynamic_map::{DynamicMap, dynamic_map_signed};

/// The block size of the nested quantization, fixed in bitsandbytes.
pub const NESTED_BLOCK_SIZE: usize = 256;

/// Nested blocks per parallel task, at least.
const TASK_BLOCKS: usize = 16;

/// The absmax of every block of a weight: as f32, or quantized a second time to 8 bits.
#[derive(Debug, Clone, PartialEq)]
pub enum Absmax {
    /// One f32 per block.
    Plain(Vec<f32>),
    /// Double quantization: `absmax[j] = map[codes[j]] * nested_absmax[j / block_size] + offset` with
    /// [`dynamic_map_signed`]. Dettmers et al., "QLoRA" (2023), section 3.
    Nested {
        /// One 8-bit code per block of the weight.
        codes: Vec<u8>,
        /// One f32 per nested block: the largest magnitude of `absmax - offset` in it.
        nested_absmax: Vec<f32>,
        /// The mean of all absmax.
        offset: f32,
        /// Codes per nested block; 256 in bitsandbytes.
        block_size: usize,
    },
}

impl Absmax {
    /// The number of blocks of the weight.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Plain(values) => values.len(),
            Self::Nested { codes, .. } => codes.len(),
        }
    }

    /// One f32 per block; restores the values of a nested absmax.
    ///
    /// # Panics
    ///
    /// If the lengths of a nested absmax do not fit each other. Those of a [`QuantState`](crate::QuantState) do.
    pub fn values(&self) -> Vec<f32> {
        match self {
            Self::Plain(values) => values.clone(),
            Self::Nested { codes, nested_absmax, offset, block_size } => {
                assert!(
                    *block_size > 0 && nested_absmax.len() == codes.len().div_ceil(*block_size),
                    "nested absmax: {} codes in blocks of {block_size} have {} scales",
                    codes.len(),
                    nested_absmax.len()
                );
                unnest(codes, nested_absmax, *offset, *block_size)
            }
        }
    }

    /// The bytes of all its numbers.
    pub fn size_bytes(&self) -> usize {
        let float = size_of::<f32>();
        match self {
            Self::Plain(values) => values.len() * float,
            Self::Nested { codes, nested_absmax, .. } => codes.len() + (nested_absmax.len() + 1) * float,
        }
    }
}

/// Quantizes finite absmax to 8 bits, as bitsandbytes' `compress_statistics` does.
///
/// The offset is the mean, summed in f64 and rounded once; torch sums in f32, so the last bit may differ from a
/// checkpoint's.
pub(crate) fn nest(absmax: &[f32]) -> Absmax {
    let (offset, table) = (mean(absmax), DynamicMap::Signed.table());
    let mut codes = vec![0; absmax.len()];
    let mut nested_absmax = vec![0.0; absmax.len().div_ceil(NESTED_BLOCK_SIZE)];
    codes
        .par_chunks_mut(NESTED_BLOCK_SIZE)
        .zip(absmax.par_chunks(NESTED_BLOCK_SIZE))
        .zip(&mut nested_absmax)
        .with_min_len(TASK_BLOCKS)
        .for_each(|((codes, absmax), largest)| {
            *largest = absmax.iter().fold(0.0f32, |largest, x| largest.max((x - offset).abs()));
            for (code, x) in codes.iter_mut().zip(absmax) {
                *code = table.nearest(scaled(x - offset, *largest));
            }
        });
    Absmax::Nested { codes, nested_absmax, offset, block_size: NESTED_BLOCK_SIZE }
}

fn unnest(codes: &[u8], nested_absmax: &[f32], offset: f32, block_size: usize) -> Vec<f32> {
    let map = dynamic_map_signed();
    let mut values = Vec::with_capacity(codes.len());
    for (block, scale) in codes.chunks(block_size).zip(nested_absmax) {
        values.extend(block.iter().map(|code| map[usize::from(*code)] * scale + offset));
    }
    values
}

fn mean(values: &[f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let sum: f64 = values.iter().copied().map(f64::from).sum();
    (sum / values.len() as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_keeps_values_within_half_a_step_of_the_map() {
        let absmax: Vec<f32> = (0..700).map(|i| 0.05 + 0.01 * (i as f32 * 0.61).cos()).collect();
        let nested = nest(&absmax);
        let Absmax::Nested { nested_absmax, .. } = &nested else {
            panic!("nest returns a nested absmax");
        };
        assert_eq!(nested_absmax.len(), 3);
        assert_eq!(nested.blocks(), 700);
        assert_eq!(nested.size_bytes(), 700 + 4 * 4);
        // The widest gap of the map is 0.0140625; below -0.993 there is no level at all.
        for (j, (restored, value)) in nested.values().iter().zip(&absmax).enumerate() {
            let bound = 0.00704 * nested_absmax[j / NESTED_BLOCK_SIZE] + 1e-7;
            assert!((restored - value).abs() <= bound, "block {j}: {restored} for {value}");
        }
    }

    #[test]
    fn equal_and_absent_values_nest() {
        assert_eq!(nest(&[0.25; 300]).values(), [0.25; 300]);
        assert_eq!(nest(&[0.0]).values(), [0.0]);
        assert_eq!(nest(&[]).values(), [0.0; 0]);
    }
}
