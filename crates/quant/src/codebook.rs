/// The 16 levels of NF4 (NormalFloat, 4 bits), rising; a code is an index into this table.
///
/// The quantiles of a normal distribution scaled to [-1, 1] with an exact zero: Dettmers et al., "QLoRA" (2023),
/// appendix E. The values are those of bitsandbytes 0.50.2 (`get_4bit_type("nf4")`), as f32.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];

/// The 15 thresholds between the NF4 levels: the code of a scaled value `x` is the number of thresholds `t` with `x >
/// t`.
///
/// Each is the f32 midpoint `(NF4[i] + NF4[i + 1]) / 2`, so a value on a midpoint takes the lower code, as in
/// bitsandbytes' CPU and CUDA code.
pub const NF4_THRESHOLDS: [f32; 15] = midpoints(&NF4);

/// The 16 levels of bitsandbytes' FP4 in the order of the codes, which is not that of the values.
///
/// Bit 3 of a code is the sign and the other three choose one of the magnitudes 0, 1/192, 2/3, 1, 1/3, 1/2, 1/6 and
/// 1/4. It is not the FP4 of the OCP (E2M1, as in MXFP4 and NVFP4). Codes 0 and 8 are both zero, without a sign. The
/// values are those of bitsandbytes 0.50.2 (`get_4bit_type("fp4")`), as f32.
pub const FP4: [f32; 16] = [
    0.0,
    0.0052083335,
    0.6666667,
    1.0,
    0.33333334,
    0.5,
    0.16666667,
    0.25,
    0.0,
    -0.0052083335,
    -0.6666667,
    -1.0,
    -0.33333334,
    -0.5,
    -0.16666667,
    -0.25,
];

/// The codes of FP4 from the lowest level to the highest; of the two zeros, 0 comes before 8.
pub const FP4_ORDER: [u8; 16] = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];

/// The 15 thresholds between the FP4 levels, rising: the code of a scaled value `x` is [`FP4_ORDER`]`[rank]`, where the
/// rank is the number of thresholds `t` with `x > t`.
///
/// Each is the f32 midpoint between two neighbours in [`FP4_ORDER`], so a value on a midpoint takes the lower level,
/// and a tiny positive value the code 8: as bitsandbytes 0.50.2 does on the CPU. Its CUDA kernels compare magnitudes,
/// so there a negative value on a midpoint goes the other way and a tiny one takes the zero of its own sign.
pub const FP4_THRESHOLDS: [f32; 15] = midpoints(&in_order(&FP4, &FP4_ORDER));

/// A 4-bit code in the forms that the kernels need.
pub(crate) struct Codebook {
    /// The level of every code.
    pub(crate) levels: [f32; 16],
    /// Rising; the rank of a scaled value is the number of thresholds below it.
    pub(crate) thresholds: [f32; 15],
    /// The code of every rank.
    pub(crate) codes: [u8; 16],
    /// The two levels of every packed byte, high nibble first.
    pub(crate) pairs: [[f32; 2]; 256],
}

pub(crate) static NF4_BOOK: Codebook =
    Codebook::new(&NF4, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

pub(crate) static FP4_BOOK: Codebook = Codebook::new(&FP4, &FP4_ORDER);

impl Codebook {
    /// `codes` lists the codes from the lowest level to the highest.
    const fn new(levels: &[f32; 16], codes: &[u8; 16]) -> Self {
        let thresholds = midpoints(&in_order(levels, codes));
        Self { levels: *levels, thresholds, codes: *codes, pairs: pairs(levels) }
    }
}

const fn in_order(levels: &[f32; 16], codes: &[u8; 16]) -> [f32; 16] {
    let mut rising = [0.0; 16];
    let mut rank = 0;
    while rank < 16 {
        rising[rank] = levels[codes[rank] as usize];
        rank += 1;
    }
    rising
}

const fn midpoints(rising: &[f32; 16]) -> [f32; 15] {
    let mut middles = [0.0; 15];
    let mut rank = 0;
    while rank < 15 {
        middles[rank] = (rising[rank] + rising[rank + 1]) / 2.0;
        rank += 1;
    }
    middles
}

const fn pairs(levels: &[f32; 16]) -> [[f32; 2]; 256] {
    let mut table = [[0.0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [levels[byte >> 4], levels[byte & 15]];
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_thresholds_interleave() {
        for book in [&NF4_BOOK, &FP4_BOOK] {
            let rising = in_order(&book.levels, &book.codes);
            for (rank, threshold) in book.thresholds.iter().enumerate() {
                let [below, above] = [rising[rank], rising[rank + 1]];
                let both_zero = below == 0.0 && above == 0.0;
                assert!(both_zero || (below < *threshold && *threshold < above), "threshold {rank}");
            }
        }
    }

    #[test]
    fn every_code_has_one_rank() {
        for book in [&NF4_BOOK, &FP4_BOOK] {
            let mut codes = book.codes;
            codes.sort();
            assert_eq!(codes, std::array::from_fn(|code| code as u8));
        }
    }

    #[test]
    fn zeros_have_their_own_codes() {
        assert_eq!(NF4[7], 0.0);
        assert_eq!(NF4_BOOK.pairs[0x7f], [0.0, 1.0]);
        assert_eq!(NF4_BOOK.pairs[0x10], [NF4[1], -1.0]);
        assert_eq!(FP4_BOOK.pairs[0x80], [0.0, 0.0]);
        assert_eq!(FP4_BOOK.pairs[0x3b], [1.0, -1.0]);
    }

    #[test]
    fn the_sign_of_fp4_is_bit_three() {
        for code in 0..8 {
            assert_eq!(FP4[code], -FP4[code + 8]);
        }
    }
}
