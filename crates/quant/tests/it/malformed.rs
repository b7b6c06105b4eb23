//! Input that lies: each case is one clear error, never a panic.

use std::collections::BTreeMap;

use burnisher_quant::{
    Absmax, QuantConfig, QuantError, QuantState, QuantType, RawDtype, RawTensor, SourceDtype, error_report,
};

const NAME: &str = "layers.0.q_proj.weight";
const STATE: &str = "layers.0.q_proj.weight.quant_state.bitsandbytes__nf4";

type Tensors = BTreeMap<String, RawTensor>;

/// A weight [5, 67]: an odd count, six blocks of 64.
fn tensors(double_quant: bool) -> Tensors {
    let weights: Vec<f32> = (0..5 * 67).map(|i| (i as f32 * 0.3).sin()).collect();
    let config = QuantConfig::nf4().with_double_quant(double_quant);
    let state = config.quantize(&weights, [5, 67]).expect("a sound weight");
    state.to_tensors(NAME).into_iter().collect()
}

fn read(tensors: &Tensors) -> Result<QuantState, QuantError> {
    QuantState::from_tensors(NAME, |name| tensors.get(name).cloned())
}

/// The tensor `NAME` + `suffix`.
fn at<'a>(tensors: &'a mut Tensors, suffix: &str) -> &'a mut RawTensor {
    tensors.get_mut(&format!("{NAME}{suffix}")).expect("a tensor of the state")
}

