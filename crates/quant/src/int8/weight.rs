use std::fmt;

use rayon::prelude::*;

use super::rows::{Int8Rows, quantize_rows};
use crate::blockwise::in_tasks;
use crate::config::check_finite;
use crate::error::QuantError;
use crate::state::{check_length, element_count};

/// What turns a code times an absmax into a value: 1/127 as f32.
const STEP: f32 = 1.0 / 127.0;

/// What turns a product of LLM.int8 codes times both absmax into a value, with the digits of bitsandbytes 0.50.2: 1/127² is
/// 6.2000124e-5.
pub const INT8_PRODUCT_STEP: f32 = 6.200124e-5;

/// A weight `[out, in]` of LLM.int8: 8-bit codes and one absmax per row.
///
/// ```text
/// restored[o, i] = code[o, i] * absmax[o] / 127
/// ```
///
/// bitsandbytes calls the absmax `SCB`. All lengths fit each other and all absmax are finite.
#[derive(Clone, PartialEq)]
pub struct Int8Weight {
    codes: Vec<i8>,
    absmax: Vec<f32>,
    shape: [usize; 2],
}

impl Int8Weight {
    /// Quantizes a flattened weight `[out, in]`, row-major; see [`quantize_rows`].
    ///
    /// # Errors
    ///
    /// A shape whose product overflows or differs from the number of weights, and [`QuantError::NotFinite`] with the
    /// index of the first NaN or infinity.
    pub fn quantize(weights: &[f32], shape: [usize; 2]) -> Result<Self, QuantError> {
        check_length("weights", weights.len(), element_count(shape)?)?;
        check_finite("weights", weights, 0)?;
        let Int8Rows { codes, mut absmax, .. } = quantize_rows(weights, shape[1], None)?;
        // Rows of nothing have an absmax all the same.
        absmax.resize(shape[0], 0.0);
        Ok(Self { codes, absmax, shape })
    }

    /// Puts a weight together and checks that the parts fit.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit: the product of the shape, the number of codes (one per element) or of absmax
    /// (one per row), or an absmax that is not finite.
    pub fn new(codes: Vec<i8>, absmax: Vec<f32>, shape: [usize; 2]) -> Result<Self, QuantError> {
        check_length("codes", codes.len(), element_count(shape)?)?;
        check_length("absmax", absmax.len(), shape[0])?;
        check_finite("absmax", &absmax, 0)?;
        Ok(Self { codes, absmax, shape })
    }

    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// One code per element, row by row.
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// One absmax per row.
    pub fn absmax(&self) -> &[f32] {
        &self.absmax
    }

    /// The number of elements of the weight.
    pub fn count(&self) -> usize {
        self.codes.len()
    }

    /// The bytes of codes and absmax together.
    pub fn size_bytes(&self) -> usize {
        self.codes.len() + size_of_val(&self.absmax[..])
    }

    /// The restored weight `[out, in]`, row-major, in f32.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.count()];
        in_tasks(&mut out, |start, part| self.dequantize_range(start, part));
        out
    }

    /// Restores the weight into `out`, on all threads of the current rayon pool.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] unless `out` holds exactly `out * in` elements.
    pub fn dequantize_into(&self, out: &mut [f32]) -> Result<(), QuantError> {
        check_length("output of dequantize_into", out.len(), self.count())?;
        in_tasks(out, |start, part| self.dequantize_range(start, part));
        Ok(())
    }

    /// Restores the elements `start..start + out.len()` of the flattened weight, on the calling thread.
    ///
    /// # Panics
    ///
    /// If the weight ends before the last wanted element.
    pub fn dequantize_range(&self, start: usize, out: &mut [f32]) {
        let (count, columns) = (self.count(), self.shape[1]);
        assert!(
            start <= count && out.len() <= count - start,
            "dequantize_range: {} elements from {start} wanted, the weight holds {count}",
            out.len()
        );
        let (mut index, mut rest) = (start, out);
        while !rest.is_empty() {
            let row = index / columns;
            let length = rest.len().min(columns - index % columns);
            let (part, later) = rest.split_at_mut(length);
            for (out, code) in part.iter_mut().zip(&self.codes[index..]) {
                *out = restored(*code, self.absmax[row]);
            }
            (index, rest) = (index + length, later);
        }
    }

    /// The definition of the product `y = x·Wᵀ`: `x [rows, in] -> y [rows, out]`, row-major, in f32.
    ///
    /// `x` is quantized by [`quantize_rows`]. The columns without outliers are multiplied as integers, exactly, and
    /// scaled by both absmax; those with outliers are multiplied in f32, x as it is and W restored:
    ///
    /// ```text
    /// y[r, o] = (sum over the others of code_x * code_w) * (absmax_x[r] * absmax_w[o]) * 6.200124e-5
    ///         + sum over outlier columns of x[r, i] * restored[o, i]
    /// ```
    ///
    /// The constant is 1/127² with the digits of bitsandbytes 0.50.2 (`int8_mm_dequant`, `int8_mixed_scaled_mm`), which
    /// rounds both parts to f16.
    ///
    /// # Errors
    ///
    /// As [`quantize_rows`].
    pub fn project_reference(&self, x: &[f32], threshold: Option<f32>) -> Result<Vec<f32>, QuantError> {
        let [out, columns] = self.shape;
        let rows = quantize_rows(x, columns, threshold)?;
        let mut y = vec![0.0; rows.absmax.len() * out];
        let inputs = x.par_chunks(columns.max(1)).zip(rows.codes.par_chunks(columns.max(1)));
        let outputs = y.par_chunks_mut(out.max(1)).zip(&rows.absmax);
        outputs.zip(inputs).for_each(|((y, absmax), (x, codes))| {
            for (o, y) in y.iter_mut().enumerate() {
                let (weights, scale) = (&self.codes[o * columns..][..columns], self.absmax[o]);
                let outlying = rows.outliers.iter().map(|i| x[*i] * restored(weights[*i], scale));
                *y =
                    dot(codes, weights) as f32 * (absmax * scale) * INT8_PRODUCT_STEP + outlying.sum::<f32>();
            }
        });
        Ok(y)
    }
}

impl fmt::Debug for Int8Weight {
    /// Without the codes: a weight has millions of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Int8Weight").field("shape", &self.shape).finish_non_exhaustive()
    }
}

fn restored(code: i8, absmax: f32) -> f32 {
    f32::from(code) * absmax * STEP
}

/// Exact: parts that fit 32 bits, summed in 64.
fn dot(a: &[i8], b: &[i8]) -> i64 {
    const PART: usize = 1 << 16;
    let products =
        |a: &[i8], b: &[i8]| -> i32 { a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum() };
    a.chunks(PART).zip(b.chunks(PART)).map(|(a, b)| i64::from(products(a, b))).sum()
}
