//! Operations of a block against their references: values and gradients, in f32 and in 16 bits.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use burnisher_kernels::{
    Activation, AttentionMask, AttentionOptions, NormWeight, attention, attention_reference, embedding,
    embedding_reference, gated_activation, gated_activation_reference, rms_norm, rms_norm_reference, rope,
    rope_reference, scaled_features, scaled_features_reference,
};

use crate::support::{devices, is_cuda, of_products, values, vec_of};

/// The dtypes, each with what two orders of rounding may differ by. burn-ndarray has no 16-bit floats.
fn dtypes(device: &Device) -> Vec<(DType, f32)> {
    let mut dtypes = vec![(DType::F32, 2e-5)];
    if is_flex(device) {
        // f16 has three more bits.
        dtypes.extend([(DType::BF16, 3e-2), (DType::F16, 3e-2 / 8.0)]);
    }
    dtypes
}

fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    return false;
}

fn leaf<const D: usize>(shape: [usize; D], salt: u64, dtype: DType, device: &Device) -> Tensor<D> {
    let data = TensorData::new(values(shape.iter().product(), salt), shape);
    let plain = Tensor::<D>::from_data(data, (device, DType::F32));
    plain.cast(FloatDType::from(dtype)).autodiff().require_grad()
}

/// `y` and the gradients of `Σ y∘c` for the leaves, with `c` without structure.
fn run<const D: usize, const N: usize>(y: &Tensor<D>, leaves: &[&Tensor<N>]) -> Vec<Vec<f32>> {
    let shape = y.dims();
    let data = TensorData::new(values(shape.iter().product(), 99), shape);
    let weights = Tensor::<D>::from_data(data, (&y.device().without_autodiff(), DType::F32));
    let grads = (y.clone().cast(FloatDType::F32) * weights).sum().backward();
    let mut found = vec![vec_of(y)];
    found.extend(leaves.iter().map(|leaf| vec_of(&leaf.grad(&grads).expect("a gradient"))));
    found
}

#[track_caller]
fn assert_same(got: &[Vec<f32>], want: &[Vec<f32>], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len());
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        // Terms of size 1 cancel where there is one key, or one value in a row: the rounding error is theirs.
        let scale = want.iter().fold(0.1f32, |max, value| max.max(value.abs()));
        let worst = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0f32, f32::max);
        assert_eq!(got.len(), want.len(), "{what}, tensor {index}: length");
        assert!(worst <= tolerance * scale, "{what}, tensor {index}: differs by {worst}, scale {scale}");
        assert!(got.iter().all(|value| value.is_finite()), "{what}, tensor {index}: not finite");
    }
}

#[test]
fn attention_equals_its_reference_in_values_and_gradients() {
    // batch, heads, kv heads, queries, keys, head dim, window, tokens per document
    let cases = [
        (1, 1, 1, 1, 1, 2, None, 100),
        (2, 4, 2, 7, 7, 6, None, 3),
        (1, 4, 4, 33, 33, 16, None, 100),
        (2, 6, 2, 70, 100, 8, None, 41),
        (1, 2, 1, 65, 65, 32, Some(9), 30),
        (3, 2, 2, 1, 40, 4, Some(5), 100),
    ];
    for device in devices() {
        for (dtype, tolerance) in dtypes(&device) {
            for (index, (batch, heads, kv_heads, queries, keys, dim, window, length)) in
                cases.into_iter().enumerate()
            {
                let row: Vec<u32> = (0..keys).map(|key| (key / length) as u32).collect();
                let all = row.repeat(batch);
                let last = row[keys - queries..].repeat(batch);
                let mask = AttentionMask::causal(batch, &last, &all, window, &device);
                // Every other case with a soft cap that bends scores of this size.
                let options = AttentionOptions::new(0.7).with_softcap((index % 2 == 1).then_some(0.8));
                let leaves = [
                    leaf([batch, heads, queries, dim], 1, dtype, &device),
                    leaf([batch, kv_heads, keys, dim], 2, dtype, &device),
                    leaf([batch, kv_heads, keys, dim], 3, dtype, &device),
                ];
                let [q, k, v] = &leaves;
                let refs = [q, k, v];
                let got = attention(q.clone(), k.clone(), v.clone(), &mask, options);
                let want = attention_reference(q.clone(), k.clone(), v.clone(), &mask, options);
                let what = format!("{heads}/{kv_heads} heads, {queries} of {keys}, {dtype:?}");
                let tolerance = of_products(&device, tolerance);
                assert_same(&run(&got, &refs), &run(&want, &refs), tolerance, &what);
            }
        }
    }
}

