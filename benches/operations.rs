//! Projections and the loss, forward and backward, at the shapes of a 110M-parameter Llama
//! (hidden 768, MLP 2048, vocabulary 32,000). Throughput is in tokens.
//!
//! ```sh
//! cargo bench -p burnisher-benches
//! ```

use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use burnisher::{
    kernels::{FourBitWeight, FrozenWeight, LoraFactors, linear, linear_cross_entropy, lora_linear},
    quant::QuantConfig,
};
use burnisher_benches::normal;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const TOKENS: usize = 256;
const HIDDEN: usize = 768;
const INNER: usize = 2048;

fn weights(device: &Device) -> [(&'static str, FrozenWeight); 2] {
    let dense = normal(INNER, HIDDEN, 0.02, 1, device);
    let values: Vec<f32> = dense.to_data().iter::<f32>().collect();
    let config = QuantConfig::nf4().with_double_quant(true);
    let state = config.quantize(&values, [INNER, HIDDEN]).expect("finite values quantize");
    [
        ("f32", FrozenWeight::Dense(dense)),
        ("nf4", FrozenWeight::FourBit(FourBitWeight::from_state(&state, device))),
    ]
}

/// Reads one value, so that the work is done inside the timed region on any backend.
fn sync<const D: usize>(tensor: &Tensor<D>) {
    black_box(tensor.clone().without_autodiff().flatten::<1>(0, D - 1).narrow(0, 0, 1).into_data());
}

fn projections(c: &mut Criterion) {
    let device = Device::flex();
    let x = normal(TOKENS, HIDDEN, 1.0, 2, &device);
    let mut group = c.benchmark_group("projection 768 -> 2048");
    group.throughput(Throughput::Elements(TOKENS as u64));
    for (name, weight) in weights(&device) {
        group.bench_function(BenchmarkId::new("forward", name), |b| {
            b.iter(|| sync(&linear(x.clone(), &weight)));
        });
        let adapter = LoraFactors {
            a: normal(8, HIDDEN, 0.03, 3, &device).autodiff().require_grad(),
            b: normal(INNER, 8, 0.01, 4, &device).autodiff().require_grad(),
            scaling: 2.0,
        };
        group.bench_function(BenchmarkId::new("LoRA forward + backward", name), |b| {
            b.iter(|| {
                let x = x.clone().autodiff().require_grad();
                let loss = lora_linear(x.clone(), &weight, &adapter, None).sum();
                let grads = loss.backward();
                sync(&x.grad(&grads).expect("x is tracked"));
            });
        });
    }
    group.finish();
}

fn loss(c: &mut Criterion) {
    let device = Device::flex();
    let vocabulary = 32_000;
    let head = normal(vocabulary, HIDDEN, 0.02, 5, &device);
    let targets: Vec<i64> = (0..TOKENS).map(|i| (i * 7919 % vocabulary) as i64).collect();
    let mut group = c.benchmark_group("linear + cross-entropy, vocabulary 32,000");
    group.throughput(Throughput::Elements(TOKENS as u64));
    group.sample_size(10);
    group.bench_function("forward + backward", |b| {
        b.iter(|| {
            let hidden = normal(TOKENS, HIDDEN, 1.0, 6, &device).autodiff().require_grad();
            let loss = linear_cross_entropy(hidden.clone(), head.clone(), &targets);
            sync(&hidden.grad(&loss.sum.backward()).expect("hidden is tracked"));
        });
    });
    group.finish();
}

criterion_group!(benches, projections, loss);
criterion_main!(benches);
