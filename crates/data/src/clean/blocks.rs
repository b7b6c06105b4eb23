//! Looks at bytes in blocks, which compilers make vector instructions of.

/// Bytes of a block; a count within it fits a byte.
const BLOCK: usize = 64;

/// The highest bit of every byte.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The same of sixteen bytes.
pub(super) const HIGH_16: u128 = (HIGH as u128) << 64 | HIGH as u128;

/// Every byte 1.
const ONES: u64 = HIGH >> 7;

#[inline(always)]
fn count_in(block: &[u8], is_wanted: &impl Fn(u8) -> bool) -> u8 {
    block.iter().fold(0, |count, b| count + u8::from(is_wanted(*b)))
}

/// Whether a byte is wanted.
pub(super) fn any(bytes: &[u8], is_wanted: impl Fn(u8) -> bool) -> bool {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    blocks.iter().any(|block| count_in(block, &is_wanted) > 0) || count_in(rest, &is_wanted) > 0
}

/// The bytes that are wanted.
pub(super) fn count(bytes: &[u8], is_wanted: impl Fn(u8) -> bool) -> usize {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let within: usize = blocks.iter().map(|block| usize::from(count_in(block, &is_wanted))).sum();
    within + usize::from(count_in(rest, &is_wanted))
}

/// Whether two neighbours are wanted.
pub(super) fn any_pair(bytes: &[u8], is_wanted: impl Fn(u8, u8) -> bool) -> bool {
    let Some(next) = bytes.get(1..) else { return false };
    let has =
        |a: &[u8], b: &[u8]| a.iter().zip(b).fold(0, |any, (a, b)| any | u8::from(is_wanted(*a, *b))) > 0;
    let (first, first_rest) = bytes[..next.len()].as_chunks::<BLOCK>();
    let (second, second_rest) = next.as_chunks::<BLOCK>();
    first.iter().zip(second).any(|(a, b)| has(a, b)) || has(first_rest, second_rest)
}

/// The first byte from `from` on that is wanted.
pub(super) fn find(bytes: &[u8], from: usize, is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let (blocks, rest) = bytes.get(from..)?.as_chunks::<32>();
    for (number, block) in blocks.iter().enumerate() {
        if count_in(block, &is_wanted) > 0 {
            return block.iter().position(|b| is_wanted(*b)).map(|within| from + number * 32 + within);
        }
    }
    rest.iter().position(|b| is_wanted(*b)).map(|within| from + blocks.len() * 32 + within)
}

/// The first place from `from` on at which two neighbours are wanted.
pub(super) fn find_pair(bytes: &[u8], from: usize, is_wanted: impl Fn(u8, u8) -> bool) -> Option<usize> {
    let mut at = from;
    for block in bytes.get(from..)?.chunks(BLOCK) {
        let part = &bytes[at..bytes.len().min(at + block.len() + 1)];
        if any_pair(part, &is_wanted) {
            return part.windows(2).position(|pair| is_wanted(pair[0], pair[1])).map(|within| at + within);
        }
        at += block.len();
    }
    None
}

/// The longest parts that have no ASCII character, and where they begin.
pub(super) fn wide_runs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + first_wide(&bytes[at..])?;
        at = start + bytes[start..].iter().take_while(|b| !b.is_ascii()).count();
        Some((start, &text[start..at]))
    })
}

fn first_wide(bytes: &[u8]) -> Option<usize> {
    let (eights, rest) = bytes.as_chunks::<8>();
    for (number, eight) in eights.iter().enumerate() {
        let wide = u64::from_le_bytes(*eight) & HIGH;
        if wide != 0 {
            return Some(number * 8 + wide.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|b| !b.is_ascii()).map(|within| eights.len() * 8 + within)
}

/// The highest bit of each of the eight bytes that lies in `least..=most`, which are ASCII.
#[inline]
const fn within(bytes: u64, least: u8, most: u8) -> u64 {
    let low = bytes & !HIGH;
    let reaches = low + ONES * (0x80 - least as u64);
    let exceeds = low + ONES * (0x7f - most as u64);
    reaches & !exceeds & !bytes & HIGH
}

/// Where white space in ASCII begins and ends: in turn the first byte of a part without any and the byte behind it.
///
/// The text ends in white space here, so every part has an end.
pub(super) fn space_edges(bytes: &[u8], edges: &mut Vec<u32>) {
    edges.clear();
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let mut carry = 0;
    let mut base = 0;
    for block in blocks.iter().chain([&last]) {
        let solid = !space_mask(block);
        let mut changes = solid ^ (solid << 1 | carry);
        carry = solid >> (BLOCK - 1);
        while changes != 0 {
            edges.push(base + changes.trailing_zeros());
            changes &= changes - 1;
        }
        base += BLOCK as u32;
    }
}

/// A bit for every byte: whether it is white space to Python, U+001C to U+001F included.
fn space_mask(block: &[u8; BLOCK]) -> u64 {
    let mut mask = 0;
    for (number, eight) in block.as_chunks::<8>().0.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        let spaces = (within(eight, 0x09, 0x0d) | within(eight, 0x1c, b' ')) >> 7;
        // The eight bits gather in the highest byte.
        mask |= (spaces.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * number);
    }
    mask
}

/// The same of sixteen bytes.
#[inline(always)]
pub(super) const fn within_16(bytes: u128, least: u8, most: u8) -> u128 {
    let low = bytes & !HIGH_16;
    let reaches = low + (HIGH_16 >> 7) * (0x80 - least as u128);
    let exceeds = low + (HIGH_16 >> 7) * (0x7f - most as u128);
    reaches & !exceeds & !bytes & HIGH_16
}

/// The bytes of a short word with zeros behind them, or `None` for one of more than 16 bytes.
#[inline(always)]
pub(super) fn padded(bytes: &[u8], start: usize, end: usize) -> Option<u128> {
    let length = end - start;
    if length > 16 {
        return None;
    }
    match bytes[start..].first_chunk::<16>() {
        Some(chunk) => Some(u128::from_le_bytes(*chunk) & FIRST[length]),
        None => {
            let mut chunk = [0; 16];
            chunk[..length].copy_from_slice(&bytes[start..end]);
            Some(u128::from_le_bytes(chunk))
        }
    }
}

/// The bits of the first bytes of 16.
const FIRST: [u128; 17] = {
    let mut masks = [u128::MAX; 17];
    let mut length = 0;
    while length < 16 {
        masks[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    masks
};
