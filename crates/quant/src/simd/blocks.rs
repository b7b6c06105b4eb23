use super::portable;
use crate::blockwise::scaled;
use crate::codebook::Codebook;

/// Elements that a kernel treats together.
pub(super) const GROUP: usize = 32;

/// The packed codes of a group.
pub(super) const GROUP_BYTES: usize = GROUP / 2;

/// A flattened weight in 4 bits: two codes per byte, the first in the high nibble, and one absmax per block.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a> {
    pub(crate) book: &'a Codebook,
    pub(crate) packed: &'a [u8],
    pub(crate) absmax: &'a [f32],
    /// Elements per block, even.
    pub(crate) block_size: usize,
}

/// Restores the elements `start..start + out.len()`, with what a version brings: `table` makes of an absmax what
/// `group` needs to restore a whole group of that block; `convert` makes a value of a product, for the elements around
/// groups.
///
/// Always inlined, and `group` called in one place, so that it is compiled with the instructions of the version.
#[inline(always)]
pub(super) fn restore<T, S>(
    codes: Codes<'_>,
    start: usize,
    out: &mut [T],
    convert: impl Fn(f32) -> T,
    table: impl Fn(f32) -> S,
    group: impl Fn(&S, &[u8; GROUP_BYTES], &mut [T; GROUP]),
) {
    let Codes { book, packed, absmax, block_size } = codes;
    let (mut index, mut rest) = (start, out);
    let mut left_in_block = block_size - start % block_size;
    for scale in &absmax[start / block_size..] {
        let count = left_in_block.min(rest.len());
        if count == 0 {
            return;
        }
        let (part, later) = rest.split_at_mut(count);
        // A start within a byte: its second code alone, and from there whole bytes.
        let (odd, part) = part.split_at_mut(index % 2);
        if let [value] = odd {
            *value = convert(book.pairs[usize::from(packed[index / 2])][1] * scale);
        }
        let bytes = &packed[index.div_ceil(2)..(index + count).div_ceil(2)];
        let (groups, tail) = part.as_chunks_mut::<GROUP>();
        let (group_bytes, tail_bytes) = bytes.split_at(groups.len() * GROUP_BYTES);
        let table = table(*scale);
        for (values, bytes) in groups.iter_mut().zip(group_bytes.as_chunks().0) {
            group(&table, bytes, values);
        }
        if !tail.is_empty() {
            restore_others(book, tail_bytes, *scale, tail, &convert);
        }
        (index, rest, left_in_block) = (index + count, later, block_size);
    }
}

/// The elements of part of a group. Not inlined: for AVX-512 the compiler would make slow scatters of it.
#[cold]
#[inline(never)]
fn restore_others<T>(book: &Codebook, bytes: &[u8], scale: f32, out: &mut [T], convert: &impl Fn(f32) -> T) {
    for (pair, byte) in out.chunks_mut(2).zip(bytes) {
        for (value, level) in pair.iter_mut().zip(book.pairs[usize::from(*byte)]) {
            *value = convert(level * scale);
        }
    }
}

/// Quantizes whole blocks and a last, shorter one, with what a version brings: `largest` is the largest magnitude of a
/// block, NaN or infinite if a value is, and `group` the packed codes of `values * scale`.
///
/// Always inlined, and `group` called in one place, for the reason given at [`restore`].
#[inline(always)]
pub(super) fn quantize(
    book: &Codebook,
    weights: &[f32],
    block_size: usize,
    packed: &mut [u8],
    absmax: &mut [f32],
    largest: impl Fn(&[f32]) -> f32,
    group: impl Fn(&[f32; GROUP], f32) -> [u8; GROUP_BYTES],
) {
    let blocks = weights.chunks(block_size).zip(packed.chunks_mut(block_size / 2));
    for ((values, bytes), absmax) in blocks.zip(absmax) {
        *absmax = largest(values);
        let reciprocal = 1.0 / *absmax;
        let whole = if reciprocal.is_finite() { values.len() - values.len() % GROUP } else { 0 };
        let (values, others) = values.split_at(whole);
        let (bytes, other_bytes) = bytes.split_at_mut(whole / 2);
        for (values, bytes) in values.as_chunks().0.iter().zip(bytes.as_chunks_mut().0) {
            *bytes = group(values, reciprocal);
        }
        if !others.is_empty() {
            quantize_others(book, others, *absmax, other_bytes);
        }
    }
}

/// The codes of part of a group, and of a block whose absmax has no finite reciprocal.
#[cold]
fn quantize_others(book: &Codebook, values: &[f32], absmax: f32, bytes: &mut [u8]) {
    for (values, bytes) in values.chunks(GROUP).zip(bytes.chunks_mut(GROUP_BYTES)) {
        // Zeros fill the group, so the unused nibble of an odd count gets the code of zero.
        let mut relative = [0.0; GROUP];
        for (relative, x) in relative.iter_mut().zip(values) {
            *relative = scaled(*x, absmax);
        }
        bytes.copy_from_slice(&portable::code(book, &relative, 1.0)[..bytes.len()]);
    }
}
