//! Projections `y = x·Wᵀ` by a frozen weight, alone and with a LoRA adapter of rank 8.
//!
//! Shapes: 1024 tokens 768 -> 2048, 2048 -> 768 and 768 -> 32,000, and one token 4096 -> 4096. Weights are f32 or bf16
//! with `x` in the same dtype, or NF4 with plain or double-quantized scales and `x` in bf16; adapters are f32.
//! `backward` times the gradient of `x` alone, `forward and backward` both and the adapter's gradients too.
//!
//! Throughput: an element is one floating-point operation, a multiplication or an addition of the products
//! themselves; restoring NF4 weights counts as none.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench projection
//! cargo bench -p burnisher-benches --bench projection -- --save-baseline before
//! cargo bench -p burnisher-benches --bench projection -- --baseline before
//! ```

use std::time::Duration;

use burn::tensor::{Device, FloatDType, Tensor};
use burnisher::{
    kernels::{
        EightBitWeight, FourBitWeight, FrozenWeight, LoraFactors, linear, linear_reference, lora_linear,
        lora_linear_reference,
    },
    quant::{Int8Weight, QuantConfig, SourceDtype},
};
use burnisher_benches::{backward, normal, sync, tracked};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const RANK: usize = 8;

/// Tokens, `in` and `out` of a projection.
#[derive(Clone, Copy)]
struct Shape(usize, usize, usize);

const UP: Shape = Shape(1024, 768, 2048);
const OTHERS: [Shape; 3] = [Shape(1024, 2048, 768), Shape(1024, 768, 32_000), Shape(1, 4096, 4096)];

impl Shape {
    fn name(self) -> String {
        let Self(tokens, inn, out) = self;
        format!("{tokens}x{inn}-{out}")
    }

    /// Of one product with the weight.
    fn flop(self) -> u64 {
        2 * (self.0 * self.1 * self.2) as u64
    }

    /// `x` and the weight in every form.
    fn cases(self, device: &Device) -> [(&'static str, Tensor<2>, FrozenWeight); 6] {
        let Self(tokens, inn, out) = self;
        let x = normal(tokens, inn, 1.0, 1, device);
        let half = x.clone().cast(FloatDType::BF16);
        let dense = normal(out, inn, 0.02, 2, device);
        let values: Vec<f32> = dense.to_data().iter::<f32>().collect();
        let int8 = Int8Weight::quantize(&values, [out, inn]).expect("finite values quantize");
        let four_bit = |config: QuantConfig| {
            let state = config
                .with_source_dtype(SourceDtype::Bf16)
                .quantize(&values, [out, inn])
                .expect("finite values quantize");
            FrozenWeight::FourBit(FourBitWeight::from_state(&state, device))
        };
        [
            ("bf16", half.clone(), FrozenWeight::Dense(dense.clone().cast(FloatDType::BF16))),
            ("nf4", half.clone(), four_bit(QuantConfig::nf4())),
            ("nf4 double", half.clone(), four_bit(QuantConfig::nf4().with_double_quant(true))),
            ("fp4", half, four_bit(QuantConfig::fp4())),
            ("int8", x.clone(), FrozenWeight::EightBit(EightBitWeight::from_int8(&int8, device))),
            ("f32", x, FrozenWeight::Dense(dense)),
        ]
    }
}

fn forward(c: &mut Criterion) {
    for shape in [UP].into_iter().chain(OTHERS) {
        let mut group = c.benchmark_group(format!("linear {}", shape.name()));
        group.throughput(Throughput::Elements(shape.flop()));
        if shape.2 > 10_000 {
            group.sample_size(10).measurement_time(Duration::from_secs(3));
        }
        for (name, x, weight) in shape.cases(&Device::flex()) {
            group.bench_function(BenchmarkId::new("forward", name), |b| {
                b.iter(|| sync(&linear(x.clone(), &weight)));
            });
            if shape.2 == UP.2 && name != "nf4 double" {
                group.bench_function(BenchmarkId::new("reference forward", name), |b| {
                    b.iter(|| sync(&linear_reference(x.clone(), &weight)));
                });
            }
        }
        group.finish();
    }
}

/// The gradient of `x`; the forward pass is not timed.
fn gradient(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("linear {}", UP.name()));
    group.throughput(Throughput::Elements(UP.flop()));
    for (name, x, weight) in UP.cases(&Device::flex()) {
        let mut measure = |what: &str, project: fn(Tensor<2>, &FrozenWeight) -> Tensor<2>| {
            let forward = || {
                let x = tracked(&x);
                (project(x.clone(), &weight), x)
            };
            let timed = |(y, x): (Tensor<2>, Tensor<2>)| backward(&y, &x);
            group.bench_function(BenchmarkId::new(what, name), |b| {
                b.iter_batched(forward, timed, BatchSize::PerIteration);
            });
        };
        measure("backward", linear);
        if name == "f32" {
            measure("reference backward", linear_reference);
        }
    }
    group.finish();
}

fn lora(c: &mut Criterion) {
    let device = Device::flex();
    let Shape(tokens, inn, out) = UP;
    let adapter = LoraFactors {
        a: tracked(&normal(RANK, inn, 0.03, 3, &device)),
        b: tracked(&normal(out, RANK, 0.01, 4, &device)),
        scaling: 2.0,
    };
    let mut group = c.benchmark_group(format!("lora_linear {}", UP.name()));
    // The base in both directions; the adapter's two products forward, four backward.
    let of_adapter = 3 * 2 * (tokens * RANK * (inn + out)) as u64;
    group.throughput(Throughput::Elements(2 * UP.flop() + of_adapter));
    for (name, x, weight) in UP.cases(&device) {
        let mut measure = |what: &str, run: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            group.bench_function(BenchmarkId::new(what, name), |b| {
                b.iter(|| {
                    let x = tracked(&x);
                    backward(&run(x.clone()), &x);
                });
            });
        };
        measure("forward and backward", &|x| lora_linear(x, &weight, &adapter, None));
        if matches!(name, "f32" | "nf4 double") {
            let reference = |x| lora_linear_reference(x, &weight, &adapter, None);
            measure("reference forward and backward", &reference);
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = forward, gradient, lora
}
criterion_main!(benches);
