//! Frozen and LoRA projections.

use burn::tensor::{FloatDType, Tensor};
use burnisher_kernels::{
    DropoutKeys, EightBitWeight, FourBitWeight, FrozenWeight, LoraFactors, SharedInput, linear,
    linear_reference, lora_linear, lora_linear_reference, trained_linear, trained_linear_reference,
};
use burnisher_quant::{Int8Weight, QuantConfig, QuantType};

use crate::support::{assert_close, devices, matrix, of_products, takes_empty, values, vec_of};

/// Rows, in, out, rank: none, one, odd, a few rows and more, more than a block of depth and a task's columns.
const SHAPES: [(usize, usize, usize, usize); 8] = [
    (1, 1, 1, 1),
    (3, 5, 7, 2),
    (2, 64, 32, 4),
    (5, 65, 33, 8),
    (4, 1030, 300, 3),
    (17, 33, 50, 4),
    (70, 390, 130, 3),
    (0, 8, 4, 2),
];

fn shapes(device: &burn::tensor::Device) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    let empty_too = takes_empty(device);
    SHAPES.into_iter().filter(move |shape| shape.0 > 0 || empty_too)
}

/// Dense, 4-bit (with plain and with double-quantized scales) and LLM.int8 forms of one weight.
fn weights(out: usize, inn: usize, device: &burn::tensor::Device) -> Vec<(&'static str, FrozenWeight)> {
    let data = values(out * inn, 17);
    let int8 = Int8Weight::quantize(&data, [out, inn]).expect("finite values quantize");
    let four_bit = |code, double| {
        let config = QuantConfig::new(code).with_double_quant(double);
        let state = config.quantize(&data, [out, inn]).expect("finite values quantize");
        FrozenWeight::FourBit(FourBitWeight::from_state(&state, device))
    };
    vec![
        ("dense", FrozenWeight::Dense(matrix(out, inn, 17, device))),
        ("nf4", four_bit(QuantType::Nf4, false)),
        ("nf4 double", four_bit(QuantType::Nf4, true)),
        ("fp4", four_bit(QuantType::Fp4, false)),
        ("int8", FrozenWeight::EightBit(EightBitWeight::from_int8(&int8, device))),
    ]
}

#[test]
fn linear_equals_its_reference_in_values_and_gradients() {
    for device in devices() {
        for (rows, inn, out, _) in shapes(&device) {
            for (name, weight) in weights(out, inn, &device) {
                let what = format!("{name} [{rows}, {inn}] -> {out}");
                let x = matrix(rows, inn, 3, &device).autodiff().require_grad();
                let upstream = matrix(rows, out, 4, &device);
                let y = linear(x.clone(), &weight);
                let want = linear_reference(x.clone(), &weight);
                assert_close(&vec_of(&y), &vec_of(&want), of_products(&device, 1e-5), &what);
                let mut got = (y * upstream.clone()).sum().backward();
                let mut reference = (want * upstream).sum().backward();
                let (got, want) = (x.grad_remove(&mut got), x.grad_remove(&mut reference));
                let (got, want) = (got.expect("dx"), want.expect("dx"));
                let tolerance = of_products(&device, 1e-5);
                assert_close(&vec_of(&got), &vec_of(&want), tolerance, &format!("dx of {what}"));
            }
        }
    }
}

#[test]
fn trained_linear_equals_its_reference_in_values_and_gradients() {
    for device in devices() {
        for (rows, inn, out, _) in shapes(&device) {
            let leaf = |rows, columns, salt| matrix(rows, columns, salt, &device).autodiff().require_grad();
            let (x, weight) = (leaf(rows, inn, 3), leaf(out, inn, 5));
            let upstream = matrix(rows, out, 4, &device);
            let y = trained_linear(x.clone(), weight.clone());
            let want = trained_linear_reference(x.clone(), weight.clone());
            let (what, tolerance) = (format!("[{rows}, {inn}] -> {out}"), of_products(&device, 1e-5));
            assert_close(&vec_of(&y), &vec_of(&want), tolerance, &what);
            let mut got = (y * upstream.clone()).sum().backward();
            let mut reference = (want * upstream).sum().backward();
            for (leaf, of) in [(&x, "dx"), (&weight, "dW")] {
                let got = leaf.grad_remove(&mut got).expect("a gradient");
                let want = leaf.grad_remove(&mut reference).expect("a gradient");
                assert_close(&vec_of(&got), &vec_of(&want), tolerance, &format!("{of} of {what}"));
            }
        }
    }
}

