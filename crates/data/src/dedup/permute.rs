use super::minhash::{HashFamily, MinHashConfig};
use super::mt19937::RandomState;
use super::signatures::Rows;

/// Permutations whose minima are searched at a time, in registers.
const BLOCK: usize = 32;
/// The prime 2^61 - 1.
const MERSENNE: u64 = (1 << 61) - 1;

/// The functions h -> a·h + b of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Permutations {
    /// Modulo 2^32, after a first step over the shingle's hash. Filled up to whole blocks.
    Affine32 { first: First, count: usize, a: Vec<u32>, b: Vec<u32> },
    /// Modulo 2^64, after MurmurHash3's fmix64.
    Affine64 { a: Vec<u64>, b: Vec<u64> },
    /// Modulo 2^64, then modulo 2^61 - 1, of which 32 bits stay.
    Mersenne32 { a: Vec<u64>, b: Vec<u64> },
    /// Modulo 2^64, then modulo 2^61 - 1.
    Mersenne64 { a: Vec<u64>, b: Vec<u64> },
}

/// How 64 bits become the 32 that are permuted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// The high half.
    High,
    /// MurmurHash3's fmix32 of the low half.
    Mix,
}

impl Permutations {
    /// Draws them, for a configuration that was validated.
    pub(crate) fn draw(config: &MinHashConfig) -> Self {
        let count = config.num_perm;
        let mut random = RandomState::new(config.seed as u32);
        match config.family {
            HashFamily::Fast => {
                let draw = |i: usize| splitmix64(config.seed, i as u64);
                let a = (0..count).map(|i| (draw(2 * i) >> 32) as u32 | 1).collect();
                let b = (0..count).map(|i| (draw(2 * i + 1) >> 32) as u32).collect();
                Self::affine32(First::High, count, a, b)
            }
            HashFamily::DatasketchAffine32 => {
                let a = (0..count).map(|_| random.next_u32() << 1 | 1).collect();
                let b = (0..count).map(|_| random.next_u32()).collect();
                Self::affine32(First::Mix, count, a, b)
            }
            HashFamily::DatasketchAffine64 => {
                let a = (0..count).map(|_| random.next_u64() << 1 | 1).collect();
                let b = (0..count).map(|_| random.next_u64()).collect();
                Self::Affine64 { a, b }
            }
            HashFamily::DatasketchLegacy => {
                let pairs = (0..count).map(|_| (random.below(1, MERSENNE), random.below(0, MERSENNE)));
                let (a, b) = pairs.unzip();
                Self::Mersenne32 { a, b }
            }
            HashFamily::Datatrove => {
                let a = (0..count).map(|_| random.below(1, MERSENNE)).collect();
                let b = (0..count).map(|_| random.below(0, MERSENNE)).collect();
                Self::Mersenne64 { a, b }
            }
        }
    }

    fn affine32(first: First, count: usize, mut a: Vec<u32>, mut b: Vec<u32>) -> Self {
        a.resize(count.next_multiple_of(BLOCK), 0);
        b.resize(count.next_multiple_of(BLOCK), 0);
        Self::Affine32 { first, count, a, b }
    }

    /// An empty list of signatures of the right kind.
    pub(crate) fn rows(&self) -> Rows {
        match self {
            Self::Affine32 { count, .. } => Rows::narrow(*count),
            Self::Mersenne32 { a, .. } => Rows::narrow(a.len()),
            Self::Affine64 { a, .. } | Self::Mersenne64 { a, .. } => Rows::wide(a.len()),
        }
    }

    /// The multipliers and the summands.
    pub(crate) fn coefficients(&self) -> (Vec<u64>, Vec<u64>) {
        match self {
            Self::Affine32 { count, a, b, .. } => {
                let widen = |list: &[u32]| list[..*count].iter().map(|value| u64::from(*value)).collect();
                (widen(a), widen(b))
            }
            Self::Affine64 { a, b } | Self::Mersenne32 { a, b } | Self::Mersenne64 { a, b } => {
                (a.clone(), b.clone())
            }
        }
    }

    /// Appends the smallest value of each permutation over all hashes, which are overwritten.
    pub(crate) fn minima(&self, hashes: &mut [u64], rows: &mut Rows) {
        match self {
            Self::Affine32 { first, count, a, b } => {
                let out = rows.narrow_mut();
                let end = out.len() + count;
                minima_affine32(*first, hashes, a, b, out);
                out.truncate(end);
            }
            Self::Affine64 { a, b } => {
                for hash in hashes.iter_mut() {
                    *hash = fmix64(*hash);
                }
                rows.wide_mut().extend(minima_wide(hashes, a, b, |sum| sum));
            }
            Self::Mersenne32 { a, b } => {
                // An empty set keeps datasketch's start value, 2^32 - 1.
                let low = minima_wide(hashes, a, b, |sum| modulo_mersenne(sum) & 0xffff_ffff);
                rows.narrow_mut().extend(low.map(|value| value as u32));
            }
            Self::Mersenne64 { a, b } => rows.wide_mut().extend(minima_wide(hashes, a, b, modulo_mersenne)),
        }
    }
}

