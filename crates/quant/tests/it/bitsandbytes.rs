//! bitsandbytes' own bytes: `quantize_4bit` cases and a saved 4-bit checkpoint.
//!
//! Made with bitsandbytes 0.50.2 and torch 2.15.0 on CPU; the small cases by docs/parity/subset_quant4.py.

use std::path::Path;

use burnisher_quant::{
    Absmax, FP4, NF4, QuantConfig, QuantState, QuantType, SourceDtype, dynamic_map_signed,
};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::fixtures::{bytes, committed, fixture, floats, has, raw, read, shared};

const SMALL: &str = "bnb/quant4_small";
const WHOLE: &str = "bnb/quant4";

/// Packed bytes without those of all-zero blocks, whose codes differ between bitsandbytes' backends.
fn without_zero_blocks(packed: &[u8], absmax: &[f32], block_size: usize) -> Vec<u8> {
    let blocks = packed.chunks(block_size / 2).zip(absmax);
    blocks.filter(|(_, largest)| **largest != 0.0).flat_map(|(bytes, _)| bytes.to_vec()).collect()
}

fn round(values: &[f32], dtype: SourceDtype) -> Vec<f32> {
    values.iter().map(|value| dtype.round(*value)).collect()
}

/// Quantizes the weight of one case and compares everything that bitsandbytes kept of it.
fn check_case(file: &SafeTensors<'_>, case: &Value) {
    let id = case["id"].as_str().expect("id");
    let tensor = |key: &str| format!("{id}.{key}");
    let weight_name = id.split('.').next().expect("weight name");
    let (weights, source_dtype) = floats(file, &format!("w.{weight_name}"));
    let shape: Vec<usize> = serde_json::from_value(case["shape"].clone()).expect("shape");
    let shape = <[usize; 2]>::try_from(shape).unwrap_or([1, weights.len()]);
    let block_size: usize = serde_json::from_value(case["blocksize"].clone()).expect("blocksize");
    let nested = case["nested"].as_bool().expect("nested");

    let quant_type = if case["quant_type"] == "fp4" { QuantType::Fp4 } else { QuantType::Nf4 };
    let config = QuantConfig::new(quant_type).with_block_size(block_size).with_source_dtype(source_dtype);
    let exact_absmax = config.quantize(&weights, shape).expect(id).absmax_values();
    let state = config.with_double_quant(nested).quantize(&weights, shape).expect(id);

    let packed = bytes(file, &tensor("packed"));
    assert_eq!(state.packed().len(), packed.len(), "{id}");
    assert_eq!(
        without_zero_blocks(state.packed(), &exact_absmax, block_size),
        without_zero_blocks(&packed, &exact_absmax, block_size),
        "{id}: packed bytes"
    );
    let theirs = match state.absmax() {
        Absmax::Plain(values) => {
            let (wanted, _) = floats(file, &tensor("absmax"));
            assert_eq!(values, &wanted, "{id}: absmax");
            Absmax::Plain(wanted)
        }
        Absmax::Nested { .. } => check_nested(file, id, state.absmax()),
    };

    let theirs = QuantState::new(quant_type, packed, theirs, shape, block_size, source_dtype).expect(id);
    let restored = theirs.dequantize();
    for (key, dtype) in [("dequant", source_dtype), ("dequant_bf16", SourceDtype::Bf16)] {
        if has(file, &tensor(key)) {
            let (wanted, stored) = floats(file, &tensor(key));
            assert_eq!(stored, dtype, "{id}.{key}");
            assert_eq!(round(&restored, dtype), wanted, "{id}.{key}");
        }
    }
}

/// Compares a nested absmax and returns bitsandbytes' own.
fn check_nested(file: &SafeTensors<'_>, id: &str, ours: &Absmax) -> Absmax {
    let Absmax::Nested { codes, nested_absmax, offset, block_size } = ours else {
        panic!("{id}: absmax is not nested");
    };
    assert_eq!(*block_size, 256, "{id}");
    // torch sums the mean in f32: the last bit of the offset, and so of the scales, may differ.
    let wanted_offset = floats(file, &format!("{id}.offset")).0[0];
    let slack = f32::EPSILON * wanted_offset.abs();
    assert!((offset - wanted_offset).abs() <= slack, "{id}: offset {offset}, wanted {wanted_offset}");
    let (wanted_scales, _) = floats(file, &format!("{id}.nested_absmax"));
    assert_eq!(nested_absmax.len(), wanted_scales.len(), "{id}: nested blocks");
    for (scale, wanted) in nested_absmax.iter().zip(&wanted_scales) {
        let slack = slack + f32::EPSILON * wanted;
        assert!((scale - wanted).abs() <= slack, "{id}: nested absmax {scale}, wanted {wanted}");
    }

    let wanted_codes = bytes(file, &format!("{id}.absmax_u8"));
    assert_eq!(codes.len(), wanted_codes.len(), "{id}: blocks");
    for (block, (code, wanted)) in codes.iter().zip(&wanted_codes).enumerate() {
        // A single block is its own mean: the scale is 0, and every code stands for 0.
        if wanted_scales[block / 256] == 0.0 {
            continue;
        }
        // bitsandbytes' CPU table of 65,536 entries takes a neighbour near midpoints, and 131 for an exact zero.
        let near = code.abs_diff(*wanted) <= 1 || (*code, *wanted) == (127, 131);
        assert!(near, "{id}: block {block} has code {code}, wanted {wanted}");
    }
    let nearest = format!("{id}.absmax_u8_nearest");
    if has(file, &nearest) && wanted_scales.iter().all(|scale| *scale != 0.0) {
        assert_eq!(codes, &bytes(file, &nearest), "{id}: nearest codes");
    }
    Absmax::Nested {
        codes: wanted_codes,
        nested_absmax: wanted_scales,
        offset: wanted_offset,
        block_size: 256,
    }
}

