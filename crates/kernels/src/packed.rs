//! Bytes on a device, as 32-bit words: not every backend stores bytes.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Bytes as little-endian words, padded with zeros.
pub(crate) fn words(bytes: &[u8], device: &Device) -> Tensor<1, Int> {
    let words: Vec<i32> = bytes
        .chunks(4)
        .map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            i32::from_le_bytes(word)
        })
        .collect();
    let count = words.len();
    Tensor::from_data(TensorData::new(words, [count]), (device, DType::I32))
}

pub(crate) fn floats(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), (device, DType::F32))
}

/// The first `count` of the bytes that became `words`.
pub(crate) fn read_bytes(words: &Tensor<1, Int>, count: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.to_data().iter::<i32>().flat_map(i32::to_le_bytes).collect();
    bytes.truncate(count);
    bytes
}

pub(crate) fn read_floats(values: &Tensor<1>) -> Vec<f32> {
    values.to_data().iter::<f32>().collect()
}

/// The shifts of a word's bytes, the first byte's first.
pub(crate) const BYTES: [i32; 4] = [0, 8, 16, 24];

/// The fields of each word, lowest shift first as given: `[words] -> [count]`.
pub(crate) fn unpack<const N: usize>(
    words: Tensor<1, Int>,
    shifts: [i32; N],
    mask: i32,
    count: usize,
) -> Tensor<1, Int> {
    let device = words.device();
    let total = words.dims()[0];
    let shifts = Tensor::<1, Int>::from_data(TensorData::new(shifts.to_vec(), [N]), (&device, DType::I32));
    let words = words.reshape([total, 1]).expand([total, N]);
    let shifts = shifts.reshape([1, N]).expand([total, N]);
    words.bitwise_right_shift(shifts).bitwise_and_scalar(mask).reshape([total * N]).narrow(0, 0, count)
}
