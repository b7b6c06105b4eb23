//! What holds for every weight.

use burnisher_quant::{
    Absmax, QuantConfig, QuantState, QuantType, SourceDtype, dequantize_range, dequantize_range_bf16,
    dequantize_reference, dynamic_map_signed, error_report, quantize_reference,
};
use half::bf16;
use proptest::prelude::*;

const SIZES: [usize; 6] = [0, 1, 63, 64, 65, 255];
const BLOCK_SIZES: [usize; 8] = [32, 64, 128, 256, 512, 1024, 2048, 4096];
const TYPES: [QuantType; 2] = [QuantType::Nf4, QuantType::Fp4];
/// What f32 rounding may add to an error, relative to the absmax of the block.
const ROUNDING: f32 = 1e-6;

/// The largest error of rounding a value in [-1, 1] to the nearest of levels up to 1.
fn largest_error(levels: &[f32]) -> f32 {
    let mut levels = levels.to_vec();
    levels.sort_by(f32::total_cmp);
    let gaps = levels.windows(2).map(|pair| (pair[1] - pair[0]) / 2.0);
    gaps.fold(levels[0] + 1.0, f32::max)
}

/// The bound on the error of each block: of the codes, and of the absmax if they are nested.
fn bounds(state: &QuantState, absmax: &[f32]) -> Vec<f32> {
    let codes = largest_error(state.quant_type().levels()) + ROUNDING;
    let map = largest_error(dynamic_map_signed()) + ROUNDING;
    let bound = |(block, largest): (usize, &f32)| match state.absmax() {
        Absmax::Plain(_) => largest * codes,
        Absmax::Nested { nested_absmax, offset, block_size, .. } => {
            let scale = nested_absmax[block / block_size];
            largest * codes + scale * map + (scale + offset.abs()) * ROUNDING
        }
    };
    absmax.iter().enumerate().map(bound).collect()
}

/// Weights with zeros among them, of any usual scale.
fn weights() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![1 => Just(0.0f32), 9 => -1.0f32..=1.0];
    (prop::collection::vec(value, 0..700), -20i32..=20).prop_map(|(values, exponent)| {
        let scale = 10f32.powi(exponent);
        values.into_iter().map(|value| value * scale).collect::<Vec<f32>>()
    })
}

fn configs() -> impl Strategy<Value = QuantConfig> {
    let sources = vec![SourceDtype::F32, SourceDtype::Bf16, SourceDtype::F16];
    let parts = (
        prop::sample::select(TYPES.to_vec()),
        prop::sample::select(BLOCK_SIZES.to_vec()),
        any::<bool>(),
        prop::sample::select(sources),
    );
    parts.prop_map(|(quant_type, block_size, double_quant, source_dtype)| {
        QuantConfig::new(quant_type)
            .with_block_size(block_size)
            .with_double_quant(double_quant)
            .with_source_dtype(source_dtype)
    })
}

/// Values of one size, the same on every run.
fn waves(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 1.7).sin() * (1 + i % 5) as f32).collect()
}

