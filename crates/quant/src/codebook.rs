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

/// The 15 thresholds between the NF4 levels: the code of a scaled value `x` is the number of thresholds `t` with `x > t`.
///
/// Each is the f32 midpoint `(NF4[i] + NF4[i + 1]) / 2`, so a value on a midpoint takes the lower code, as in
/// bitsandbytes' CPU and CUDA code.
pub const NF4_THRESHOLDS: [f32; 15] = midpoints(&NF4);

/// The code of NF4's zero level.
pub(crate) const ZERO_CODE: u8 = 7;

/// The two levels of every packed byte, high nibble first.
pub(crate) static NF4_PAIRS: [[f32; 2]; 256] = pairs(&NF4);

const fn midpoints(levels: &[f32; 16]) -> [f32; 15] {
    let mut middles = [0.0; 15];
    let mut code = 0;
    while code < 15 {
        middles[code] = (levels[code] + levels[code + 1]) / 2.0;
        code += 1;
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
        for (code, threshold) in NF4_THRESHOLDS.iter().enumerate() {
            assert!(NF4[code] < *threshold && *threshold < NF4[code + 1], "threshold {code}");
        }
    }

    #[test]
    fn zero_has_its_own_code() {
        assert_eq!(NF4[usize::from(ZERO_CODE)], 0.0);
        assert_eq!(NF4_PAIRS[0x7f], [0.0, 1.0]);
        assert_eq!(NF4_PAIRS[0x10], [NF4[1], -1.0]);
    }
}
