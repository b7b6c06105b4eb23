//! The micro-kernels: a tile of the output plus a panel times a panel.

use crate::cpu::level::Level;

/// A micro-kernel and the size of its tile.
pub(super) struct Kernel {
    pub(super) level: Level,
    /// Rows of a tile: the width of a left panel.
    pub(super) rows: usize,
    /// Columns of a tile: the width of a right panel.
    pub(super) columns: usize,
    /// Words of depth in a block: a right panel of them takes at most three quarters of a first-level cache of 32 KiB
    /// with AVX2, all of it with AVX-512.
    pub(super) depth: usize,
    /// Values of depth in a word: 1 f32 or 2 bf16.
    pub(super) per_word: usize,
    /// Left panel, right panel, the tile's first row and what follows, the distance of rows, whether to add.
    tile: unsafe fn(&[f32], &[f32], &mut [f32], usize, bool),
}

impl Kernel {
    /// The kernel for f32 products.
    pub(super) fn f32(level: Level) -> &'static Self {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &x86::AVX2,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &x86::AVX512,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => &x86::AVX512_BESIDE_BF16,
            _ => &PORTABLE,
        }
    }

    /// The kernel for bf16 products with f32 sums; f32 products where there is none. Its tile is that of [`Kernel::f32`].
    pub(super) fn bf16(level: Level) -> &'static Self {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => &x86::AVX512_BF16,
            _ => Self::f32(level),
        }
    }

    /// `tile (+)= left·right`. The tile's rows start `stride` apart in `sums`; both panels have one depth.
    pub(super) fn run(&self, left: &[f32], right: &[f32], sums: &mut [f32], stride: usize, adds: bool) {
        assert!(
            stride >= self.columns
                && sums.len() >= (self.rows - 1) * stride + self.columns
                && left.len() * self.columns == right.len() * self.rows,
            "kernel: panels or tile of another size"
        );
        // SAFETY: a kernel is chosen by a level, and levels by the processor's features.
        unsafe { (self.tile)(left, right, sums, stride, adds) }
    }
}

static PORTABLE: Kernel =
    Kernel { level: Level::Portable, rows: 4, columns: 16, depth: 256, per_word: 1, tile: portable };

