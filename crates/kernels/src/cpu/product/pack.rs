//! Copies a block of a matrix into the panels that a micro-kernel reads.
//!
//! A panel is `width` lanes wide (rows of the left operand, columns of the right) and stands as `[words][width]`. A word
//! is one f32, or two bf16 that follow each other in depth, the first in the low half.

use half::bf16;

use super::{DEPTH, source::Matrix};
use crate::cpu::level::Level;

/// The widest panel of any kernel.
pub(super) const WIDEST: usize = 32;

/// The panels of a block: `lanes` lanes from `first` on, and values `start..start + count` of depth.
pub(super) struct Block {
    pub(super) width: usize,
    pub(super) first: usize,
    pub(super) lanes: usize,
    pub(super) start: usize,
    pub(super) count: usize,
}

/// A panel's rows before they are transposed, and one row's values before they are rounded.
struct Scratch {
    rows: [f32; WIDEST * DEPTH],
    values: [f32; 2 * DEPTH],
}

impl Block {
    /// Fills `out` with whole panels, zeros where the matrix ends. `rows_are_lanes` tells whether a lane is a row of the
    /// matrix or a column.
    pub(super) fn pack(
        &self,
        level: Level,
        per_word: usize,
        matrix: &Matrix<'_>,
        rows_are_lanes: bool,
        out: &mut [f32],
    ) {
        let words = self.count.div_ceil(per_word);
        if !rows_are_lanes {
            return self.columns_to_lanes(level, per_word, matrix, out);
        }
        let mut scratch = Scratch { rows: [0.0; WIDEST * DEPTH], values: [0.0; 2 * DEPTH] };
        for (index, panel) in out.chunks_exact_mut(self.width * words).enumerate() {
            let lane = index * self.width;
            let lanes = self.width.min(self.lanes.saturating_sub(lane));
            self.rows_to_lanes(level, per_word, matrix, self.first + lane, lanes, &mut scratch, panel);
        }
    }

    /// Reads a panel's rows, and transposes them.
    #[allow(clippy::too_many_arguments)]
    fn rows_to_lanes(
        &self,
        level: Level,
        per_word: usize,
        matrix: &Matrix<'_>,
        first: usize,
        lanes: usize,
        scratch: &mut Scratch,
        panel: &mut [f32],
    ) {
        let words = self.count.div_ceil(per_word);
        let mut rows: [&[f32]; WIDEST] = [&[]; WIDEST];
        if per_word == 1 && matrix.as_f32(first, self.start, self.count).is_some() {
            for (lane, row) in rows[..lanes].iter_mut().enumerate() {
                *row = matrix.as_f32(first + lane, self.start, self.count).unwrap_or_default();
            }
        } else {
            for (lane, row) in scratch.rows.chunks_exact_mut(words).take(lanes).enumerate() {
                if per_word == 1 {
                    matrix.read_f32(level, first + lane, self.start, row);
                } else {
                    row[words - 1] = 0.0;
                    let row: &mut [bf16] = bytemuck::cast_slice_mut(row);
                    let (values, row) = (&mut scratch.values[..self.count], &mut row[..self.count]);
                    matrix.read_bf16(level, first + lane, self.start, values, row);
                }
            }
            for (row, values) in rows[..lanes].iter_mut().zip(scratch.rows.chunks_exact(words)) {
                *row = values;
            }
        }
        const ZEROS: [f32; DEPTH] = [0.0; DEPTH];
        rows[lanes..self.width].fill(&ZEROS[..words]);
        transpose(level, &rows[..self.width], words, panel);
    }

    /// Reads each of the matrix's rows, and divides it over the panels.
    fn columns_to_lanes(&self, level: Level, per_word: usize, matrix: &Matrix<'_>, out: &mut [f32]) {
        let words = self.count.div_ceil(per_word);
        let lanes = self.lanes;
        let mut values = vec![0.0f32; lanes];
        let mut pair = [(); 2].map(|()| vec![bf16::ZERO; lanes * (per_word - 1)]);
        for word in 0..words {
            let row = self.start + word * per_word;
            if per_word == 1 {
                let stored = matrix.as_f32(row, self.first, lanes);
                let stored = stored.unwrap_or_else(|| {
                    matrix.read_f32(level, row, self.first, &mut values);
                    &values
                });
                divide(level, stored, self.width, words, word, out);
                continue;
            }
            for (half, of_row) in pair.iter_mut().enumerate() {
                if row + half < self.start + self.count {
                    matrix.read_bf16(level, row + half, self.first, &mut values, of_row);
                } else {
                    of_row.fill(bf16::ZERO);
                }
            }
            for (value, (low, high)) in values.iter_mut().zip(pair[0].iter().zip(&pair[1])) {
                *value = f32::from_bits(u32::from(low.to_bits()) | (u32::from(high.to_bits()) << 16));
            }
            divide(level, &values, self.width, words, word, out);
        }
    }
}