fn minima_wide(hashes: &[u64], a: &[u64], b: &[u64], last: impl Fn(u64) -> u64) -> impl Iterator<Item = u64> {
    a.iter().zip(b).map(move |(a, b)| {
        let values = hashes.iter().map(|hash| last(a.wrapping_mul(*hash).wrapping_add(*b)));
        values.min().unwrap_or(u64::MAX)
    })
}

fn minima_affine32(first: First, hashes: &mut [u64], a: &[u32], b: &[u32], out: &mut Vec<u32>) {
    for hash in hashes.iter_mut() {
        *hash = match first {
            First::High => *hash >> 32,
            First::Mix => u64::from(fmix32(*hash as u32)),
        };
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just found out.
        return unsafe { blocks_avx2(hashes, a, b, out) };
    }
    blocks(hashes, a, b, out);
}

/// The same loop, compiled for eight lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn blocks_avx2(hashes: &[u64], a: &[u32], b: &[u32], out: &mut Vec<u32>) {
    blocks(hashes, a, b, out);
}

/// The minima of whole blocks of permutations; `hashes` hold 32 bits each.
#[inline(always)]
fn blocks(hashes: &[u64], a: &[u32], b: &[u32], out: &mut Vec<u32>) {
    let (a, _) = a.as_chunks::<BLOCK>();
    let (b, _) = b.as_chunks::<BLOCK>();
    for (a, b) in a.iter().zip(b) {
        let mut minima = [u32::MAX; BLOCK];
        for hash in hashes {
            let hash = *hash as u32;
            for lane in 0..BLOCK {
                let value = a[lane].wrapping_mul(hash).wrapping_add(b[lane]);
                minima[lane] = minima[lane].min(value);
            }
        }
        out.extend_from_slice(&minima);
    }
}

fn modulo_mersenne(sum: u64) -> u64 {
    let folded = (sum & MERSENNE) + (sum >> 61);
    if folded >= MERSENNE { folded - MERSENNE } else { folded }
}

/// MurmurHash3's 32-bit finaliser.
fn fmix32(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// MurmurHash3's 64-bit finaliser.
fn fmix64(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Draw `position` of the stream that `seed` starts (Steele, Lea, Flood 2014, in Vigna's version).
fn splitmix64(seed: u64, position: u64) -> u64 {
    let mut state = seed.wrapping_add((position.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_loop_finds_the_minima() {
        for (count, hashes) in [(1, 0), (1, 1), (31, 3), (32, 5), (33, 2), (128, 70), (200, 1)] {
            let config = MinHashConfig::new(count);
            let hashes: Vec<u64> = (0..hashes).map(|i| splitmix64(9, i)).collect();
            let permutations = Permutations::draw(&config);
            let (a, b) = permutations.coefficients();
            let wanted: Vec<u64> = a
                .iter()
                .zip(&b)
                .map(|(a, b)| hashes.iter().map(|hash| (a * (hash >> 32) + b) & 0xffff_ffff).min())
                .map(|least| least.unwrap_or(0xffff_ffff))
                .collect();
            let mut rows = permutations.rows();
            permutations.minima(&mut hashes.clone(), &mut rows);
            assert_eq!(rows.to_u64(), wanted, "{count} permutations, {} hashes", hashes.len());
        }
    }

    #[test]
    fn the_portable_loop_agrees_with_the_one_that_runs() {
        let Permutations::Affine32 { a, b, .. } = Permutations::draw(&MinHashConfig::new(96)) else {
            unreachable!("the default family is affine");
        };
        let mut hashes: Vec<u64> = (0..77).map(|i| splitmix64(3, i)).collect();
        let (mut runs, mut portable) = (Vec::new(), Vec::new());
        minima_affine32(First::High, &mut hashes, &a, &b, &mut runs);
        blocks(&hashes, &a, &b, &mut portable);
        assert_eq!(runs, portable);
    }

    #[test]
    fn the_remainder_by_the_prime_is_exact() {
        for sum in [0, 1, MERSENNE - 1, MERSENNE, MERSENNE + 1, 7 * MERSENNE, 7 * MERSENNE + 6, u64::MAX] {
            assert_eq!(modulo_mersenne(sum), sum % MERSENNE, "{sum}");
        }
    }
}