/// Plain loops over arrays, which stay in registers.
fn portable(left: &[f32], right: &[f32], sums: &mut [f32], stride: usize, adds: bool) {
    let mut tile = [[0.0f32; 16]; 4];
    for (left, right) in left.as_chunks::<4>().0.iter().zip(right.as_chunks::<16>().0) {
        for (row, factor) in tile.iter_mut().zip(left) {
            for (sum, value) in row.iter_mut().zip(right) {
                *sum = if cfg!(target_arch = "aarch64") {
                    factor.mul_add(*value, *sum)
                } else {
                    *sum + factor * value
                };
            }
        }
    }
    for (row, sums) in tile.iter().zip(sums.chunks_mut(stride)) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum = if adds { *sum + value } else { *value };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, Level};

    pub(super) static AVX2: Kernel =
        Kernel { level: Level::Avx2, rows: 6, columns: 16, depth: 384, per_word: 1, tile: avx2 };
    pub(super) static AVX512: Kernel =
        Kernel { level: Level::Avx512, rows: 12, columns: 32, depth: 256, per_word: 1, tile: avx512 };
    pub(super) static AVX512_BESIDE_BF16: Kernel =
        Kernel { level: Level::Avx512Bf16, rows: 12, columns: 32, depth: 256, per_word: 1, tile: avx512 };
    pub(super) static AVX512_BF16: Kernel = Kernel {
        level: Level::Avx512Bf16,
        rows: 12,
        columns: 32,
        depth: 256,
        per_word: 2,
        tile: avx512_bf16,
    };

    /// 12 of 16 registers hold the tile; a step is two loads, six broadcasts and twelve FMAs.
    #[target_feature(enable = "avx2,fma")]
    fn avx2(left: &[f32], right: &[f32], sums: &mut [f32], stride: usize, adds: bool) {
        let mut tile = [[_mm256_setzero_ps(); 2]; 6];
        for (left, right) in left.as_chunks::<6>().0.iter().zip(right.as_chunks::<16>().0) {
            // SAFETY: sixteen values are there.
            let right = unsafe { [_mm256_loadu_ps(right.as_ptr()), _mm256_loadu_ps(right.as_ptr().add(8))] };
            for (row, factor) in tile.iter_mut().zip(left) {
                let factor = _mm256_set1_ps(*factor);
                row[0] = _mm256_fmadd_ps(factor, right[0], row[0]);
                row[1] = _mm256_fmadd_ps(factor, right[1], row[1]);
            }
        }
        for (row, sums) in tile.into_iter().zip(sums.chunks_mut(stride)) {
            for (values, sums) in row.into_iter().zip(sums.as_chunks_mut::<8>().0) {
                let out = sums.as_mut_ptr();
                // SAFETY: eight values are there.
                unsafe {
                    let values = if adds { _mm256_add_ps(values, _mm256_loadu_ps(out)) } else { values };
                    _mm256_storeu_ps(out, values);
                }
            }
        }
    }

    /// 24 of 32 registers hold the tile; factors are broadcast by the FMAs themselves.
    #[target_feature(enable = "avx512f")]
    fn avx512(left: &[f32], right: &[f32], sums: &mut [f32], stride: usize, adds: bool) {
        let mut tile = [[_mm512_setzero_ps(); 2]; 12];
        for (left, right) in left.as_chunks::<12>().0.iter().zip(right.as_chunks::<32>().0) {
            // SAFETY: 32 values are there.
            let right = unsafe { [_mm512_loadu_ps(right.as_ptr()), _mm512_loadu_ps(right.as_ptr().add(16))] };
            for (row, factor) in tile.iter_mut().zip(left) {
                let factor = _mm512_set1_ps(*factor);
                row[0] = _mm512_fmadd_ps(factor, right[0], row[0]);
                row[1] = _mm512_fmadd_ps(factor, right[1], row[1]);
            }
        }
        store(tile, sums, stride, adds);
    }

    /// As [`avx512`], with two values of depth in a word.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn avx512_bf16(left: &[f32], right: &[f32], sums: &mut [f32], stride: usize, adds: bool) {
        let mut tile = [[_mm512_setzero_ps(); 2]; 12];
        for (left, right) in left.as_chunks::<12>().0.iter().zip(right.as_chunks::<32>().0) {
            let at = right.as_ptr().cast();
            // SAFETY: 32 words are there; every pattern of bits is a pair of bf16.
            let right: [__m512bh; 2] = unsafe {
                [_mm512_loadu_si512(at), _mm512_loadu_si512(at.add(1))]
                    .map(|words| std::mem::transmute::<__m512i, __m512bh>(words))
            };
            for (row, factor) in tile.iter_mut().zip(left) {
                let words = _mm512_set1_epi32(factor.to_bits() as i32);
                // SAFETY: as above.
                let factor: __m512bh = unsafe { std::mem::transmute(words) };
                row[0] = _mm512_dpbf16_ps(row[0], factor, right[0]);
                row[1] = _mm512_dpbf16_ps(row[1], factor, right[1]);
            }
        }
        store(tile, sums, stride, adds);
    }

    #[target_feature(enable = "avx512f")]
    fn store(tile: [[__m512; 2]; 12], sums: &mut [f32], stride: usize, adds: bool) {
        for (row, sums) in tile.into_iter().zip(sums.chunks_mut(stride)) {
            for (values, sums) in row.into_iter().zip(sums.as_chunks_mut::<16>().0) {
                let out = sums.as_mut_ptr();
                // SAFETY: sixteen values are there.
                unsafe {
                    let values = if adds { _mm512_add_ps(values, _mm512_loadu_ps(out)) } else { values };
                    _mm512_storeu_ps(out, values);
                }
            }
        }
    }
}