fn set_floats(tensor: &mut RawTensor, values: &[f32]) {
    *tensor = RawTensor {
        dtype: RawDtype::F32,
        shape: vec![values.len()],
        data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
}

fn set_bytes(tensor: &mut RawTensor, data: &[u8]) {
    *tensor = RawTensor { dtype: RawDtype::U8, shape: vec![data.len()], data: data.to_vec() };
}

/// Replaces a part of the JSON text.
fn edit(tensors: &mut Tensors, from: &str, to: &str) {
    let tensor = tensors.get_mut(STATE).expect("the description");
    let text = String::from_utf8(tensor.data.clone()).expect("JSON is UTF-8");
    assert!(text.contains(from), "{text} has no {from}");
    set_bytes(tensor, text.replace(from, to).as_bytes());
}

/// One lie told to a sound state, and the problem that must be reported.
struct Case {
    double_quant: bool,
    lie: fn(&mut Tensors),
    wanted: &'static str,
}

const CASES: &[Case] = &[
    Case {
        double_quant: false,
        lie: |t| drop(t.remove(STATE)),
        wanted: "tensor layers.0.q_proj.weight.quant_state.bitsandbytes__nf4 is missing",
    },
    Case {
        double_quant: true,
        lie: |t| drop(t.remove(NAME)),
        wanted: "tensor layers.0.q_proj.weight is missing",
    },
    Case {
        double_quant: false,
        lie: |t| set_bytes(at(t, ""), &[0x77; 167]),
        wanted: "tensor layers.0.q_proj.weight holds 167 values, wanted 168",
    },
    Case {
        double_quant: false,
        lie: |t| at(t, "").shape = vec![usize::MAX, 2],
        wanted: "tensor layers.0.q_proj.weight with shape [18446744073709551615, 2] and dtype U8 holds 168 bytes",
    },
    Case {
        double_quant: true,
        lie: |t| at(t, ".absmax").shape = vec![7],
        wanted: "tensor layers.0.q_proj.weight.absmax with shape [7] and dtype U8 holds 6 bytes",
    },
    Case {
        double_quant: false,
        lie: |t| set_floats(at(t, ".absmax"), &[1.0; 5]),
        wanted: "tensor layers.0.q_proj.weight.absmax holds 5 values, wanted 6",
    },
    Case {
        double_quant: false,
        lie: |t| set_floats(at(t, ".absmax"), &[1.0, 1.0, f32::NAN, 1.0, 1.0, 1.0]),
        wanted: "tensor layers.0.q_proj.weight.absmax: found NaN at index 2, wanted finite values",
    },
    Case {
        double_quant: true,
        lie: |t| set_floats(at(t, ".absmax"), &[1.0; 6]),
        wanted: "tensor layers.0.q_proj.weight.absmax has dtype F32, wanted U8",
    },
    Case {
        double_quant: false,
        lie: |t| set_bytes(at(t, ".absmax"), &[1; 6]),
        wanted: "tensor layers.0.q_proj.weight.absmax has dtype U8, wanted F32",
    },
    Case {
        double_quant: true,
        lie: |t| set_floats(at(t, ".nested_absmax"), &[1.0; 2]),
        wanted: "tensor layers.0.q_proj.weight.nested_absmax holds 2 values, wanted 1",
    },
    Case {
        double_quant: true,
        lie: |t| set_floats(at(t, ".nested_absmax"), &[f32::INFINITY]),
        wanted: "tensor layers.0.q_proj.weight.nested_absmax: found inf at index 0, wanted finite values",
    },
    Case {
        double_quant: false,
        lie: |t| at(t, ".quant_map").data[4..8].copy_from_slice(&(-0.5f32).to_le_bytes()),
        wanted: "tensor layers.0.q_proj.weight.quant_map: entry 1 is -0.5, wanted -0.6961928",
    },
    Case {
        double_quant: true,
        lie: |t| at(t, ".nested_quant_map").data[1020..].copy_from_slice(&f32::NAN.to_le_bytes()),
        wanted: "tensor layers.0.q_proj.weight.nested_quant_map: entry 255 is NaN, wanted 1",
    },
    Case {
        double_quant: true,
        lie: |t| set_floats(at(t, ".nested_quant_map"), &[0.0; 16]),
        wanted: "tensor layers.0.q_proj.weight.nested_quant_map holds 16 values, wanted 256",
    },
    Case {
        double_quant: false,
        lie: |t| set_bytes(at(t, ".quant_state.bitsandbytes__nf4"), b"{\"quant_type\": \"nf4\""),
        wanted: "tensor layers.0.q_proj.weight.quant_state.bitsandbytes__nf4 is not a quantization state: EOF",
    },
    Case {
        double_quant: false,
        lie: |t| set_bytes(at(t, ".quant_state.bitsandbytes__nf4"), &[0xff, 0xfe]),
        wanted: "is not a quantization state: ",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "\"blocksize\": 64, ", ""),
        wanted: "is not a quantization state: missing field `blocksize`",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "\"blocksize\": 64", "\"blocksize\": 48"),
        wanted: "field blocksize is 48, wanted a power of two from 32 to 4096",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "\"blocksize\": 64", "\"blocksize\": 0"),
        wanted: "field blocksize is 0, wanted a power of two from 32 to 4096",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "\"blocksize\": 64", "\"blocksize\": -64"),
        wanted: "is not a quantization state: invalid value: integer `-64`",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "\"nf4\"", "\"fp4\""),
        wanted: "field quant_type is \"fp4\", wanted \"nf4\"",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "\"float32\"", "\"float64\""),
        wanted: "field dtype is \"float64\", wanted \"float32\", \"bfloat16\" or \"float16\"",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "[5, 67]", "[5, 67, 1]"),
        wanted: "field shape is [5, 67, 1], wanted [out, in]",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "[5, 67]", "[18446744073709551615, 2]"),
        wanted: "field shape is [18446744073709551615, 2], wanted [out, in] with a product that can be addressed",
    },
    Case {
        double_quant: false,
        lie: |t| edit(t, "[5, 67]", "[1099511627776, 1024]"),
        wanted: "tensor layers.0.q_proj.weight holds 168 values, wanted 562949953421312",
    },
    Case {
        double_quant: true,
        lie: |t| edit(t, "\"nested_blocksize\": 256, ", ""),
        wanted: "field nested_blocksize, nested_dtype, nested_offset is partly there, wanted all three or none",
    },
    Case {
        double_quant: true,
        lie: |t| edit(t, "\"nested_blocksize\": 256", "\"nested_blocksize\": 100"),
        wanted: "field nested_blocksize is 100, wanted a power of two from 32 to 4096",
    },
    Case {
        double_quant: true,
        lie: |t| edit(t, "\"nested_dtype\": \"float32\"", "\"nested_dtype\": \"float16\""),
        wanted: "field nested_dtype is \"float16\", wanted \"float32\"",
    },
    Case {
        double_quant: true,
        lie: |t| edit(t, "\"nested_offset\": ", "\"nested_offset\": 1e300, \"was\": "),
        wanted: "field nested_offset is 1e300, wanted a finite f32",
    },
    Case {
        double_quant: true,
        lie: |t| edit(t, "\"nested_offset\": ", "\"nested_offset\": NaN, \"was\": "),
        wanted: "is not a quantization state: ",
    },
];

