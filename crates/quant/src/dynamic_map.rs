use std::sync::LazyLock;

const EXPONENT_BITS: i32 = 7;

static SIGNED: LazyLock<Table> = LazyLock::new(|| Table::new(DynamicMap::Signed));
static UNSIGNED: LazyLock<Table> = LazyLock::new(|| Table::new(DynamicMap::Unsigned));

/// An 8-bit dynamic map: which 256 values the codes stand for.
///
/// Dettmers et al., "8-bit Optimizers via Block-wise Quantization" (2021), section 2.3: linear steps within each power
/// of ten, from 1 down to 1e-6. Equal, bit for bit, to `create_dynamic_map` of bitsandbytes 0.50.2 with torch 2.15.0 on
/// CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DynamicMap {
    /// Values of both signs. For `i` in `0..7`, the `2^i` midpoints of a linear grid over [0.1, 1] are scaled by `10^(i
    /// - 6)` and taken with both signs; 0 and 1 complete the 256 values. There is no -1: the lowest is -0.9929687.
    Signed,
    /// Values from 0 on, with twice as many steps: `2^(i + 1)` midpoints, and 0 and 1.
    Unsigned,
}

impl DynamicMap {
    /// The 256 values, rising; a code is an index into this table.
    pub fn values(self) -> &'static [f32; 256] {
        &self.table().values
    }

    pub(crate) fn table(self) -> &'static Table {
        match self {
            Self::Signed => &SIGNED,
            Self::Unsigned => &UNSIGNED,
        }
    }
}

/// The values of [`DynamicMap::Signed`].
pub fn dynamic_map_signed() -> &'static [f32; 256] {
    DynamicMap::Signed.values()
}

/// The values of [`DynamicMap::Unsigned`].
pub fn dynamic_map_unsigned() -> &'static [f32; 256] {
    DynamicMap::Unsigned.values()
}

/// A map in the forms that quantization needs.
pub(crate) struct Table {
    pub(crate) values: [f32; 256],
    /// The f32 midpoint above every value; infinity above the last.
    thresholds: [f32; 256],
    /// For every upper half of the bits of an f32, the code of the lowest number that has it.
    ///
    /// Two thresholds never share an upper half: the steps of a map are wider than 7 bits of mantissa are apart.
    first: Box<[u8; 1 << 16]>,
    /// The same for magnitudes from 2⁻²³ on, below which there is no threshold, in a table that stays in the nearest
    /// cache: in the lower half the number of positive thresholds below the cell's lowest number, in the upper half the
    /// lower half of the threshold in it, or ffff where there is none.
    pub(crate) cells: Box<[u32; CELLS]>,
}

/// The upper half of the bits of 2⁻²³.
pub(crate) const LOWEST_CELL: u32 = (127 - 23) << 7;

/// Cells from [`LOWEST_CELL`] up to, not including, 2.
pub(crate) const CELLS: usize = (23 + 1) << 7;

impl Table {
    fn new(map: DynamicMap) -> Self {
        let values = create(map);
        let middle = |code: usize| (values[code] + values[code + 1]) / 2.0;
        let thresholds = std::array::from_fn(|code| if code < 255 { middle(code) } else { f32::INFINITY });
        let lowest = |upper: u32| if upper < 0x8000 { upper << 16 } else { (upper << 16) | 0xffff };
        let mut first = Box::new([0; 1 << 16]);
        for (upper, code) in (0u32..).zip(first.iter_mut()) {
            *code = rank(&thresholds, f32::from_bits(lowest(upper)));
        }
        // The last one is infinity: none.
        let positive = || thresholds[..255].iter().filter(|x| **x > 0.0).map(|x| x.to_bits());
        let mut cells = Box::new([0; CELLS]);
        for (upper, cell) in (LOWEST_CELL..).zip(cells.iter_mut()) {
            let below = positive().filter(|bits| *bits < upper << 16).count() as u32;
            let inside = positive().find(|bits| bits >> 16 == upper);
            *cell = inside.map_or(0xffff, |bits| bits & 0xffff) << 16 | below;
        }
        Self { values, thresholds, first, cells }
    }

    /// The code nearest to a number; one on a midpoint takes the lower code.
    #[inline]
    pub(crate) fn nearest(&self, x: f32) -> u8 {
        let code = self.first[(x.to_bits() >> 16) as usize];
        code + u8::from(x > self.thresholds[usize::from(code)])
    }

    /// The definition of [`Table::nearest`]: the number of thresholds below `x`.
    pub(crate) fn nearest_reference(&self, x: f32) -> u8 {
        rank(&self.thresholds, x)
    }
}

fn rank(thresholds: &[f32; 256], x: f32) -> u8 {
    thresholds.partition_point(|threshold| x > *threshold) as u8
}

fn create(map: DynamicMap) -> [f32; 256] {
    let mut values: Vec<f32> = vec![0.0, 1.0];
    for i in 0..EXPONENT_BITS {
        let scale = 10f64.powi(i - (EXPONENT_BITS - 1)) as f32;
        let steps = match map {
            DynamicMap::Signed => 1usize << i,
            DynamicMap::Unsigned => 2usize << i,
        };
        for edges in linspace(steps + 1).windows(2) {
            let value = scale * ((edges[0] + edges[1]) / 2.0);
            values.push(value);
            if map == DynamicMap::Signed {
                values.push(-value);
            }
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

    const MAPS: [DynamicMap; 2] = [DynamicMap::Signed, DynamicMap::Unsigned];

    #[test]
    fn maps_rise_and_have_the_known_ends() {
        let [signed, unsigned] = MAPS.map(DynamicMap::values);
        for map in [signed, unsigned] {
            assert!(map.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(map[255], 1.0);
        }
        assert_eq!((signed[127], unsigned[0]), (0.0, 0.0));
        assert_eq!(signed[0], -signed[254]);
        assert!((signed[254] - 0.99296874).abs() < 1e-6);
        assert!((signed[128] - 5.5e-7).abs() < 1e-12);
        assert!((unsigned[1] - 3.25e-7).abs() < 1e-12);
    }

    #[test]
    fn nearest_is_the_nearest_and_ties_go_down() {
        for table in MAPS.map(DynamicMap::table) {
            for (code, value) in (0u8..=255).zip(table.values) {
                assert_eq!(table.nearest(value), code);
            }
            for (code, threshold) in (0u8..255).zip(table.thresholds) {
                assert_eq!(table.nearest(threshold.next_down()), code);
                assert_eq!(table.nearest(threshold), code);
                assert_eq!(table.nearest(threshold.next_up()), code + 1);
            }
            assert_eq!((table.nearest(-2.0), table.nearest(2.0)), (0, 255));
        }
    }

    #[test]
    fn the_table_finds_what_the_definition_finds() {
        for table in MAPS.map(DynamicMap::table) {
            // Every upper half with its lowest, highest and some lower halves between.
            for upper in 0..=0xffffu32 {
                for lower in [0, 1, 0x1234, 0x7fff, 0x8000, 0xcafe, 0xffff] {
                    let x = f32::from_bits((upper << 16) | lower);
                    if !x.is_nan() {
                        assert_eq!(table.nearest(x), table.nearest_reference(x), "{x:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_thresholds_share_an_upper_half() {
        for table in MAPS.map(DynamicMap::table) {
            let upper = table.thresholds.map(|threshold| threshold.to_bits() >> 16);
            assert!(upper.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
