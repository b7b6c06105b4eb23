//! Gradients against central differences, in f64 on Flex.
//!
//! Other tests compare an operation with its reference; here the reference itself is checked, and beside it the
//! operation, whose backward is composed of tensor operations in f64.

use burn::tensor::{DType, Device, Tensor, TensorData};
use burnisher_kernels::{
    Activation, AttentionMask, AttentionOptions, DropoutKeys, FourBitWeight, FrozenWeight, IGNORE_INDEX,
    LoraFactors, LossOptions, NormWeight, attention, attention_reference, embedding, embedding_reference,
    gated_activation, gated_activation_reference, linear, linear_cross_entropy_reference, linear_reference,
    lora_linear, lora_linear_reference, rms_norm, rms_norm_reference, rope, rope_reference, trained_linear,
    trained_linear_reference,
};
use burnisher_quant::QuantConfig;

use crate::support::values;

/// The distance of a difference, times the value's magnitude where that is above 1. Its error is about `STEP²` from
/// the third derivative and `1e-16 / STEP` from rounding, both far below [`TOLERANCE`]; a reference that rounds to f32
/// anywhere is off by about `1e-7 / STEP`, far above.
const STEP: f64 = 1e-5;

/// By how much of an input's largest gradient each of its gradients may differ.
///
/// Not less, because burn-autodiff 0.22.1 rounds the factor of a division by a scalar (a soft cap) to f32.
const TOLERANCE: f64 = 1e-6;

/// Values of an input and its shape.
type Input<const D: usize> = (Vec<f64>, [usize; D]);

/// Values in about [-1, 1] without structure.
fn input<const D: usize>(shape: [usize; D], salt: u64) -> Input<D> {
    (values(shape.iter().product(), salt).into_iter().map(f64::from).collect(), shape)
}

/// A plain f64 tensor of Flex.
fn tensor<const D: usize>((values, shape): &Input<D>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.clone(), *shape), (&Device::flex(), DType::F64))
}

/// The values of an f64 tensor.
#[track_caller]
fn floats<const D: usize>(tensor: &Tensor<D>, what: &str) -> Vec<f64> {
    assert_eq!(tensor.dtype(), DType::F64, "{what}: not in f64");
    tensor.to_data().iter::<f64>().collect()
}

/// Checks the gradients of `Σ w∘f(inputs)` by autodiff, with `w` without structure, against
/// `(Σ w∘f(x + e) − Σ w∘f(x − e)) / 2e` for each value `x` of each input.
#[track_caller]
fn check<const D: usize, const E: usize, const N: usize>(
    what: &str,
    inputs: &[Input<D>; N],
    f: impl Fn([Tensor<D>; N]) -> Tensor<E>,
) {
    let leaves = inputs.each_ref().map(|input| tensor(input).autodiff().require_grad());
    let out = f(leaves.clone());
    assert_eq!(out.dtype(), DType::F64, "{what}: the output is not in f64");
    let cotangent = input(out.dims(), 99);
    let grads = (out * tensor(&cotangent)).sum().backward();
    let sum = |inputs: &[Input<D>; N]| -> f64 {
        let out = floats(&f(inputs.each_ref().map(tensor)), what);
        out.iter().zip(&cotangent.0).map(|(y, w)| y * w).sum()
    };
    let mut moved = inputs.clone();
    for (number, leaf) in leaves.iter().enumerate() {
        let gradient = leaf.grad(&grads).unwrap_or_else(|| panic!("{what}: no gradient of input {number}"));
        let gradient = floats(&gradient, what);
        let scale = gradient.iter().fold(0.0f64, |max, value| max.max(value.abs()));
        assert!(scale > 1e-3, "{what}, input {number}: no gradient to compare, all within {scale}");
        assert_eq!(gradient.len(), inputs[number].0.len(), "{what}, input {number}: length");
        for (index, got) in gradient.into_iter().enumerate() {
            let value = inputs[number].0[index];
            let step = STEP * value.abs().max(1.0);
            let mut at = |value: f64| {
                moved[number].0[index] = value;
                sum(&moved)
            };
            let want = (at(value + step) - at(value - step)) / (2.0 * step);
            moved[number].0[index] = value;
            assert!(
                (got - want).abs() <= TOLERANCE * scale,
                "{what}, input {number}[{index}]: autodiff {got}, difference {want}, scale {scale}"
            );
        }
    }
}

#[test]
fn linear_has_the_gradient_of_differences() {
    let state = QuantConfig::nf4().quantize(&values(4 * 5, 17), [4, 5]).expect("finite values quantize");
    let weights = [
        ("dense", FrozenWeight::Dense(tensor(&input([4, 5], 17)))),
        ("nf4", FrozenWeight::FourBit(FourBitWeight::from_state(&state, &Device::flex()))),
    ];
    for (name, weight) in &weights {
        let inputs = [input([3, 5], 1)];
        check(&format!("reference, {name}"), &inputs, |[x]| linear_reference(x, weight));
        check(&format!("operation, {name}"), &inputs, |[x]| -> Tensor<2> { linear(x, weight) });
    }
}

#[test]
fn trained_linear_has_the_gradients_of_differences() {
    let inputs = [input([3, 5], 1), input([4, 5], 2)];
    check("reference", &inputs, |[x, weight]| trained_linear_reference(x, weight));
    check("operation", &inputs, |[x, weight]| -> Tensor<2> { trained_linear(x, weight) });
}