#[test]
fn every_lie_is_named() {
    for Case { double_quant, lie, wanted } in CASES {
        let mut tensors = tensors(*double_quant);
        lie(&mut tensors);
        let error = read(&tensors).expect_err(wanted);
        let text = error.to_string();
        assert!(text.starts_with("4-bit weight layers.0.q_proj.weight: "), "{text}");
        assert!(text.contains(wanted), "found: {text}\nwanted: {wanted}");
    }
}

#[test]
fn another_type_and_two_types_are_named() {
    let weights: Vec<f32> = (0..5 * 67).map(|i| (i as f32 * 0.3).sin()).collect();
    let state = QuantConfig::fp4().quantize(&weights, [5, 67]).expect("a sound weight");
    let sound: Tensors = state.to_tensors(NAME).into_iter().collect();
    assert_eq!(read(&sound).expect("a sound state"), state);

    let fp4 = format!("{NAME}.quant_state.bitsandbytes__fp4");
    let mut both = sound.clone();
    both.insert(STATE.to_owned(), sound[&fp4].clone());
    let error = read(&both).expect_err("two descriptions").to_string();
    assert!(error.ends_with(&format!("found both tensors {STATE} and {fp4}, wanted one of them")), "{error}");

    let mut renamed = sound;
    let description = renamed.remove(&fp4).expect("the description");
    renamed.insert(STATE.to_owned(), description);
    let error = read(&renamed).expect_err("another type").to_string();
    assert!(error.contains("field quant_type is \"fp4\", wanted \"nf4\""), "{error}");
    let map = format!("{NAME}.quant_map");
    renamed.insert(map.clone(), tensors(false)[&map].clone());
    edit(&mut renamed, "\"fp4\"", "\"nf4\"");
    let read = read(&renamed).expect("the same bytes under another type");
    assert_eq!(read.quant_type(), QuantType::Nf4);
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut tensors = tensors(true);
    tensors.remove(NAME);
    edit(&mut tensors, "\"blocksize\": 64", "\"blocksize\": 65");
    edit(&mut tensors, "[5, 67]", "[]");
    at(&mut tensors, ".quant_map").data.pop();
    set_floats(at(&mut tensors, ".nested_quant_map"), &[]);
    set_bytes(at(&mut tensors, ".nested_absmax"), &[0]);
    let error = read(&tensors).expect_err("six problems");
    let QuantError::Tensors { weight, problems } = &error else { panic!("{error}") };
    assert_eq!(weight, NAME);
    assert_eq!(problems.len(), 6, "{error}");
}

#[test]
fn nothing_at_all_is_three_missing_tensors_and_the_description() {
    let error = read(&Tensors::new()).expect_err("no tensors");
    let QuantError::Tensors { problems, .. } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 4, "{error}");
    assert!(problems.iter().all(|problem| matches!(problem, QuantError::MissingTensor { .. })), "{error}");
}

#[test]
fn packed_codes_may_be_stored_under_another_dtype() {
    let mut tensors = tensors(false);
    let sound = read(&tensors).expect("a sound state");
    let packed = at(&mut tensors, "");
    packed.dtype = RawDtype::Bf16;
    packed.shape = vec![84, 1];
    assert_eq!(read(&tensors).expect("the same bytes"), sound);
}

