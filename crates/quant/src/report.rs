use std::fmt;

use crate::config::check_block_size;
use crate::error::QuantError;

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
    check_block_size("error report", block_size)?;
    if original.len() != restored.len() {
        return Err(QuantError::Length {
            what: "restored weight",
            found: restored.len(),
            wanted: original.len(),
        });
    }
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
    fn nothing_has_no_error_and_other_lengths_are_refused() {
        let report = error_report(&[], &[], 64).expect("equal lengths");
        assert_eq!((report.count, report.max_abs, report.relative_rms), (0, 0.0, 0.0));
        let refused = error_report(&[1.0], &[], 64).expect_err("other lengths");
        assert_eq!(refused.to_string(), "restored weight: found 0 elements, wanted 1");
    }
}
