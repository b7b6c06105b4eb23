use std::fmt;

use rayon::prelude::*;

use crate::blockwise::{TASK, in_tasks, scaled};
use crate::config::{check_block_size, check_finite};
use crate::dynamic_map::DynamicMap;
use crate::error::QuantError;
use crate::state::check_length;

/// Values in 8 bits: a code of a [`DynamicMap`] per value and the absmax of every block.
///
/// ```text
/// restored[i] = map[code[i]] * absmax[i / block_size]
/// ```
///
/// What bitsandbytes keeps optimizer states in (blocks of 256), and its `quantize_blockwise`. All lengths fit each
/// other and all absmax are finite.
#[derive(Clone, PartialEq)]
pub struct EightBitState {
    pub(crate) map: DynamicMap,
    pub(crate) codes: Vec<u8>,
    pub(crate) absmax: Vec<f32>,
    pub(crate) block_size: usize,
}

impl EightBitState {
    /// Quantizes values in blocks of `block_size`, on all threads of the current rayon pool.
    ///
    /// The codes are those of [`quantize_8bit_reference`]. bitsandbytes 0.50.2 takes the same ones on the CPU, but for
    /// values within about 2e-5 of a midpoint, and code 131 of the signed map for an exact zero: its table is coarser.
    ///
    /// # Errors
    ///
    /// [`QuantError::BlockSize`] unless the block size is a power of two from 32 to 4096, [`QuantError::NotFinite`]
    /// with the index of the first NaN or infinity, [`QuantError::Negative`] with that of the first negative value if
    /// the map is the unsigned one.
    pub fn quantize(values: &[f32], map: DynamicMap, block_size: usize) -> Result<Self, QuantError> {
        check_block_size("values", block_size)?;
        if map == DynamicMap::Unsigned {
            check_not_negative(values)?;
        }
        let mut codes = vec![0; values.len()];
        let mut absmax = vec![0.0; values.len().div_ceil(block_size)];
        values
            .par_chunks(TASK)
            .zip(codes.par_chunks_mut(TASK))
            .zip(absmax.par_chunks_mut(TASK / block_size))
            .for_each(|((values, codes), absmax)| quantize(values, map, block_size, codes, absmax));
        if let Some(block) = absmax.iter().position(|value| !value.is_finite()) {
            check_finite("values", values, block * block_size)?;
        }
        Ok(Self { map, codes, absmax, block_size })
    }

    /// Puts a state together and checks that the parts fit.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit: the block size, the number of absmax (one per block of codes), or an absmax
    /// that is not finite.
    pub fn new(
        map: DynamicMap,
        codes: Vec<u8>,
        absmax: Vec<f32>,
        block_size: usize,
    ) -> Result<Self, QuantError> {
        check_block_size("values", block_size)?;
        check_length("absmax", absmax.len(), codes.len().div_ceil(block_size))?;
        check_finite("absmax", &absmax, 0)?;
        Ok(Self { map, codes, absmax, block_size })
    }

    /// `count` zeros as bitsandbytes starts an optimizer state: codes and absmax are 0.
    ///
    /// # Errors
    ///
    /// [`QuantError::BlockSize`] unless the block size is a power of two from 32 to 4096.
    pub fn zeros(count: usize, map: DynamicMap, block_size: usize) -> Result<Self, QuantError> {
        check_block_size("values", block_size)?;
        Ok(Self { map, codes: vec![0; count], absmax: vec![0.0; count.div_ceil(block_size)], block_size })
    }

    /// The map that the codes index.
    pub fn map(&self) -> DynamicMap {
        self.map
    }

    /// One code per value.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// One absmax per block.
    pub fn absmax(&self) -> &[f32] {
        &self.absmax
    }

    /// Values that share an absmax.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// The number of values.
    pub fn count(&self) -> usize {
        self.codes.len()
    }

    /// The bytes of codes and absmax together.
    pub fn size_bytes(&self) -> usize {
        self.codes.len() + size_of_val(&self.absmax[..])
    }

    /// The restored values.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.count()];
        self.restore(&mut out);
        out
    }

    /// Restores the values into `out`, on all threads of the current rayon pool.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] unless `out` has one place per value.
    pub fn dequantize_into(&self, out: &mut [f32]) -> Result<(), QuantError> {
        check_length("output of dequantize_into", out.len(), self.count())?;
        self.restore(out);
        Ok(())
    }

    fn restore(&self, out: &mut [f32]) {
        let Self { map, codes, absmax, block_size } = self;
        in_tasks(out, |start, out| {
            let codes = &codes[start..start + out.len()];
            let blocks = out.chunks_mut(*block_size).zip(codes.chunks(*block_size));
            for ((out, codes), scale) in blocks.zip(&absmax[start / block_size..]) {
                restore_block(*map, codes, *scale, out);
            }
        });
    }
}

impl fmt::Debug for EightBitState {
    /// Without the codes: a state has millions of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EightBitState")
            .field("map", &self.map)
            .field("count", &self.count())
            .field("block_size", &self.block_size)
            .finish_non_exhaustive()
    }
}

/// Whole blocks and a last, shorter one. The absmax of a block with a value that is not finite is not finite either.
fn quantize(values: &[f32], map: DynamicMap, block_size: usize, codes: &mut [u8], absmax: &mut [f32]) {
    let table = map.table();
    let blocks = values.chunks(block_size).zip(codes.chunks_mut(block_size));
    for ((values, codes), absmax) in blocks.zip(absmax) {
        *absmax = largest_magnitude(values);
        let reciprocal = 1.0 / *absmax;
        for (code, x) in codes.iter_mut().zip(values) {
            let scaled = if reciprocal.is_finite() { x * reciprocal } else { scaled(*x, *absmax) };
            *code = table.nearest(scaled);
        }
    }
}