#[test]
fn unknown_fields_and_another_map_rounding_are_accepted() {
    let mut tensors = tensors(true);
    let sound = read(&tensors).expect("a sound state");
    edit(&mut tensors, "\"nested_dtype\"", "\"new\": [1], \"nested_dtype\"");
    let entry = &mut at(&mut tensors, ".nested_quant_map").data[..4];
    let bits = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
    entry.copy_from_slice(&(bits + 1).to_le_bytes());
    assert_eq!(read(&tensors).expect("a sound state"), sound);
}

#[test]
fn wrong_calls_are_errors() {
    let config = QuantConfig::nf4();
    let message = |result: Result<QuantState, QuantError>| result.expect_err("an error").to_string();
    for block_size in [0, 1, 16, 63, 96, 8192, usize::MAX] {
        let wanted = format!("weight: block size {block_size}, wanted a power of two from 32 to 4096");
        assert_eq!(message(config.with_block_size(block_size).quantize(&[1.0], [1, 1])), wanted);
    }
    assert_eq!(message(config.quantize(&[0.0; 5], [2, 3])), "weights: found 5 elements, wanted 6");
    assert!(matches!(config.quantize(&[], [usize::MAX, 2]), Err(QuantError::ShapeOverflow { .. })));

    let mut weights = vec![0.5; 200];
    weights[170] = f32::NEG_INFINITY;
    let wanted = "weights: found -inf at index 170, wanted finite values";
    assert_eq!(message(config.quantize(&weights, [2, 100])), wanted);
    weights[130] = f32::NAN;
    let wanted = "weights: found NaN at index 130, wanted finite values";
    assert_eq!(message(config.with_double_quant(true).quantize(&weights, [2, 100])), wanted);

    let state = config.quantize(&[1.0; 6], [2, 3]).expect("a sound weight");
    let error = state.dequantize_into(&mut [0.0; 7]).expect_err("seven places");
    assert_eq!(error.to_string(), "output of dequantize_into: found 7 elements, wanted 6");
    let error = state.dequantize_bf16_into(&mut [0; 5]).expect_err("five places");
    assert_eq!(error.to_string(), "output of dequantize_bf16_into: found 5 elements, wanted 6");
    assert!(matches!(error_report(&[], &[], 7), Err(QuantError::BlockSize { .. })));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let new = |packed: usize, absmax: Absmax, shape: [usize; 2], block_size: usize| {
        QuantState::new(QuantType::Nf4, vec![0; packed], absmax, shape, block_size, SourceDtype::Bf16)
            .map_err(|error| error.to_string())
    };
    let plain = |blocks: usize| Absmax::Plain(vec![1.0; blocks]);
    let nested = |codes: usize, scales: usize, offset: f32, block_size: usize| Absmax::Nested {
        codes: vec![0; codes],
        nested_absmax: vec![1.0; scales],
        offset,
        block_size,
    };
    assert!(new(33, plain(2), [5, 13], 64).is_ok());
    assert!(new(33, nested(2, 1, 0.5, 256), [5, 13], 64).is_ok());
    let refused = [
        (new(32, plain(2), [5, 13], 64), "packed bytes: found 32 elements, wanted 33"),
        (new(33, plain(3), [5, 13], 64), "absmax: found 3 elements, wanted 2"),
        (new(33, plain(2), [5, 13], 60), "weight: block size 60, wanted a power of two from 32 to 4096"),
        (new(33, nested(2, 2, 0.5, 256), [5, 13], 64), "nested absmax: found 2 elements, wanted 1"),
        (
            new(33, nested(2, 1, 0.5, 2), [5, 13], 64),
            "nested absmax: block size 2, wanted a power of two from 32 to 4096",
        ),
        (
            new(33, nested(2, 1, f32::NAN, 256), [5, 13], 64),
            "nested offset: found NaN at index 0, wanted finite values",
        ),
    ];
    for (result, wanted) in refused {
        assert_eq!(result.expect_err(wanted), wanted);
    }
}