/// Checks every case of a file and returns how many there are of NF4 and of FP4.
fn check_cases(tensors: &Path, table: &Path) -> (usize, usize) {
    let data = read(tensors);
    let file = SafeTensors::deserialize(&data).expect("a safetensors file");
    let table: Value = serde_json::from_slice(&read(table)).expect("a JSON file");
    let cases = table["cases"].as_array().expect("cases");
    cases.iter().for_each(|case| check_case(&file, case));
    let fp4 = cases.iter().filter(|case| case["quant_type"] == "fp4").count();
    (cases.len() - fp4, fp4)
}

#[test]
fn small_cases_equal_bitsandbytes() {
    let tensors = committed(&format!("{SMALL}.safetensors"));
    let table = committed(&format!("{SMALL}.json"));
    assert_eq!(check_cases(&tensors, &table).0, 42);
}

#[test]
fn all_cases_equal_bitsandbytes() {
    let tensors = shared(&format!("{WHOLE}.safetensors"));
    let table = shared(&format!("{WHOLE}.json"));
    if let (Some(tensors), Some(table)) = (tensors, table) {
        assert_eq!(check_cases(&tensors, &table), (46, 44));
    }
}

#[test]
fn code_tables_equal_bitsandbytes() {
    let data = read(&committed(&format!("{SMALL}.safetensors")));
    let file = SafeTensors::deserialize(&data).expect("a safetensors file");
    assert_eq!(floats(&file, "code.nf4").0, NF4);
    assert_eq!(floats(&file, "code.dynamic_signed").0, dynamic_map_signed());
    let Some(path) = shared(&format!("{WHOLE}.safetensors")) else { return };
    let data = read(&path);
    let file = SafeTensors::deserialize(&data).expect("a safetensors file");
    assert_eq!(floats(&file, "code.fp4").0, FP4);
}

/// Saved checkpoints: the type of their weights and their path.
const CHECKPOINTS: [(&str, &str); 2] = [("nf4", "bnb/ckpt_nf4_double"), ("fp4", "bnb/ckpt_fp4_plain")];

#[test]
fn a_saved_checkpoint_is_read_and_written_back_byte_for_byte() {
    for (quant_type, checkpoint) in CHECKPOINTS {
        let Some(path) = fixture(&format!("{checkpoint}/model.safetensors")) else { continue };
        let data = read(&path);
        let file = SafeTensors::deserialize(&data).expect("a safetensors file");
        let names = file.names();
        let suffix = format!(".quant_state.bitsandbytes__{quant_type}");
        let weights: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(&suffix)).collect();
        assert_eq!(weights.len(), 14);
        for weight in weights {
            let state = QuantState::from_tensors(weight, |name| raw(&file, name)).expect(weight);
            assert_eq!(state.quant_type().as_str(), quant_type);
            assert_eq!(state.source_dtype(), SourceDtype::F32);
            let written = state.to_tensors(weight);
            let keys = names.iter().filter(|name| {
                name.strip_prefix(weight).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            assert_eq!(written.len(), keys.count(), "{weight}");
            for (name, tensor) in written {
                assert_eq!(raw(&file, &name).as_ref(), Some(&tensor), "{name}");
            }
        }
    }
}

#[test]
fn a_saved_checkpoint_restores_bitsandbytes_values() {
    for (_, checkpoint) in CHECKPOINTS {
        let reference = fixture(&format!("{checkpoint}_reference.safetensors"));
        let checkpoint = fixture(&format!("{checkpoint}/model.safetensors"));
        let (Some(checkpoint), Some(reference)) = (checkpoint, reference) else { continue };
        let (data, wanted) = (read(&checkpoint), read(&reference));
        let file = SafeTensors::deserialize(&data).expect("a safetensors file");
        let wanted = SafeTensors::deserialize(&wanted).expect("a safetensors file");
        let mut compared = 0;
        for name in wanted.names() {
            let Some(module) = name.strip_prefix("dequant.") else { continue };
            let weight = format!("{module}.weight");
            let state = QuantState::from_tensors(&weight, |name| raw(&file, name)).expect(module);
            let shape = wanted.tensor(name).expect(name).shape().to_vec();
            assert_eq!(state.shape().to_vec(), shape, "{module}");
            assert_eq!(state.dequantize(), floats(&wanted, name).0, "{module}");
            compared += 1;
        }
        assert_eq!(compared, 2);
    }
}