/// Copies one word of depth to panels of `words` words, with zeros after the last lane.
fn divide(level: Level, values: &[f32], width: usize, words: usize, word: usize, out: &mut [f32]) {
    match width {
        // Copies of a length that is known are a few instructions.
        6 => level.run(
            #[inline(always)]
            || divide_by::<6>(values, words, word, out),
        ),
        12 => level.run(
            #[inline(always)]
            || divide_by::<12>(values, words, word, out),
        ),
        16 => level.run(
            #[inline(always)]
            || divide_by::<16>(values, words, word, out),
        ),
        32 => level.run(
            #[inline(always)]
            || divide_by::<32>(values, words, word, out),
        ),
        _ => divide_by::<4>(values, words, word, out),
    }
}

#[inline(always)]
fn divide_by<const WIDTH: usize>(values: &[f32], words: usize, word: usize, out: &mut [f32]) {
    let (whole, rest) = values.as_chunks::<WIDTH>();
    let mut panels = out.chunks_exact_mut(WIDTH * words).map(|panel| &mut panel.as_chunks_mut().0[word]);
    for (values, out) in whole.iter().zip(&mut panels) {
        *out = *values;
    }
    if let Some(out) = panels.next().filter(|_| !rest.is_empty()) {
        *out = [0.0; WIDTH];
        out[..rest.len()].copy_from_slice(rest);
    }
}

/// `rows[lane][word]` to `out[word][lane]`.
fn transpose(level: Level, rows: &[&[f32]], words: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx2 {
        // SAFETY: the level holds AVX2.
        return unsafe { avx2::transpose(rows, words, out) };
    }
    let _ = level;
    transpose_from(0, rows, words, out);
}

/// The same from word `start` on.
fn transpose_from(start: usize, rows: &[&[f32]], words: usize, out: &mut [f32]) {
    let width = rows.len();
    for (lane, row) in rows.iter().enumerate() {
        for word in start..words {
            out[word * width + lane] = row[word];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    /// Squares of 8 words in registers; the rest one by one.
    #[target_feature(enable = "avx2")]
    pub(super) fn transpose(rows: &[&[f32]], words: usize, out: &mut [f32]) {
        let (width, whole) = (rows.len(), words / 8 * 8);
        for (group, rows) in rows.chunks(8).enumerate() {
            match rows.len() {
                // Loops of a length that is known stay in registers.
                8 => squares::<8>(rows, whole, width, group * 8, out),
                6 => squares::<6>(rows, whole, width, group * 8, out),
                4 => squares::<4>(rows, whole, width, group * 8, out),
                lanes => unreachable!(
                    "panels are 4, 6, 8, 12, 16 or 32 wide, not {lanes} more than a multiple of 8"
                ),
            }
        }
        super::transpose_from(whole, rows, words, out);
    }

    /// `LANES` rows to the lanes from `first` on.
    #[target_feature(enable = "avx2")]
    fn squares<const LANES: usize>(
        rows: &[&[f32]],
        words: usize,
        width: usize,
        first: usize,
        out: &mut [f32],
    ) {
        let rows: [&[f32]; LANES] = std::array::from_fn(|lane| &rows[lane][..words]);
        assert!(words == 0 || out.len() >= (words - 1) * width + first + LANES, "a panel of another size");
        for word in (0..words).step_by(8) {
            let mut square = [_mm256_setzero_ps(); 8];
            for lane in 0..LANES {
                // SAFETY: rows hold `words` values, a multiple of eight.
                square[lane] = unsafe { _mm256_loadu_ps(rows[lane].as_ptr().add(word)) };
            }
            let columns = turned(square);
            for (column, values) in columns.into_iter().enumerate() {
                let (low, high) = (_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
                // SAFETY: `LANES` values fit, as asserted above.
                unsafe {
                    let out = out.as_mut_ptr().add((word + column) * width + first);
                    _mm_storeu_ps(out, low);
                    match LANES {
                        8 => _mm_storeu_ps(out.add(4), high),
                        6 => _mm_storel_pd(out.add(4).cast(), _mm_castps_pd(high)),
                        _ => {}
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn turned(r: [__m256; 8]) -> [__m256; 8] {
        let pairs = |a, b| [_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)];
        let ([a0, a1], [a2, a3]) = (pairs(r[0], r[1]), pairs(r[2], r[3]));
        let ([a4, a5], [a6, a7]) = (pairs(r[4], r[5]), pairs(r[6], r[7]));
        let fours = |a, b| [_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b)];
        let ([b0, b1], [b2, b3]) = (fours(a0, a2), fours(a1, a3));
        let ([b4, b5], [b6, b7]) = (fours(a4, a6), fours(a5, a7));
        let low = |a, b| _mm256_permute2f128_ps::<0x20>(a, b);
        let high = |a, b| _mm256_permute2f128_ps::<0x31>(a, b);
        [
            low(b0, b4),
            low(b1, b5),
            low(b2, b6),
            low(b3, b7),
            high(b0, b4),
            high(b1, b5),
            high(b2, b6),
            high(b3, b7),
        ]
    }
}