/// Names the first negative value.
pub(crate) fn check_not_negative(values: &[f32]) -> Result<(), QuantError> {
    match values.iter().position(|value| *value < 0.0) {
        None => Ok(()),
        Some(index) => Err(QuantError::Negative { index, value: values[index] }),
    }
}

/// Magnitudes compare like their bits, and NaN and infinity above all numbers.
#[inline(always)]
pub(crate) fn largest_magnitude(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().fold(0, |largest, x| largest.max(x.abs().to_bits())))
}

pub(crate) fn restore_block(map: DynamicMap, codes: &[u8], scale: f32, out: &mut [f32]) {
    let values = map.values();
    for (out, code) in out.iter_mut().zip(codes) {
        *out = values[usize::from(*code)] * scale;
    }
}

/// The definition of an 8-bit code, one value after the other: codes and one absmax per block.
///
/// `scaled = x * (1 / absmax)` in f32 (`x / absmax` where the reciprocal overflows, 0 in a block of zeros); the code is
/// the number of f32 midpoints between the values of the map that are below `scaled`, so ties take the lower code.
///
/// # Panics
///
/// If `block_size` is zero.
pub fn quantize_8bit_reference(values: &[f32], map: DynamicMap, block_size: usize) -> (Vec<u8>, Vec<f32>) {
    let table = map.table();
    let mut absmax = Vec::new();
    let mut codes = Vec::new();
    for block in values.chunks(block_size) {
        let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        absmax.push(largest);
        codes.extend(block.iter().map(|x| table.nearest_reference(scaled(*x, largest))));
    }
    (codes, absmax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_equals_reference_at_every_size() {
        let wave = |i: usize| (i as f32 * 0.731).sin() * 10f32.powi(i as i32 % 9 - 6);
        for map in [DynamicMap::Signed, DynamicMap::Unsigned] {
            for block_size in [32, 256, 4096] {
                for count in [0, 1, 31, 32, 33, 255, 256, 257, 4097, TASK, TASK + 1, 2 * TASK + 95] {
                    let value = |i| if map == DynamicMap::Signed { wave(i) } else { wave(i).abs() };
                    let values: Vec<f32> = (0..count).map(value).collect();
                    let state = EightBitState::quantize(&values, map, block_size).expect("finite values");
                    let (codes, absmax) = quantize_8bit_reference(&values, map, block_size);
                    assert_eq!(state.codes(), codes, "codes of {count} in blocks of {block_size}");
                    assert_eq!(state.absmax(), absmax, "absmax of {count} in blocks of {block_size}");
                    let code = |i: usize| map.values()[usize::from(codes[i])] * absmax[i / block_size];
                    let wanted: Vec<f32> = (0..count).map(code).collect();
                    assert_eq!(state.dequantize(), wanted, "values of {count} in blocks of {block_size}");
                }
            }
        }
    }

    #[test]
    fn blocks_of_zeros_and_of_subnormals() {
        let smallest = f32::from_bits(1);
        let values = [0.0, -0.0, smallest, -smallest];
        let state = EightBitState::quantize(&values[..2], DynamicMap::Signed, 32).expect("finite values");
        assert_eq!((state.codes(), state.absmax()), (&[127, 127][..], &[0.0][..]));
        let state = EightBitState::quantize(&values, DynamicMap::Signed, 32).expect("finite values");
        assert_eq!(state.codes(), [127, 127, 255, 0]);
    }

    #[test]
    fn what_no_code_stands_for_is_refused() {
        let message = |values: &[f32], map: DynamicMap, block_size: usize| {
            EightBitState::quantize(values, map, block_size).expect_err("an error").to_string()
        };
        let mut values = vec![0.5; 600];
        values[300] = f32::NEG_INFINITY;
        let wanted = "values: found -inf at index 300, wanted finite values";
        assert_eq!(message(&values, DynamicMap::Signed, 256), wanted);
        values[300] = -1e-9;
        let wanted = "found -0.000000001 at index 300, wanted no negative values for the unsigned map";
        assert_eq!(message(&values, DynamicMap::Unsigned, 256), wanted);
        let wanted = "values: block size 2048000, wanted a power of two from 32 to 4096";
        assert_eq!(message(&values, DynamicMap::Signed, 2_048_000), wanted);

        let new = |codes: usize, absmax: Vec<f32>| {
            EightBitState::new(DynamicMap::Signed, vec![0; codes], absmax, 256)
        };
        assert!(new(257, vec![1.0, 2.0]).is_ok());
        let error = new(257, vec![1.0]).expect_err("one absmax").to_string();
        assert_eq!(error, "absmax: found 1 elements, wanted 2");
        let error = new(256, vec![f32::NAN]).expect_err("an absmax of NaN").to_string();
        assert_eq!(error, "absmax: found NaN at index 0, wanted finite values");
        let state = EightBitState::zeros(5, DynamicMap::Unsigned, 256).expect("a block size");
        assert_eq!((state.dequantize(), state.size_bytes()), (vec![0.0; 5], 9));
        assert!(state.dequantize_into(&mut [0.0; 4]).is_err());
    }
}
