//! Dot products of a few rows of f32 with rows of 4-bit codes, which never become a row of values: a group of 32 codes is
//! looked up in registers, multiplied with every row, and scaled by its block's absmax.
//!
//! Looking up gives a group's values in another order; the rows of f32 are brought into that order once.

use super::source::{FourBit, Matrix, Stored};
use crate::cpu::level::Level;

/// The most rows of f32. With more, a row of values is worth keeping: the sums no longer fit the registers.
const ROWS: usize = 4;

/// Codes that are looked up together.
const GROUP: usize = 32;

/// Rows of f32 in the order of the lookup.
pub(super) struct Rows {
    level: Level,
    values: Vec<f32>,
    columns: usize,
    /// Rows that were given; those up to the next of 1, 2 and 4 are 0.
    count: usize,
}

/// The codes of `matrix`, if the level has a version for `rows` of f32, and the matrix is 4-bit in blocks that a row holds
/// a whole number of.
pub(super) fn codes<'a>(level: Level, rows: usize, matrix: &Matrix<'a>) -> Option<FourBit<'a>> {
    let Stored::FourBit(codes) = matrix.stored else { return None };
    let FourBit { block_size, .. } = codes;
    let is_whole = block_size.is_multiple_of(GROUP) && matrix.columns.is_multiple_of(block_size);
    let has_version = cfg!(target_arch = "x86_64") && level >= Level::Avx2 && (1..=ROWS).contains(&rows);
    let is_dense = matrix.stride == matrix.columns && matrix.columns > 0;
    (has_version && is_whole && is_dense).then_some(codes)
}

impl Rows {
    /// For rows `x [m, columns]` that [`codes`] takes.
    pub(super) fn new(level: Level, x: &[f32], columns: usize) -> Self {
        let count = x.len() / columns;
        let padded = count.next_power_of_two() * columns;
        let mut values = Vec::with_capacity(padded);
        for group in x.as_chunks::<GROUP>().0 {
            values.extend((0..GROUP).map(|lane| group[place(level, lane)]));
        }
        values.resize(padded, 0.0);
        Self { level, values, columns, count }
    }

    /// Calls `add` with each row's number and its product with row `row` of the matrix whose [`codes`] these are.
    pub(super) fn dots(&self, codes: &FourBit<'_>, row: usize, mut add: impl FnMut(usize, f32)) {
        let FourBit { quant_type, packed, absmax, block_size } = *codes;
        let packed = &packed[row * self.columns / 2..][..self.columns / 2];
        let absmax = &absmax[row * self.columns / block_size..][..self.columns / block_size];
        let codes = FourBit { quant_type, packed, absmax, block_size };
        match self.count.next_power_of_two() {
            1 => self.run::<1>(&codes, &mut add),
            2 => self.run::<2>(&codes, &mut add),
            4 => self.run::<4>(&codes, &mut add),
            count => unreachable!("{count} rows of at most {ROWS}"),
        }
    }

    fn run<const M: usize>(&self, codes: &FourBit<'_>, add: &mut impl FnMut(usize, f32)) {
        let columns = self.columns;
        let rows: [&[[f32; GROUP]]; M] =
            std::array::from_fn(|row| self.values[row * columns..][..columns].as_chunks().0);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `codes` asked for the level, and a level is one of the processor's.
        let sums = unsafe {
            match self.level {
                Level::Avx512 | Level::Avx512Bf16 => x86::avx512(codes, &rows),
                _ => x86::avx2(codes, &rows),
            }
        };
        #[cfg(not(target_arch = "x86_64"))]
        let sums: [f32; M] = unreachable!("{:?} {}", rows.len(), codes.block_size);
        sums.into_iter().take(self.count).enumerate().for_each(|(row, sum)| add(row, sum));
    }
}

