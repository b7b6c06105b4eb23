//! bitsandbytes' `quantize_blockwise` and the dynamic maps.
//!
//! Made with bitsandbytes 0.50.2 and torch 2.15.0 on CPU by docs/parity/make_fixtures.py, section bnb.

use burnisher_quant::{
    DynamicMap, EightBitState, dynamic_map_signed, dynamic_map_unsigned, quantize_8bit_reference,
};
use proptest::prelude::*;
use safetensors::SafeTensors;

use crate::fixtures::{bytes, floats, has, with_fixture};

const FILE: &str = "bnb/quant8.safetensors";
const WEIGHTS: &str = "bnb/quant4.safetensors";
/// What f32 rounding may add to an error, relative to the absmax of the block.
const ROUNDING: f32 = 1e-6;

#[test]
fn maps_equal_bitsandbytes() {
    with_fixture(FILE, |file| {
        assert_eq!(floats(file, "code.dynamic_signed").0, dynamic_map_signed());
        assert_eq!(floats(file, "code.dynamic_unsigned").0, dynamic_map_unsigned());
    });
}

/// bitsandbytes' own codes are the nearest ones, or restore a value nearly as close: its CPU table has 65,536 entries.
fn near_the_nearest(map: DynamicMap, scaled: f32, code: u8) -> bool {
    let distance = |value: &f32| (scaled - value).abs();
    let nearest = map.values().iter().map(distance).fold(f32::INFINITY, f32::min);
    distance(&map.values()[usize::from(code)]) <= nearest + 4e-5
}

/// Compares everything that bitsandbytes kept of one case.
fn check(file: &SafeTensors<'_>, values: &[f32], id: &str, map: DynamicMap, block_size: usize) {
    let state = EightBitState::quantize(values, map, block_size).expect(id);
    let absmax = floats(file, &format!("{id}.absmax")).0;
    assert_eq!(state.absmax(), absmax, "{id}: absmax");
    let nearest = format!("{id}.q_nearest");
    if has(file, &nearest) {
        assert_eq!(state.codes(), bytes(file, &nearest), "{id}: nearest codes");
    }
    let theirs = bytes(file, &format!("{id}.q"));
    for (i, (code, value)) in theirs.iter().zip(values).enumerate() {
        let largest = absmax[i / block_size];
        if largest > 0.0 {
            assert!(near_the_nearest(map, value / largest, *code), "{id}: element {i} has code {code}");
        }
    }
    let restored = format!("{id}.dequant");
    if has(file, &restored) {
        let state = EightBitState::new(map, theirs, absmax, block_size).expect(id);
        assert_eq!(state.dequantize(), floats(file, &restored).0, "{id}: restored");
    }
}

#[test]
fn codes_and_values_equal_bitsandbytes() {
    with_fixture(FILE, |file| {
        with_fixture(WEIGHTS, |weights| {
            let names = file.names();
            let mut ids: Vec<&str> =
                names.iter().filter_map(|name| name.strip_suffix(".plain.absmax")).collect();
            ids.sort();
            assert_eq!(ids.len(), 22);
            for id in ids {
                let (weight, block_size) = id.rsplit_once('.').expect("a weight and a block size");
                let values = floats(weights, &format!("w.{weight}")).0;
                let block_size = block_size.parse().expect("a block size");
                check(file, &values, &format!("{id}.plain"), DynamicMap::Signed, block_size);
            }
        });
        let values = floats(file, "w.unsigned1000").0;
        check(file, &values, "unsigned1000.256", DynamicMap::Unsigned, 256);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restored_values_are_within_half_a_step(
        values in prop::collection::vec(-1.0f32..=1.0, 0..700),
        exponent in -20i32..=20,
        unsigned in any::<bool>(),
        block_size in prop::sample::select(vec![32usize, 64, 256, 2048]),
    ) {
        let map = if unsigned { DynamicMap::Unsigned } else { DynamicMap::Signed };
        let value = |x: f32| if unsigned { x.abs() } else { x } * 10f32.powi(exponent);
        let values: Vec<f32> = values.into_iter().map(value).collect();
        let state = EightBitState::quantize(&values, map, block_size).expect("finite values");
        let (codes, absmax) = quantize_8bit_reference(&values, map, block_size);
        prop_assert_eq!(state.codes(), &codes[..]);
        prop_assert_eq!(state.absmax(), &absmax[..]);
        for (i, (restored, value)) in state.dequantize().iter().zip(&values).enumerate() {
            // Half the step around the value: the two levels beside it, or the lowest alone.
            let largest = absmax[i / block_size];
            let above = map.values().partition_point(|level| level * largest < *value).min(255);
            let (below, above) = (map.values()[above.saturating_sub(1)], map.values()[above]);
            let step = if value / largest < map.values()[0] { 2.0 * (1.0 + map.values()[0]) } else { above - below };
            let bound = largest * (0.5 * step + ROUNDING);
            prop_assert!((restored - value).abs() <= bound, "element {}: {} for {}", i, restored, value);
        }
        let again = EightBitState::quantize(&state.dequantize(), map, block_size).expect("finite values");
        // Without a level -1, a block whose largest value is negative gets a smaller absmax.
        if unsigned {
            prop_assert_eq!(again, state);
        }
    }
}