/// As the model calls it: heads stand inside the tokens, and the result goes back there.
#[test]
fn attention_takes_views() {
    for device in devices() {
        let (batch, tokens, heads, dim) = (2, 37, 4, 8);
        let mask =
            AttentionMask::causal(batch, &vec![1; batch * tokens], &vec![1; batch * tokens], None, &device);
        let options = AttentionOptions::new(0.3);
        let flat = [4, 5, 6].map(|salt| leaf([batch, tokens, heads, dim], salt, DType::F32, &device));
        let refs = [&flat[0], &flat[1], &flat[2]];
        let view = || flat.clone().map(|x| x.swap_dims(1, 2));
        let [q, k, v] = view();
        let got = attention(q, k, v, &mask, options).swap_dims(1, 2);
        let [q, k, v] = view();
        let want = attention_reference(q, k, v, &mask, options).swap_dims(1, 2);
        let tolerance = of_products(&device, 2e-5);
        assert_same(&run(&got, &refs), &run(&want, &refs), tolerance, "views");
    }
}

#[test]
fn rms_norm_equals_its_reference_in_values_and_gradients() {
    for device in devices() {
        for (dtype, tolerance) in dtypes(&device) {
            for (rows, width) in [(1, 1), (3, 5), (7, 64), (300, 100)] {
                for form in [NormWeight::Plain, NormWeight::OnePlus] {
                    let x = leaf([rows, width], 7, dtype, &device);
                    let weight = leaf([width], 8, dtype, &device);
                    let forward = |fast: bool| match fast {
                        true => rms_norm(x.clone(), weight.clone(), 1e-5, form),
                        false => rms_norm_reference(x.clone(), weight.clone(), 1e-5, form),
                    };
                    let what = format!("[{rows}, {width}] {form:?} {dtype:?}");
                    let (got, want) = (forward(true), forward(false));
                    assert_same(&run(&got, &[&x]), &run(&want, &[&x]), tolerance, &what);
                    let (got, want) = (forward(true), forward(false));
                    assert_same(&run(&got, &[&weight]), &run(&want, &[&weight]), tolerance, &what);
                }
            }
        }
    }
}

#[test]
fn scaled_features_equal_their_reference_in_values_and_gradients() {
    for device in devices() {
        for (dtype, tolerance) in dtypes(&device) {
            // The factor may be in f32 beside activations in 16 bits.
            for of_factor in [dtype, DType::F32] {
                for (rows, width) in [(1, 1), (3, 5), (7, 64), (300, 100)] {
                    let x = leaf([rows, width], 7, dtype, &device);
                    let factor = leaf([width], 8, of_factor, &device);
                    let forward = |fast: bool| match fast {
                        true => scaled_features(x.clone(), factor.clone()),
                        false => scaled_features_reference(x.clone(), factor.clone()),
                    };
                    let what = format!("[{rows}, {width}] {dtype:?} by {of_factor:?}");
                    let (got, want) = (forward(true), forward(false));
                    assert_same(&run(&got, &[&x]), &run(&want, &[&x]), tolerance, &what);
                    let (got, want) = (forward(true), forward(false));
                    assert_same(&run(&got, &[&factor]), &run(&want, &[&factor]), tolerance, &what);
                }
            }
        }
    }
}

#[test]
fn rope_equals_its_reference_in_values_and_gradients() {
    for device in devices() {
        for (dtype, tolerance) in dtypes(&device) {
            for (batch, heads, tokens, dim) in [(1, 1, 1, 2), (2, 3, 5, 6), (1, 4, 200, 32)] {
                let x = leaf([batch, heads, tokens, dim], 9, dtype, &device);
                // Any two tables: the backward must not rely on cos² + sin² = 1.
                let table = |salt| leaf([batch, 1, tokens, dim], salt, dtype, &device).without_autodiff();
                let (cos, sin) = (table(10), table(11));
                let got = rope(x.clone(), cos.clone(), sin.clone());
                let want = rope_reference(x.clone(), cos, sin);
                let what = format!("{heads} heads, {tokens} tokens, {dtype:?}");
                assert_same(&run(&got, &[&x]), &run(&want, &[&x]), tolerance, &what);
            }
        }
    }
}