/// Which of a group's values the lookup gives at `lane`.
fn place(level: Level, lane: usize) -> usize {
    if level >= Level::Avx512 {
        // The first codes of all bytes, then the second ones.
        return lane % 16 * 2 + lane / 16;
    }
    // Four by four from the group's halves in turn: bytes are unpacked within halves of a register.
    lane / 8 * 4 + lane % 4 + lane / 4 % 2 * 16
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use burnisher_quant::{FP4, NF4, QuantType};

    use super::{FourBit, GROUP};

    /// Byte by byte the bits of the 16 levels.
    const fn bytes(levels: &[f32; 16]) -> [[u8; 16]; 4] {
        let mut bytes = [[0; 16]; 4];
        let mut level = 0;
        while level < 16 {
            let bits = levels[level].to_bits().to_le_bytes();
            let mut byte = 0;
            while byte < 4 {
                bytes[byte][level] = bits[byte];
                byte += 1;
            }
            level += 1;
        }
        bytes
    }

    static NF4_BYTES: [[u8; 16]; 4] = bytes(&NF4);
    static FP4_BYTES: [[u8; 16]; 4] = bytes(&FP4);

    /// The numbers of sixteen bytes, each twice.
    static TWICE: [u8; 32] = {
        let mut numbers = [0; 32];
        let mut place = 0;
        while place < 32 {
            numbers[place] = (place / 2) as u8;
            place += 1;
        }
        numbers
    };

    /// The bytes of the 16 levels' bits, looked up byte by byte and joined to words.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2<const M: usize>(codes: &FourBit<'_>, rows: &[&[[f32; GROUP]]; M]) -> [f32; M] {
        let bytes = match codes.quant_type {
            QuantType::Nf4 => &NF4_BYTES,
            QuantType::Fp4 => &FP4_BYTES,
            other => unreachable!("{other:?} has no table of bytes"),
        };
        // SAFETY: sixteen bytes are there, each time.
        let tables: [__m256i; 4] = unsafe {
            [
                _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes[0].as_ptr().cast())),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes[1].as_ptr().cast())),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes[2].as_ptr().cast())),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes[3].as_ptr().cast())),
            ]
        };
        // SAFETY: 32 bytes are there.
        let twice = unsafe { _mm256_loadu_si256(TWICE.as_ptr().cast()) };
        let (upper, lower) = (_mm256_set1_epi16(0x000F), _mm256_set1_epi16(0x0F00));
        let mut sums = [_mm256_setzero_ps(); M];
        let groups = codes.block_size / GROUP;
        let bytes = codes.packed.as_chunks::<{ GROUP / 2 }>().0;
        for (block, (bytes, scale)) in bytes.chunks_exact(groups).zip(codes.absmax).enumerate() {
            let scale = _mm256_set1_ps(*scale);
            for (group, bytes) in bytes.iter().enumerate() {
                // SAFETY: sixteen bytes are there.
                let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
                let bytes = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), twice);
                let first = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), upper);
                let index = _mm256_or_si256(first, _mm256_and_si256(bytes, lower));
                // Not by `map`: what it calls would not be inlined here.
                let a = _mm256_shuffle_epi8(tables[0], index);
                let b = _mm256_shuffle_epi8(tables[1], index);
                let c = _mm256_shuffle_epi8(tables[2], index);
                let d = _mm256_shuffle_epi8(tables[3], index);
                let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
                let (low_above, high_above) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
                let values = [
                    _mm256_castsi256_ps(_mm256_unpacklo_epi16(low, low_above)),
                    _mm256_castsi256_ps(_mm256_unpackhi_epi16(low, low_above)),
                    _mm256_castsi256_ps(_mm256_unpacklo_epi16(high, high_above)),
                    _mm256_castsi256_ps(_mm256_unpackhi_epi16(high, high_above)),
                ];
                for (row, sum) in rows.iter().zip(&mut sums) {
                    let x = row[block * groups + group].as_chunks::<8>().0;
                    // SAFETY: each of the four holds eight values.
                    let x: [__m256; 4] = unsafe {
                        [
                            _mm256_loadu_ps(x[0].as_ptr()),
                            _mm256_loadu_ps(x[1].as_ptr()),
                            _mm256_loadu_ps(x[2].as_ptr()),
                            _mm256_loadu_ps(x[3].as_ptr()),
                        ]
                    };
                    let low = _mm256_fmadd_ps(values[1], x[1], _mm256_mul_ps(values[0], x[0]));
                    let high = _mm256_fmadd_ps(values[3], x[3], _mm256_mul_ps(values[2], x[2]));
                    *sum = _mm256_fmadd_ps(_mm256_add_ps(low, high), scale, *sum);
                }
            }
        }
        let mut out = [0.0; M];
        for (out, sum) in out.iter_mut().zip(sums) {
            let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            *out = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
        }
        out
    }

    /// The 16 levels fill a register, which an instruction permutes by the low four bits of each word.
    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512<const M: usize>(codes: &FourBit<'_>, rows: &[&[[f32; GROUP]]; M]) -> [f32; M] {
        // SAFETY: sixteen values are there.
        let levels = unsafe { _mm512_loadu_ps(codes.quant_type.levels().as_ptr()) };
        let mut sums = [_mm512_setzero_ps(); M];
        let groups = codes.block_size / GROUP;
        let bytes = codes.packed.as_chunks::<{ GROUP / 2 }>().0;
        for (block, (bytes, scale)) in bytes.chunks_exact(groups).zip(codes.absmax).enumerate() {
            let scale = _mm512_set1_ps(*scale);
            for (group, bytes) in bytes.iter().enumerate() {
                // SAFETY: sixteen bytes are there.
                let words = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
                let first = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(words), levels);
                let second = _mm512_permutexvar_ps(words, levels);
                for (row, sum) in rows.iter().zip(&mut sums) {
                    let x = row[block * groups + group].as_chunks::<16>().0;
                    // SAFETY: each of the two holds sixteen values.
                    let x: [__m512; 2] =
                        unsafe { [_mm512_loadu_ps(x[0].as_ptr()), _mm512_loadu_ps(x[1].as_ptr())] };
                    let products = _mm512_fmadd_ps(second, x[1], _mm512_mul_ps(first, x[0]));
                    *sum = _mm512_fmadd_ps(products, scale, *sum);
                }
            }
        }
        let mut out = [0.0; M];
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = _mm512_reduce_add_ps(sum);
        }
        out
    }
}
