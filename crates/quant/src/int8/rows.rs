use rayon::prelude::*;

use crate::config::check_finite;
use crate::error::QuantError;
use crate::state::check_length;

/// The largest code; -128 is not used.
const LARGEST: f32 = 127.0;

/// Rows in 8 bits, each with its own absmax: `restored = code * absmax / 127`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Int8Rows {
    /// One code from -127 to 127 per value, row by row.
    pub codes: Vec<i8>,
    /// One f32 per row: the largest magnitude, outliers left out.
    pub absmax: Vec<f32>,
    /// The columns with an outlier in any row, rising; their codes are 0 in every row.
    pub outliers: Vec<usize>,
}

/// Quantizes `values`, rows of `columns`, as LLM.int8 does with weights (no threshold) and inputs (usually 6).
///
/// `code = round(x * (127 / absmax))`, ties to even. Magnitudes from the threshold on are outliers, see
/// [`outlier_columns`]: they do not count for the absmax, and their columns get codes 0. Dettmers et al., "LLM.int8()"
/// (2022); the arithmetic of bitsandbytes 0.50.2 (`int8_vectorwise_quant`), which takes values in f16: round with
/// [`SourceDtype::F16`](crate::SourceDtype) first to get its codes.
///
/// # Errors
///
/// [`QuantError::Length`] unless the values fill whole rows, [`QuantError::NotFinite`] with the index of the first NaN
/// or infinity, [`QuantError::OptionValue`] for a threshold that is not above 0.
pub fn quantize_rows(values: &[f32], columns: usize, threshold: Option<f32>) -> Result<Int8Rows, QuantError> {
    let rows = row_count(values.len(), columns)?;
    check_finite("values", values, 0)?;
    let outliers = match threshold {
        Some(threshold) => outlier_columns(values, columns, threshold)?,
        None => Vec::new(),
    };
    let below = threshold.unwrap_or(f32::INFINITY);
    let mut codes = vec![0; values.len()];
    let mut absmax = vec![0.0; rows];
    let parts = values.par_chunks(columns.max(1)).zip(codes.par_chunks_mut(columns.max(1)));
    parts.zip(&mut absmax).for_each(|((values, codes), absmax)| {
        let inliers = values.iter().copied().filter(|x| x.abs() < below);
        *absmax = inliers.fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (code, x) in codes.iter_mut().zip(values) {
            *code = nearest(*x, *absmax);
        }
        outliers.iter().for_each(|column| codes[*column] = 0);
    });
    Ok(Int8Rows { codes, absmax, outliers })
}

/// The columns of `values`, rows of `columns`, where any magnitude is `threshold` or more; rising.
///
/// # Errors
///
/// [`QuantError::Length`] unless the values fill whole rows, [`QuantError::OptionValue`] for a threshold that is not
/// above 0.
pub fn outlier_columns(values: &[f32], columns: usize, threshold: f32) -> Result<Vec<usize>, QuantError> {
    row_count(values.len(), columns)?;
    if threshold.is_nan() || threshold <= 0.0 {
        let (name, found) = ("threshold", f64::from(threshold));
        return Err(QuantError::OptionValue { name, found, wanted: "a number above 0" });
    }
    let mut outlying = vec![false; columns];
    for row in values.chunks(columns.max(1)) {
        for (outlying, x) in outlying.iter_mut().zip(row) {
            *outlying |= x.abs() >= threshold;
        }
    }
    Ok((0..columns).filter(|column| outlying[*column]).collect())
}

/// The nearest code, ties to even; 0 in a row of zeros.
fn nearest(x: f32, absmax: f32) -> i8 {
    // From 2^23 to 2^24 the f32 are the whole numbers, so adding this rounds; a library call would be slow.
    const ROUND: f32 = 1.5 * (1 << 23) as f32;
    let scale = LARGEST / absmax;
    // Below about 3.7e-37 the scale overflows; there, and only there, it divides.
    let scaled = if scale.is_finite() { x * scale } else { x / absmax * LARGEST };
    // A cast saturates, and makes 0 of the NaN that a row of zeros gives.
    ((scaled + ROUND) - ROUND) as i8
}

fn row_count(values: usize, columns: usize) -> Result<usize, QuantError> {
    let rows = values.checked_div(columns).unwrap_or(0);
    check_length("values in whole rows", values, rows * columns)?;
    Ok(rows)
}