/// Several projections of one input are those of several inputs, bit for bit, and so are their gradients: with an
/// adapter, with its dropout, without, trained.
#[test]
fn a_shared_input_changes_nothing() {
    for device in devices() {
        for dtype in [FloatDType::F32, FloatDType::BF16, FloatDType::F16] {
            // burn-ndarray has no 16-bit floats.
            if dtype != FloatDType::F32 && device != devices()[0] {
                continue;
            }
            // Few rows, and enough for packed panels.
            for rows in [3, 40] {
                for (name, weight) in weights(30, 64, &device) {
                    let weight = match weight {
                        FrozenWeight::Dense(weight) => FrozenWeight::Dense(weight.cast(dtype)),
                        weight => weight,
                    };
                    let trained = matrix(9, 64, 3, &device).cast(dtype);
                    let adapter = LoraFactors {
                        a: matrix(4, 64, 4, &device),
                        b: matrix(30, 4, 5, &device),
                        scaling: 0.5,
                    };
                    let keys = DropoutKeys::new(5, 2, (0..rows as u64).collect::<Vec<_>>());
                    let dropout = keys.layer(9, 0.4);
                    let run = |is_shared: bool| {
                        let x = matrix(rows, 64, 1, &device).cast(dtype).autodiff().require_grad();
                        let shared = SharedInput::from(x.clone());
                        let input = || if is_shared { shared.clone() } else { x.clone().into() };
                        let outputs = [
                            lora_linear(input(), &weight, &adapter, None),
                            lora_linear(input(), &weight, &adapter, Some(&dropout)),
                            linear(input(), &weight),
                            trained_linear(input(), trained.clone()),
                        ];
                        let mut found: Vec<Vec<f32>> = outputs.iter().map(vec_of).collect();
                        let sum = outputs
                            .into_iter()
                            .map(|y| y.cast(FloatDType::F32).square().sum())
                            .reduce(|a, b| a + b);
                        let grads = sum.expect("four outputs").backward();
                        found.push(vec_of(&x.grad(&grads).expect("dx")));
                        found
                    };
                    assert_eq!(run(true), run(false), "{rows} rows, {name} in {dtype:?}");
                }
            }
        }
    }
}

/// Two threads that want the panels of one input at once: neither may wait for the other's pieces.
#[cfg(feature = "flex")]
#[test]
fn a_shared_input_may_be_used_by_two_threads() {
    let device = burn::tensor::Device::flex();
    let weight = FrozenWeight::Dense(matrix(64, 96, 2, &device));
    for salt in 0..200 {
        let x = SharedInput::from(matrix(200, 96, salt, &device));
        let project = || vec_of(&linear(&x, &weight));
        let (a, b) = rayon::join(project, project);
        assert_eq!(a, b);
    }
}

#[test]
fn a_projection_keeps_leading_dimensions() {
    for device in devices() {
        let weight = FrozenWeight::Dense(matrix(3, 4, 1, &device));
        let x = Tensor::<3>::ones([2, 5, 4], &device);
        assert_eq!(linear(x, &weight).dims(), [2, 5, 3]);
    }
}

