//! One stored tensor.

use burn::tensor::{FloatDType, Tensor};
use bytes::Bytes;
use half::{bf16, f16};

use super::dtype::CheckpointDtype;
use crate::error::ModelError;

/// A tensor as its file holds it: row-major, little endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// The numbers it is stored in.
    pub dtype: CheckpointDtype,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its bytes. From a [`Checkpoint`](crate::Checkpoint) this is a part of the mapped file, no copy.
    pub bytes: Bytes,
}

impl TensorEntry {
    /// An f32 tensor of these values. `shape` must describe as many; writing checks it.
    pub fn from_f32(values: &[f32], shape: Vec<usize>) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: CheckpointDtype::F32, shape, bytes }
    }

    /// A tensor in `dtype`, which is f32, f16 or bf16: rounded to nearest.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] with the first value that the dtype cannot hold.
    pub(crate) fn rounded<const D: usize>(
        name: &str,
        tensor: Tensor<D>,
        dtype: CheckpointDtype,
    ) -> Result<Self, ModelError> {
        let float = match dtype {
            CheckpointDtype::BF16 => FloatDType::BF16,
            CheckpointDtype::F16 => FloatDType::F16,
            _ => FloatDType::F32,
        };
        let (shape, tensor) = (tensor.dims().to_vec(), tensor.without_autodiff());
        let bytes = tensor.clone().cast(float).into_data().as_bytes().to_vec().into();
        let entry = Self { dtype, shape, bytes };
        match entry.first_non_finite() {
            None => Ok(entry),
            Some((index, _)) => {
                let value = tensor.cast(FloatDType::F32).into_data().iter::<f32>().nth(index);
                let (tensor, value) = (name.to_owned(), value.unwrap_or(f32::NAN));
                Err(ModelError::OutOfRange { tensor, dtype, index, value })
            }
        }
    }

    /// The values of a weight in f32, which holds f32, f16 and bf16 exactly; `None` for any other dtype.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match self.dtype {
            CheckpointDtype::F32 => Some(map(&self.bytes, f32::from_le_bytes)),
            CheckpointDtype::F16 => Some(map(&self.bytes, |value| f16::from_le_bytes(value).to_f32())),
            CheckpointDtype::BF16 => Some(map(&self.bytes, |value| bf16::from_le_bytes(value).to_f32())),
            _ => None,
        }
    }

    /// The row-major index and the value of the first infinity or NaN; `None` where there is none, and for every
    /// dtype but f32, f16 and bf16.
    pub fn first_non_finite(&self) -> Option<(usize, f32)> {
        // All ones in the exponent, whatever else: one test that vectorizes.
        match self.dtype {
            CheckpointDtype::F32 => find(
                &self.bytes,
                |value| u32::from_le_bytes(value) & 0x7f80_0000 == 0x7f80_0000,
                f32::from_le_bytes,
            ),
            CheckpointDtype::F16 => find(
                &self.bytes,
                |value| u16::from_le_bytes(value) & 0x7c00 == 0x7c00,
                |value| f16::from_le_bytes(value).to_f32(),
            ),
            CheckpointDtype::BF16 => find(
                &self.bytes,
                |value| u16::from_le_bytes(value) & 0x7f80 == 0x7f80,
                |value| bf16::from_le_bytes(value).to_f32(),
            ),
            _ => None,
        }
    }
}

fn map<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|bytes| value(*bytes)).collect()
}

fn find<const N: usize>(
    bytes: &[u8],
    bad: impl Fn([u8; N]) -> bool,
    value: impl Fn([u8; N]) -> f32,
) -> Option<(usize, f32)> {
    const BLOCK: usize = 4096;
    let (values, _) = bytes.as_chunks::<N>();
    values.chunks(BLOCK).enumerate().find_map(|(number, block)| {
        let any = block.iter().fold(false, |any, bytes| any | bad(*bytes));
        let at = any.then(|| block.iter().position(|bytes| bad(*bytes)))??;
        Some((number * BLOCK + at, value(block[at])))
    })
}

/// The same bytes at an address that every dtype can be read at: files from old writers do not align their data.
pub(super) fn copy_aligned(bytes: &[u8]) -> Bytes {
    struct Aligned {
        words: Vec<u64>,
        len: usize,
    }
    impl AsRef<[u8]> for Aligned {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice::<u64, u8>(&self.words)[..self.len]
        }
    }
    let mut words = vec![0u64; bytes.len().div_ceil(size_of::<u64>())];
    bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
    Bytes::from_owner(Aligned { words, len: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dtype: CheckpointDtype, bytes: Vec<u8>) -> TensorEntry {
        let shape = vec![bytes.len() / dtype.size()];
        TensorEntry { dtype, shape, bytes: bytes.into() }
    }

    #[test]
    fn values_are_widened_exactly() {
        let values = [0.0, -1.5, 0.25, 3.0];
        let f16s = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let bf16s = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        for entry in [
            TensorEntry::from_f32(&values, vec![4]),
            entry(CheckpointDtype::F16, f16s),
            entry(CheckpointDtype::BF16, bf16s),
        ] {
            assert_eq!(entry.to_f32().as_deref(), Some(&values[..]), "{}", entry.dtype);
            assert_eq!(entry.first_non_finite(), None);
        }
        assert_eq!(entry(CheckpointDtype::U8, vec![255; 8]).to_f32(), None);
        assert_eq!(entry(CheckpointDtype::U8, vec![255; 8]).first_non_finite(), None);
    }

    #[test]
    fn the_first_non_finite_value_is_found_in_every_block() {
        for at in [0, 1, 4095, 4096, 9000] {
            let mut values = vec![f32::MAX; 9001];
            values[at] = f32::NEG_INFINITY;
            let found = TensorEntry::from_f32(&values, vec![9001]).first_non_finite();
            assert_eq!(found, Some((at, f32::NEG_INFINITY)));
            for dtype in [CheckpointDtype::F16, CheckpointDtype::BF16] {
                let bytes = values
                    .iter()
                    .flat_map(|value| match dtype {
                        CheckpointDtype::F16 => f16::from_f32(value.clamp(-1e30, 6e4)).to_le_bytes(),
                        _ => bf16::from_f32(value.min(3e38)).to_le_bytes(),
                    })
                    .collect();
                assert_eq!(entry(dtype, bytes).first_non_finite(), Some((at, f32::NEG_INFINITY)), "{dtype}");
            }
        }
        let nan = TensorEntry::from_f32(&[1.0, f32::NAN], vec![2]).first_non_finite();
        assert!(matches!(nan, Some((1, value)) if value.is_nan()));
    }

    #[test]
    fn copies_are_aligned() {
        let bytes: Vec<u8> = (0..33).collect();
        for begin in 0..9 {
            let copy = copy_aligned(&bytes[begin..]);
            assert_eq!(&copy[..], &bytes[begin..]);
            assert_eq!(copy.as_ptr() as usize % 8, 0);
        }
        assert_eq!(copy_aligned(&[]).as_ptr() as usize % 8, 0);
    }
}