#[test]
fn gated_activation_equals_its_reference_in_values_and_gradients() {
    for device in devices() {
        for (dtype, tolerance) in dtypes(&device) {
            for count in [1, 5, 1000, 40_000] {
                for act in [Activation::Silu, Activation::GeluTanh] {
                    let wide = |salt| leaf([count], salt, dtype, &device);
                    let (gate, up) = (wide(12), wide(13));
                    let refs = [&gate, &up];
                    // The second time beyond where the exponential would overflow.
                    for factor in [1.0, 120.0] {
                        let scaled = || gate.clone().mul_scalar(factor);
                        let got = gated_activation(scaled(), up.clone(), act);
                        let want = gated_activation_reference(scaled(), up.clone(), act);
                        let what = format!("{count} {act:?} {dtype:?}");
                        assert_same(&run(&got, &refs), &run(&want, &refs), tolerance, &what);
                    }
                }
            }
        }
    }
}

/// A key that is narrower than the query would be read past its end.
#[cfg(feature = "flex")]
#[test]
#[should_panic(expected = "k must be [batch, kv_heads, keys, head_dim]")]
fn attention_refuses_keys_of_another_width() {
    let device = Device::flex();
    let mask = AttentionMask::causal(1, &[1; 4], &[1; 4], None, &device);
    let q = leaf([1, 2, 4, 8], 1, DType::F32, &device);
    let k = leaf([1, 2, 4, 6], 2, DType::F32, &device);
    attention(q, k.clone(), k, &mask, AttentionOptions::new(1.0));
}

#[cfg(feature = "flex")]
#[test]
#[should_panic(expected = "queries must be the last of the keys")]
fn a_mask_refuses_queries_of_other_documents() {
    AttentionMask::causal(1, &[1, 1], &[1, 1, 2], None, &Device::flex());
}

#[test]
fn nothing_in_gives_nothing_out() {
    for device in devices().into_iter().filter(|device| !is_cuda(device)) {
        let heads = leaf([0, 2, 3, 4], 4, DType::F32, &device);
        let table = leaf([0, 1, 3, 4], 5, DType::F32, &device).without_autodiff();
        assert_eq!(rope(heads.clone(), table.clone(), table).dims(), [0, 2, 3, 4]);
        if is_flex(&device) {
            let mask = AttentionMask::causal(0, &[], &[], None, &device);
            let none = leaf([0, 2, 0, 4], 6, DType::F32, &device);
            let options = AttentionOptions::new(1.0);
            assert_eq!(attention(none.clone(), none.clone(), none, &mask, options).dims(), [0, 2, 0, 4]);
        }
        let x = leaf([0, 4], 1, DType::F32, &device);
        let weight = leaf([4], 2, DType::F32, &device);
        assert_eq!(rms_norm(x, weight, 1e-5, NormWeight::Plain).dims(), [0, 4]);
        let (x, factor) = (leaf([0, 4], 1, DType::F32, &device), leaf([4], 2, DType::F32, &device));
        assert_eq!(scaled_features(x, factor).dims(), [0, 4]);
        let empty = leaf([0, 4], 3, DType::F32, &device);
        assert_eq!(gated_activation(empty.clone(), empty, Activation::Silu).dims(), [0, 4]);
    }
}

/// Ids that occur many times, once and never; in the gradient's rows of bf16 the reference rounds after every addition.
#[test]
fn embedding_equals_its_reference_in_values_and_gradients() {
    for device in devices() {
        for (dtype, tolerance) in dtypes(&device) {
            for (vocab, width, batch, length) in [(1, 1, 1, 1), (7, 5, 2, 3), (40, 33, 3, 19)] {
                for scale in [None, Some(2.7)] {
                    let ids: Vec<u32> = (0..batch * length).map(|i| (i * i % vocab) as u32).collect();
                    let weight = leaf([vocab, width], 1, dtype, &device);
                    let got = embedding(weight.clone(), &ids, batch, scale);
                    let want = embedding_reference(weight.clone(), &ids, scale);
                    let want = want.reshape([batch, length, width]);
                    let what = format!("[{vocab}, {width}], {batch} x {length}, scale {scale:?}, {dtype:?}");
                    let (got, want) = (run(&got, &[&weight]), run(&want, &[&weight]));
                    assert_same(&got, &want, tolerance, &what);
                }
            }
        }
    }
}
