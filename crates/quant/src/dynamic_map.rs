use std::sync::LazyLock;

const EXPONENT_BITS: i32 = 7;

static SIGNED: LazyLock<[f32; 256]> = LazyLock::new(create_signed);
static SIGNED_THRESHOLDS: LazyLock<[f32; 255]> = LazyLock::new(|| {
    let map = dynamic_map_signed();
    std::array::from_fn(|code| (map[code] + map[code + 1]) / 2.0)
});

/// The signed 8-bit dynamic map, rising; a code is an index into this table.
///
/// Dettmers et al., "8-bit Optimizers via Block-wise Quantization" (2021), section 2.3. For `i` in `0..7`, the `2^i` midpoints
/// of a linear grid over [0.1, 1] are scaled by `10^(i - 6)` and taken with both signs; 0 and 1 complete the 256 values
/// (there is no -1). Equal, bit for bit, to `create_dynamic_map(signed=True)` of bitsandbytes 0.50.2 with torch 2.15.0 on CPU.
pub fn dynamic_map_signed() -> &'static [f32; 256] {
    &SIGNED
}

/// The 255 f32 midpoints between the values of the signed map.
pub(crate) fn dynamic_thresholds_signed() -> &'static [f32; 255] {
    &SIGNED_THRESHOLDS
}

/// The code nearest to `x`; a value on a midpoint takes the lower code.
pub(crate) fn nearest_signed(x: f32) -> u8 {
    let code = dynamic_thresholds_signed().partition_point(|threshold| x > *threshold);
    code as u8
}

fn create_signed() -> [f32; 256] {
    let mut values: Vec<f32> = vec![0.0, 1.0];
    for i in 0..EXPONENT_BITS {
        let scale = 10f64.powi(i - (EXPONENT_BITS - 1)) as f32;
        let grid = linspace((1usize << i) + 1);
        for edges in grid.windows(2) {
            let value = scale * ((edges[0] + edges[1]) / 2.0);
            values.extend([value, -value]);
        }
    }
    values.sort_by(f32::total_cmp);
    std::array::from_fn(|code| values[code])
}

/// torch's `linspace(0.1, 1, steps)` in f32: counted from the nearer end, each value rounded once.
fn linspace(steps: usize) -> Vec<f32> {
    let (first, last) = (0.1f32, 1.0f32);
    let step = (last - first) / (steps - 1) as f32;
    (0..steps)
        .map(|i| {
            if i < steps / 2 {
                step.mul_add(i as f32, first)
            } else {
                (-step).mul_add((steps - 1 - i) as f32, last)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_rises_and_has_the_known_ends() {
        let map = dynamic_map_signed();
        assert!(map.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(map[127], 0.0);
        assert_eq!(map[255], 1.0);
        assert_eq!(map[0], -map[254]);
        assert!((map[254] - 0.99296874).abs() < 1e-6);
        assert!((map[128] - 5.5e-7).abs() < 1e-12);
    }

    #[test]
    fn nearest_is_the_nearest_and_ties_go_down() {
        let map = dynamic_map_signed();
        for (code, value) in map.iter().enumerate() {
            assert_eq!(usize::from(nearest_signed(*value)), code);
        }
        for (code, threshold) in dynamic_thresholds_signed().iter().enumerate() {
            assert_eq!(usize::from(nearest_signed(*threshold)), code);
            assert_eq!(usize::from(nearest_signed(threshold.next_up())), code + 1);
        }
        assert_eq!(nearest_signed(-2.0), 0);
        assert_eq!(nearest_signed(2.0), 255);
    }
}
