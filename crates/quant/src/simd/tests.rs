use half::bf16;
use proptest::prelude::*;

use super::{Codes, Kernels, available, portable};
use crate::config::QuantType;

/// Around nothing, a pair, a register, a group, a block, and several blocks.
const SIZES: [usize; 20] = [0, 1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 127, 128, 129, 1023, 4097];

/// Values of mixed sizes and signs, with zeros among them; the same on every run.
fn sample(count: usize) -> Vec<f32> {
    let value = |i: usize| (i as f32 * 0.731).sin() * (1 + i % 7) as f32;
    (0..count).map(|i| if i.is_multiple_of(11) { 0.0 } else { value(i) }).collect()
}

/// Bytes in no order, and scales of both signs and very different sizes.
fn codes(bytes: usize, block_size: usize) -> (Vec<u8>, Vec<f32>) {
    let packed = (0..bytes).map(|i| (i * 167 + i / 256) as u8).collect();
    let scale = |i: usize| (i as f32 + 0.3).cos() * 10f32.powi(i as i32 % 13 - 6);
    (packed, (0..(2 * bytes).div_ceil(block_size)).map(scale).collect())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The part `start..start + count` restored by one version, as bits of f32 and of bf16.
fn restored(kernels: &Kernels, codes: Codes<'_>, start: usize, count: usize) -> (Vec<u32>, Vec<u16>) {
    let (mut wide, mut narrow) = (vec![f32::NAN; count], vec![u16::MAX; count]);
    (kernels.restore_f32)(codes, start, &mut wide);
    (kernels.restore_bf16)(codes, start, &mut narrow);
    (bits(&wide), narrow)
}

/// What `restored` must be, for the whole weight.
fn reference(quant_type: QuantType, codes: Codes<'_>) -> (Vec<u32>, Vec<u16>) {
    let Codes { packed, absmax, block_size, .. } = codes;
    let count = (2 * packed.len()).min(absmax.len() * block_size);
    let wide = quant_type.dequantize_reference(packed, absmax, block_size, count);
    let narrow = wide.iter().map(|value| bf16::from_f32(*value).to_bits()).collect();
    (bits(&wide), narrow)
}

fn quantized(
    kernels: &Kernels,
    quant_type: QuantType,
    weights: &[f32],
    block_size: usize,
) -> (Vec<u8>, Vec<u32>) {
    let mut packed = vec![0xaa; weights.len().div_ceil(2)];
    let mut absmax = vec![f32::NAN; weights.len().div_ceil(block_size)];
    (kernels.quantize)(quant_type.book(), weights, block_size, &mut packed, &mut absmax);
    (packed, bits(&absmax))
}

/// Every version with every code.
fn versions() -> impl Iterator<Item = (&'static Kernels, QuantType)> {
    available().into_iter().flat_map(|kernels| QuantType::ALL.map(|quant_type| (kernels, quant_type)))
}

#[test]
fn every_byte_is_restored() {
    let packed: Vec<u8> = (0..=255).collect();
    // The level 1 times a scale of these bits lies on or beside the middle between two values of bf16.
    let middles =
        [0x3f80_7fff, 0x3f80_8000, 0x3f80_8001, 0x3f81_7fff, 0x3f81_8000, 0x3f81_8001].map(f32::from_bits);
    let others = [1.0, -0.37, 3.0e38, f32::MIN_POSITIVE, f32::from_bits(3), 0.0, f32::INFINITY, f32::MAX];
    for scale in middles.into_iter().chain(others).chain([f32::NAN, f32::from_bits(0x7fff_ffff)]) {
        for (kernels, quant_type) in versions() {
            let codes = Codes { book: quant_type.book(), packed: &packed, absmax: &[scale], block_size: 512 };
            let (wide, narrow) = reference(quant_type, codes);
            let (found_wide, found_narrow) = restored(kernels, codes, 0, 512);
            // An infinity times the level zero is NaN, whose sign differs between compiler and machine.
            let nan = |bits: u32| if f32::from_bits(bits).is_nan() { f32::NAN.to_bits() } else { bits };
            let same = wide.iter().zip(&found_wide).all(|(a, b)| nan(*a) == nan(*b));
            assert!(same, "{}, {quant_type:?}: f32 with scale {scale}", kernels.name);
            let nan = |bits: u16| if bf16::from_bits(bits).is_nan() { 0x7fc0 } else { bits };
            let same = narrow.iter().zip(&found_narrow).all(|(a, b)| nan(*a) == nan(*b));
            assert!(same, "{}, {quant_type:?}: bf16 with scale {scale}", kernels.name);
        }
    }
}

#[test]
fn every_start_and_length_around_a_block_is_restored() {
    for block_size in [2, 6, 32, 64, 70, 128] {
        let (packed, absmax) = codes(3 * block_size, block_size);
        for (kernels, quant_type) in versions() {
            let codes = Codes { book: quant_type.book(), packed: &packed, absmax: &absmax, block_size };
            let (wide, narrow) = reference(quant_type, codes);
            for start in 0..=2 * block_size + 1 {
                let most = wide.len() - start;
                for count in SIZES.into_iter().filter(|count| *count < most).chain([most - 1, most]) {
                    let (found_wide, found_narrow) = restored(kernels, codes, start, count);
                    let name = kernels.name;
                    let at =
                        format!("{name}, {quant_type:?}: {count} from {start} in blocks of {block_size}");
                    assert_eq!(found_wide, wide[start..start + count], "{at}, f32");
                    assert_eq!(found_narrow, narrow[start..start + count], "{at}, bf16");
                }
            }
        }
    }
}

#[test]
fn every_size_is_quantized() {
    for block_size in [32, 64, 256, 4096] {
        for count in SIZES {
            let weights = sample(count);
            for (kernels, quant_type) in versions() {
                let (packed, absmax) = quant_type.quantize_reference(&weights, block_size);
                let found = quantized(kernels, quant_type, &weights, block_size);
                let at = format!("{}, {quant_type:?}: {count} in blocks of {block_size}", kernels.name);
                assert_eq!(found, (packed, bits(&absmax)), "{at}");
            }
        }
    }
}

#[test]
fn every_threshold_takes_the_lower_level() {
    let around = |threshold: f32| [threshold.next_down(), threshold, threshold.next_up()];
    // A block whose scale is 1, and blocks where the product with a reciprocal is rounded.
    for scale in [1.0f32, 0.3, 7.0, 1.0e-20, 1.0e20] {
        for (kernels, quant_type) in versions() {
            let mut weights = vec![scale];
            let thresholds = quant_type.book().thresholds;
            weights.extend(thresholds.into_iter().flat_map(around).map(|value| value * scale));
            weights.resize(64, -0.0);
            let (packed, _) = quant_type.quantize_reference(&weights, 64);
            let found = quantized(kernels, quant_type, &weights, 64).0;
            assert_eq!(found, packed, "{}, {quant_type:?}: scale {scale}", kernels.name);
        }
    }
}

#[test]
fn zeros_subnormals_and_what_is_not_finite_agree() {
    let values = [0.0, -0.0, f32::from_bits(1), -f32::from_bits(900), 1.0e-39, 2.9e-39, f32::MIN_POSITIVE];
    let others = [1.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
    for largest in values.into_iter().chain(others) {
        for count in [1, 31, 64, 65, 100] {
            let mut weights: Vec<f32> = (0..count).map(|i| values[i % values.len()].min(largest)).collect();
            weights[count / 2] = largest;
            for (kernels, quant_type) in versions() {
                let wanted = quantized(&portable::KERNELS, quant_type, &weights, 64);
                let found = quantized(kernels, quant_type, &weights, 64);
                assert_eq!(found, wanted, "{}, {quant_type:?}: {count} up to {largest}", kernels.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_finite_weights_are_quantized(
        values in prop::collection::vec(any::<u32>(), 0..300),
        near in -12i32..12,
    ) {
        // Any bits are mostly of very different sizes; a second weight has values of one size.
        let finite = |bits: &u32| Some(f32::from_bits(*bits)).filter(|value| value.is_finite());
        let any: Vec<f32> = values.iter().filter_map(finite).collect();
        let alike = values.iter().map(|bits| (*bits as i32) as f32 * 2f32.powi(near)).collect();
        for weights in [any, alike] {
            for (kernels, quant_type) in versions() {
                let (packed, absmax) = quant_type.quantize_reference(&weights, 64);
                let found = quantized(kernels, quant_type, &weights, 64);
                prop_assert_eq!(&found.0, &packed, "{}, {:?}", kernels.name, quant_type);
                prop_assert_eq!(&found.1, &bits(&absmax), "{}, {:?}", kernels.name, quant_type);
            }
        }
    }

    #[test]
    fn any_codes_are_restored(
        packed in prop::collection::vec(any::<u8>(), 1..300),
        scale in -1.0e30f32..1.0e30,
        ends in (0usize..600, 0usize..600),
    ) {
        let absmax: Vec<f32> = (0..10).map(|i| scale * 10f32.powi(-7 * i)).collect();
        for (kernels, quant_type) in versions() {
            let codes = Codes { book: quant_type.book(), packed: &packed, absmax: &absmax, block_size: 64 };
            let (wide, narrow) = reference(quant_type, codes);
            let (a, b) = (ends.0 % (wide.len() + 1), ends.1 % (wide.len() + 1));
            let (start, end) = (a.min(b), a.max(b));
            let (found_wide, found_narrow) = restored(kernels, codes, start, end - start);
            prop_assert_eq!(&found_wide, &wide[start..end], "{}, {:?}", kernels.name, quant_type);
            prop_assert_eq!(&found_narrow, &narrow[start..end], "{}, {:?}", kernels.name, quant_type);
        }
    }
}