#[test]
fn lora_linear_equals_its_reference_in_values_and_gradients() {
    for device in devices() {
        for (rows, inn, out, rank) in shapes(&device) {
            for (name, weight) in weights(out, inn, &device) {
                for dropout in [0.0, 0.4] {
                    let what = format!("{name} [{rows}, {inn}] -> {out}, rank {rank}, dropout {dropout}");
                    let tokens: Vec<u64> = (0..rows as u64).map(|row| row * 31).collect();
                    let keys = DropoutKeys::new(5, 2, tokens);
                    let dropout = (dropout > 0.0).then(|| keys.layer(9, dropout));
                    let leaf =
                        |rows, columns, salt| matrix(rows, columns, salt, &device).autodiff().require_grad();
                    let (x, a, b) = (leaf(rows, inn, 3), leaf(rank, inn, 5), leaf(out, rank, 6));
                    let adapter = LoraFactors { a: a.clone(), b: b.clone(), scaling: 1.7 };
                    let upstream = matrix(rows, out, 4, &device);
                    let y = lora_linear(x.clone(), &weight, &adapter, dropout.as_ref());
                    let want = lora_linear_reference(x.clone(), &weight, &adapter, dropout.as_ref());
                    assert_close(&vec_of(&y), &vec_of(&want), of_products(&device, 1e-5), &what);
                    let mut got = (y * upstream.clone()).sum().backward();
                    let mut reference = (want * upstream).sum().backward();
                    for (leaf, of) in [(&x, "dx"), (&a, "dA"), (&b, "dB")] {
                        let got = leaf.grad_remove(&mut got).expect("a gradient");
                        let want = leaf.grad_remove(&mut reference).expect("a gradient");
                        let tolerance = of_products(&device, 2e-5);
                        assert_close(&vec_of(&got), &vec_of(&want), tolerance, &format!("{of} of {what}"));
                    }
                }
            }
        }
    }
}

#[test]
fn an_untracked_input_still_trains_the_adapter() {
    for device in devices() {
        let weight = FrozenWeight::Dense(matrix(6, 4, 1, &device));
        let (a, b) = (
            matrix(2, 4, 2, &device).autodiff().require_grad(),
            matrix(6, 2, 3, &device).autodiff().require_grad(),
        );
        let adapter = LoraFactors { a: a.clone(), b: b.clone(), scaling: 0.5 };
        let y = lora_linear(matrix(3, 4, 4, &device), &weight, &adapter, None);
        let mut grads = y.sum().backward();
        assert!(a.grad_remove(&mut grads).is_some() && b.grad_remove(&mut grads).is_some());
    }
}

#[test]
fn a_bf16_base_with_an_f32_adapter_gives_f32_adapter_gradients() {
    for device in devices().into_iter().take(1) {
        let dense = matrix(6, 4, 1, &device).cast(FloatDType::BF16);
        let weight = FrozenWeight::Dense(dense);
        let (a, b) = (
            matrix(2, 4, 2, &device).autodiff().require_grad(),
            matrix(6, 2, 3, &device).autodiff().require_grad(),
        );
        let adapter = LoraFactors { a: a.clone(), b: b.clone(), scaling: 0.5 };
        let x = matrix(3, 4, 4, &device).cast(FloatDType::BF16).autodiff().require_grad();
        for dropout in [None, Some(DropoutKeys::new(5, 2, vec![1, 2, 3]).layer(9, 0.4))] {
            let y = lora_linear(x.clone(), &weight, &adapter, dropout.as_ref());
            let want = lora_linear_reference(x.clone(), &weight, &adapter, dropout.as_ref());
            assert_eq!(FloatDType::from(y.dtype()), FloatDType::BF16);
            // bf16 has 8 significant bits; the two sides round in another order once.
            assert_close(&vec_of(&y), &vec_of(&want), 1.0 / 128.0, "y");
            let mut got = y.cast(FloatDType::F32).sum().backward();
            let mut want = want.cast(FloatDType::F32).sum().backward();
            for (leaf, dtype, of) in
                [(&a, FloatDType::F32, "dA"), (&b, FloatDType::F32, "dB"), (&x, FloatDType::BF16, "dx")]
            {
                let got = leaf.grad_remove(&mut got).expect("a gradient");
                let want = leaf.grad_remove(&mut want).expect("a gradient");
                assert_eq!(FloatDType::from(got.dtype()), dtype);
                assert_close(&vec_of(&got), &vec_of(&want), 1.0 / 64.0, of);
            }
        }
    }
}

#[test]
#[should_panic(expected = "the last dimension of x must be the weight's `in`")]
fn a_wrong_width_is_named() {
    let device = devices().remove(0);
    linear(matrix(2, 3, 1, &device), &FrozenWeight::Dense(matrix(4, 5, 1, &device)));
}