#[test]
fn lora_linear_has_the_gradients_of_differences() {
    let base = FrozenWeight::Dense(tensor(&input([5, 4], 17)));
    let keys = DropoutKeys::new(5, 2, vec![0, 31, 62]);
    for dropout in [None, Some(keys.layer(9, 0.4))] {
        // x, A and B.
        let inputs = [input([3, 4], 1), input([2, 4], 2), input([5, 2], 3)];
        let (what, dropout) = (format!("dropout {}", dropout.is_some()), dropout.as_ref());
        check(&format!("reference, {what}"), &inputs, |[x, a, b]| {
            lora_linear_reference(x, &base, &LoraFactors { a, b, scaling: 1.7 }, dropout)
        });
        check(&format!("operation, {what}"), &inputs, |[x, a, b]| -> Tensor<2> {
            lora_linear(x, &base, &LoraFactors { a, b, scaling: 1.7 }, dropout)
        });
    }
}

#[test]
fn attention_has_the_gradients_of_differences() {
    // heads, kv heads, queries, keys, window, soft cap, tokens per document
    let cases = [
        (2, 2, 4, 4, None, None, 9),
        (4, 2, 3, 5, None, None, 9),
        (2, 2, 5, 5, Some(2), None, 9),
        (2, 1, 4, 4, None, Some(0.7), 9),
        (1, 1, 5, 5, None, None, 3),
        (4, 2, 4, 6, Some(3), Some(0.7), 4),
    ];
    let (batch, dim) = (2, 2);
    for (heads, kv_heads, queries, keys, window, softcap, length) in cases {
        let row: Vec<u32> = (0..keys).map(|key| (key / length) as u32).collect();
        let (last, all) = (row[keys - queries..].repeat(batch), row.repeat(batch));
        let mask = AttentionMask::causal(batch, &last, &all, window, &Device::flex());
        let options = AttentionOptions::new(0.7).with_softcap(softcap);
        let inputs = [
            input([batch, heads, queries, dim], 1),
            input([batch, kv_heads, keys, dim], 2),
            input([batch, kv_heads, keys, dim], 3),
        ];
        let what = format!(
            "{heads}/{kv_heads} heads, {queries} of {keys}, window {window:?}, cap {softcap:?}, documents of {length}"
        );
        check(&format!("reference, {what}"), &inputs, |[q, k, v]| {
            attention_reference(q, k, v, &mask, options)
        });
        check(&format!("operation, {what}"), &inputs, |[q, k, v]| attention(q, k, v, &mask, options));
    }
}

#[test]
fn rms_norm_has_the_gradients_of_differences() {
    for form in [NormWeight::Plain, NormWeight::OnePlus] {
        let (width, inputs) = (5, [input([3, 5], 7), input([1, 5], 8)]);
        // An epsilon that weighs beside squares of this size.
        check(&format!("reference, {form:?}"), &inputs, |[x, weight]| {
            rms_norm_reference(x, weight.reshape([width]), 0.1, form)
        });
        check(&format!("operation, {form:?}"), &inputs, |[x, weight]| -> Tensor<2> {
            rms_norm(x, weight.reshape([width]), 0.1, form)
        });
    }
}

#[test]
fn rope_has_the_gradient_of_differences() {
    // Any two tables: nothing relies on cos² + sin² = 1.
    let (cos, sin) = (tensor(&input([2, 1, 3, 4], 10)), tensor(&input([2, 1, 3, 4], 11)));
    let inputs = [input([2, 2, 3, 4], 9)];
    check("reference", &inputs, |[x]| rope_reference(x, cos.clone(), sin.clone()));
    check("operation", &inputs, |[x]| rope(x, cos.clone(), sin.clone()));
}

#[test]
fn gated_activation_has_the_gradients_of_differences() {
    // As far as where the activations are nearly straight again.
    let wide = |salt| -> Input<1> {
        let (values, shape) = input([24], salt);
        (values.into_iter().map(|value| 4.0 * value).collect(), shape)
    };
    for act in [Activation::Silu, Activation::GeluTanh] {
        let inputs = [wide(12), wide(13)];
        check(&format!("reference, {act:?}"), &inputs, |[gate, up]| {
            gated_activation_reference(gate, up, act)
        });
        check(&format!("operation, {act:?}"), &inputs, |[gate, up]| -> Tensor<1> {
            gated_activation(gate, up, act)
        });
    }
}

/// The reference only: the operation sums in f32, whatever the dtype.
#[test]
fn linear_cross_entropy_has_the_gradients_of_differences() {
    let targets = [3, IGNORE_INDEX, 0, 5, 3];
    let plain = LossOptions::default();
    let all = LossOptions { label_smoothing: 0.1, z_loss: 0.01, softcap: Some(0.7) };
    let cases = [
        plain,
        LossOptions { label_smoothing: 0.1, ..plain },
        LossOptions { z_loss: 0.01, ..plain },
        LossOptions { softcap: Some(0.7), ..plain },
        all,
    ];
    for options in cases {
        let inputs = [input([5, 4], 1), input([6, 4], 2)];
        check(&format!("reference, {options:?}"), &inputs, |[hidden, head]| {
            linear_cross_entropy_reference(hidden, head, &targets, options)
        });
    }
}

/// Ids that occur more than once, once and never.
#[test]
fn embedding_has_the_gradient_of_differences() {
    let ids = [4, 0, 2, 4, 4, 1];
    for scale in [None, Some(1.7)] {
        let inputs = [input([5, 3], 1)];
        check(&format!("reference, scale {scale:?}"), &inputs, |[weight]| {
            embedding_reference(weight, &ids, scale)
        });
        check(&format!("operation, scale {scale:?}"), &inputs, |[weight]| embedding(weight, &ids, 2, scale));
    }
}
