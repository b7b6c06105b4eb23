use std::fmt;

use crate::config::check_block_size;
use crate::error::QuantError;
use crate::state::check_length;

/// How far a restored weight is from the original.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ErrorReport {
    /// Elements compared.
    pub count: usize,
    /// The largest `|restored - original|`.
    pub max_abs: f32,
    /// The flattened index where it is; 0 if there are no elements.
    pub max_abs_index: usize,
    /// The root of the mean squared error, over all elements.
    pub rms: f32,
    /// `rms` divided by the root mean square of the original; 0 where both are 0.
    pub relative_rms: f32,
    /// The block whose own root mean squared error is largest; 0 if there are no elements.
    pub worst_block: usize,
    /// The root mean squared error of that block.
    pub worst_block_rms: f32,
}

/// Compares a weight with its restored form; sums in f64, on the calling thread. A NaN on either side makes `rms` NaN.
///
/// `block_size` is that of the quantization, so that [`ErrorReport::worst_block`] points at a scale.
///
/// # Errors
///
/// [`QuantError::Length`] if the slices differ in length, [`QuantError::BlockSize`] for a block size that no
/// quantization has.
pub fn error_report(
    original: &[f32],
    restored: &[f32],
    block_size: usize,
) -> Result<ErrorReport, QuantError> {
    check(original, restored, block_size)?;
    let mut report = ErrorReport {
        count: original.len(),
        max_abs: 0.0,
        max_abs_index: 0,
        rms: 0.0,
        relative_rms: 0.0,
        worst_block: 0,
        worst_block_rms: 0.0,
    };
    let (mut squares, mut error_squares) = (0.0f64, 0.0f64);
    let blocks = original.chunks(block_size).zip(restored.chunks(block_size));
    for (block, (before, after)) in blocks.enumerate() {
        let mut block_squares = 0.0f64;
        for (i, (x, y)) in before.iter().zip(after).enumerate() {
            let error = (y - x).abs();
            if error > report.max_abs {
                report.max_abs = error;
                report.max_abs_index = block * block_size + i;
            }
            block_squares += f64::from(error).powi(2);
            squares += f64::from(*x).powi(2);
        }
        let block_rms = root_mean(block_squares, before.len());
        if block_rms > report.worst_block_rms {
            report.worst_block_rms = block_rms;
            report.worst_block = block;
        }
        error_squares += block_squares;
    }
    report.rms = root_mean(error_squares, original.len());
    if squares > 0.0 {
        report.relative_rms = (error_squares / squares).sqrt() as f32;
    }
    Ok(report)
}

/// How far one block of a restored weight is from the original.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BlockError {
    /// The largest `|restored - original|` in the block.
    pub max_abs: f32,
    /// The root of the mean squared error in the block.
    pub rms: f32,
}

/// The error of every block of a restored weight, in order; as [`error_report`], block by block.
///
/// # Errors
///
/// As [`error_report`].
pub fn block_errors(
    original: &[f32],
    restored: &[f32],
    block_size: usize,
) -> Result<Vec<BlockError>, QuantError> {
    check(original, restored, block_size)?;
    let blocks = original.chunks(block_size).zip(restored.chunks(block_size));
    let error = |(before, after): (&[f32], &[f32])| {
        let errors = before.iter().zip(after).map(|(x, y)| (y - x).abs());
        let squares = errors.clone().map(|error| f64::from(error).powi(2)).sum();
        BlockError { max_abs: errors.fold(0.0, f32::max), rms: root_mean(squares, before.len()) }
    };
    Ok(blocks.map(error).collect())
}

fn check(original: &[f32], restored: &[f32], block_size: usize) -> Result<(), QuantError> {
    check_block_size("error report", block_size)?;
    check_length("restored weight", restored.len(), original.len())
}

fn root_mean(sum: f64, count: usize) -> f32 {
    if count == 0 { 0.0 } else { (sum / count as f64).sqrt() as f32 }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} elements: rms error {:.3e} ({:.2} % of the weight's), largest {:.3e} at {}, worst block {} (rms {:.3e})",
            self.count,
            self.rms,
            100.0 * self.relative_rms,
            self.max_abs,
            self.max_abs_index,
            self.worst_block,
            self.worst_block_rms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_worst_place() {
        let original = [1.0f32; 96];
        let mut restored = original;
        restored[40] = 1.5;
        restored[70] = 0.25;
        let report = error_report(&original, &restored, 32).expect("equal lengths");
        assert_eq!((report.max_abs, report.max_abs_index), (0.75, 70));
        assert_eq!((report.worst_block, report.count), (2, 96));
        assert!((report.rms - (0.8125f32 / 96.0).sqrt()).abs() < 1e-7);
        assert_eq!(report.rms, report.relative_rms);
        assert!((report.worst_block_rms - (0.5625f32 / 32.0).sqrt()).abs() < 1e-7);
    }

    #[test]
    fn every_block_has_its_error() {
        let original = [1.0f32; 70];
        let mut restored = original;
        (restored[3], restored[40], restored[69]) = (1.5, 0.0, f32::NAN);
        let blocks = block_errors(&original, &restored, 32).expect("equal lengths");
        let found: Vec<f32> = blocks.iter().map(|block| block.max_abs).collect();
        assert_eq!(found, [0.5, 1.0, 0.0]);
        assert_eq!(blocks[0].rms, (0.25f32 / 32.0).sqrt());
        assert_eq!(blocks[1].rms, (1.0f32 / 32.0).sqrt());
        assert!(blocks[2].rms.is_nan());
        let report = error_report(&original[..64], &restored[..64], 32).expect("equal lengths");
        assert_eq!((report.worst_block, report.worst_block_rms), (1, blocks[1].rms));
        assert!(block_errors(&[], &[], 64).expect("equal lengths").is_empty());
    }

    #[test]
    fn nothing_has_no_error_and_other_lengths_are_refused() {
        let report = error_report(&[], &[], 64).expect("equal lengths");
        assert_eq!((report.count, report.max_abs, report.relative_rms), (0, 0.0, 0.0));
        let refused = error_report(&[1.0], &[], 64).expect_err("other lengths");
        assert_eq!(refused.to_string(), "restored weight: found 0 elements, wanted 1");
    }
}