fn few_cases() -> ProptestConfig {
    ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn restored_values_are_within_half_a_gap(weights in weights(), config in configs()) {
        let shape = [1, weights.len()];
        let state = config.quantize(&weights, shape).expect("finite weights");
        prop_assert_eq!(state.packed().len(), weights.len().div_ceil(2));
        prop_assert_eq!(state.absmax().blocks(), weights.len().div_ceil(config.block_size));

        let (_, absmax) = config.quant_type.quantize_reference(&weights, config.block_size);
        let bounds = bounds(&state, &absmax);
        let restored = state.dequantize();
        for (i, (value, original)) in restored.iter().zip(&weights).enumerate() {
            let error = (value - original).abs();
            let bound = bounds[i / config.block_size];
            prop_assert!(error <= bound, "element {}: {} for {}, bound {}", i, value, original, bound);
        }
        let report = error_report(&weights, &restored, config.block_size).expect("equal lengths");
        prop_assert!(report.max_abs <= bounds.iter().copied().fold(0.0, f32::max));
        prop_assert!(report.rms <= report.max_abs * (1.0 + ROUNDING));
    }

    #[test]
    fn fast_and_reference_agree(weights in weights(), config in configs()) {
        let state = config.quantize(&weights, [weights.len(), 1]).expect("finite weights");
        let (packed, absmax) = config.quant_type.quantize_reference(&weights, config.block_size);
        prop_assert_eq!(state.packed(), &packed[..]);
        if let Absmax::Plain(values) = state.absmax() {
            prop_assert_eq!(values, &absmax);
        }
        let scales = state.absmax_values();
        let wanted =
            config.quant_type.dequantize_reference(&packed, &scales, config.block_size, weights.len());
        let mut rounded = vec![u16::MAX; weights.len()];
        state.dequantize_bf16_into(&mut rounded).expect("as many places as elements");
        let bits = |value: &f32| bf16::from_f32(*value).to_bits();
        prop_assert_eq!(rounded, wanted.iter().map(bits).collect::<Vec<u16>>());
        prop_assert_eq!(state.dequantize(), wanted);
    }

    #[test]
    fn a_restored_weight_stays_as_it_is(weights in weights(), config in configs()) {
        let config = config.with_double_quant(false);
        let state = config.quantize(&weights, [1, weights.len()]).expect("finite weights");
        let again = config.quantize(&state.dequantize(), [1, weights.len()]).expect("finite weights");
        prop_assert_eq!(again.dequantize(), state.dequantize());
        // FP4 has two codes of zero.
        if config.quant_type == QuantType::Nf4 {
            prop_assert_eq!(again, state);
        }
    }

    #[test]
    fn the_functions_without_a_type_are_those_of_nf4(weights in weights()) {
        let (packed, absmax) = quantize_reference(&weights, 64);
        let (wanted_packed, wanted_absmax) = QuantType::Nf4.quantize_reference(&weights, 64);
        prop_assert_eq!(&packed, &wanted_packed);
        prop_assert_eq!(&absmax, &wanted_absmax);
        let wanted = QuantType::Nf4.dequantize_reference(&packed, &absmax, 64, weights.len());
        prop_assert_eq!(&dequantize_reference(&packed, &absmax, 64, weights.len()), &wanted);
        let (mut restored, mut rounded) = (vec![f32::NAN; weights.len()], vec![u16::MAX; weights.len()]);
        dequantize_range(&packed, &absmax, 64, 0, &mut restored);
        prop_assert_eq!(&restored, &wanted);
        dequantize_range_bf16(&packed, &absmax, 64, 0, &mut rounded);
        let bits = |value: &f32| bf16::from_f32(*value).to_bits();
        prop_assert_eq!(rounded, wanted.iter().map(bits).collect::<Vec<u16>>());
    }

    #[test]
    fn a_range_equals_that_part_of_the_whole(
        weights in weights(),
        config in configs(),
        ends in (0.0f64..=1.0, 0.0f64..=1.0),
    ) {
        let state = config.quantize(&weights, [1, weights.len()]).expect("finite weights");
        let whole = state.dequantize();
        let place = |fraction: f64| (fraction * weights.len() as f64) as usize;
        let (start, end) = (place(ends.0.min(ends.1)), place(ends.0.max(ends.1)));
        let (packed, absmax) = (state.packed(), state.absmax_values());
        let mut part = vec![f32::NAN; end - start];
        config.quant_type.dequantize_range(packed, &absmax, config.block_size, start, &mut part);
        prop_assert_eq!(&part[..], &whole[start..end]);
        let mut rounded = vec![u16::MAX; end - start];
        config.quant_type.dequantize_range_bf16(packed, &absmax, config.block_size, start, &mut rounded);
        let bits = |value: &f32| bf16::from_f32(*value).to_bits();
        prop_assert_eq!(rounded, whole[start..end].iter().map(bits).collect::<Vec<u16>>());
    }

    #[test]
    fn tensors_read_back_as_the_same_state(weights in weights(), config in configs()) {
        let state = config.quantize(&weights, [weights.len(), 1]).expect("finite weights");
        let tensors = state.to_tensors("a.weight");
        prop_assert_eq!(tensors.len(), if config.double_quant { 6 } else { 4 });
        let read = QuantState::from_tensors("a.weight", |wanted| {
            tensors.iter().find(|(name, _)| name == wanted).map(|(_, tensor)| tensor.clone())
        });
        prop_assert_eq!(read.expect("a sound state"), state);
    }
}

#[test]
fn ranges_of_edge_sizes_equal_the_whole() {
    for (quant_type, block_size) in [(QuantType::Nf4, 32), (QuantType::Nf4, 64), (QuantType::Fp4, 64)] {
        for count in SIZES {
            let config = QuantConfig::new(quant_type).with_block_size(block_size);
            let state = config.quantize(&waves(count), [1, count]).expect("finite weights");
            let (whole, absmax) = (state.dequantize(), state.absmax_values());
            assert_eq!(state.packed().len(), count.div_ceil(2));
            for start in 0..=count {
                for end in start..=count {
                    let mut part = vec![f32::NAN; end - start];
                    quant_type.dequantize_range(state.packed(), &absmax, block_size, start, &mut part);
                    assert_eq!(part, whole[start..end], "{start}..{end} of {count}");
                }
            }
        }
    }
}

#[test]
fn every_length_packs_and_unpacks_in_every_block() {
    // Levels times a power of two come back bit for bit.
    for quant_type in TYPES {
        let levels = quant_type.levels();
        for block_size in BLOCK_SIZES {
            for count in (0..=130).chain([block_size - 1, block_size, block_size + 1]) {
                let level = |i: usize| if i.is_multiple_of(block_size) { 1.0 } else { levels[i * 7 % 16] };
                let weights: Vec<f32> = (0..count).map(|i| level(i) * 0.5).collect();
                let config = QuantConfig::new(quant_type).with_block_size(block_size);
                let state = config.quantize(&weights, [count, 1]).expect("finite weights");
                assert_eq!(
                    state.dequantize(),
                    weights,
                    "{count} of {quant_type:?} in blocks of {block_size}"
                );
            }
        }
    }
}

#[test]
fn edge_sizes_keep_every_bound_and_length() {
    for double_quant in [false, true] {
        for count in SIZES {
            let weights = waves(count);
            let config = QuantConfig::nf4().with_double_quant(double_quant);
            let state = config.quantize(&weights, [count, 1]).expect("finite weights");
            let (_, absmax) = quantize_reference(&weights, 64);
            let bounds = bounds(&state, &absmax);
            assert_eq!(bounds.len(), count.div_ceil(64));
            let mut restored = vec![f32::NAN; count];
            state.dequantize_into(&mut restored).expect("as many places as elements");
            for (i, (value, original)) in restored.iter().zip(&weights).enumerate() {
                assert!((value - original).abs() <= bounds[i / 64], "element {i} of {count}");
            }
            let scales = if double_quant {
                count.div_ceil(64) + 4 + 4 * count.div_ceil(64 * 256)
            } else {
                4 * count.div_ceil(64)
            };
            assert_eq!(state.size_bytes(), count.div_ceil(2) + scales);
        }
    }
}

#[test]
fn many_nested_blocks_restore_their_absmax() {
    let weights = waves(64 * 700 + 5);
    let state = QuantConfig::nf4()
        .with_double_quant(true)
        .quantize(&weights, [1, weights.len()])
        .expect("finite weights");
    let (_, absmax) = quantize_reference(&weights, 64);
    let Absmax::Nested { codes, nested_absmax, .. } = state.absmax() else {
        panic!("absmax are not nested");
    };
    assert_eq!((codes.len(), nested_absmax.len()), (701, 3));
    let map = largest_error(dynamic_map_signed()) + ROUNDING;
    for (block, (restored, wanted)) in state.absmax_values().iter().zip(&absmax).enumerate() {
        let bound = nested_absmax[block / 256] * map + wanted * ROUNDING;
        assert!((restored - wanted).abs() <= bound, "block {block}: {restored}, wanted {wanted}");
    }
}
