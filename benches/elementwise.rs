//! What memory limits: RMSNorm, rotary positions, the gated MLP's activation and the token embedding.
//!
//! Shapes: 1024 tokens of width 768 (rotary: 12 heads of 64; embedding: vocabulary 32,000), the activation of width
//! 2048; f32 and bf16. Gradients are those of `x`, of both operands of the activation, and of the embedding's whole
//! table; the norm's weight is frozen.
//!
//! Throughput: the bytes that the operation must read and write at least once, results included, temporaries not. The
//! gradient of ones that the backward starts from is read, and the time to write it is in the measurement.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench elementwise
//! cargo bench -p burnisher-benches --bench elementwise -- rms_norm
//! cargo bench -p burnisher-benches --bench elementwise -- --save-baseline before
//! cargo bench -p burnisher-benches --bench elementwise -- --baseline before
//! ```

use std::time::Duration;

use burn::tensor::{Device, Tensor};
use burnisher::kernels::{
    Activation, NormWeight, embedding, embedding_reference, gated_activation, gated_activation_reference,
    rms_norm, rms_norm_reference, rope, rope_reference,
};
use burnisher_benches::{DTYPES, backward, normal, sync, tracked};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const TOKENS: usize = 1024;
const HIDDEN: usize = 768;
const INNER: usize = 2048;
const HEADS: usize = 12;
const DIM: usize = 64;
const VOCABULARY: usize = 32_000;
/// Values of the residual stream.
const COUNT: usize = TOKENS * HIDDEN;

/// An operation in one dtype, and how many values its forward and its backward must touch.
struct Operation<'a> {
    name: &'a str,
    dtype: &'a str,
    forward: usize,
    backward: usize,
}

impl Operation<'_> {
    fn measure<const N: usize, const D: usize, const E: usize>(
        &self,
        c: &mut Criterion,
        prefix: &str,
        inputs: &[Tensor<D>; N],
        run: impl Fn([Tensor<D>; N]) -> Tensor<E>,
    ) {
        let size = inputs[0].dtype().size();
        let bytes = |values: usize| Throughput::Bytes((values * size) as u64);
        let id = |what: &str| BenchmarkId::new(format!("{prefix}{what}"), self.dtype);
        let mut group = c.benchmark_group(self.name);
        group.throughput(bytes(self.forward));
        group.bench_function(id("forward"), |b| b.iter(|| sync(&run(inputs.clone()))));
        group.throughput(bytes(self.forward + self.backward));
        group.bench_function(id("forward and backward"), |b| {
            b.iter(|| {
                let leaves = inputs.each_ref().map(tracked);
                backward(&run(leaves.clone()), &leaves[0]);
            });
        });
        group.finish();
    }
}

fn norm(c: &mut Criterion) {
    let device = Device::flex();
    for (dtype, float) in DTYPES {
        let x = [normal(TOKENS, HIDDEN, 1.0, 1, &device).cast(float)];
        let weight = normal(1, HIDDEN, 0.2, 2, &device).add_scalar(1.0).reshape([HIDDEN]).cast(float);
        let form = NormWeight::Plain;
        let (forward, backward) = (2 * COUNT + HIDDEN, 3 * COUNT + HIDDEN);
        let operation = Operation { name: "rms_norm", dtype, forward, backward };
        operation.measure(c, "", &x, |[x]| rms_norm(x, weight.clone(), 1e-5, form));
        operation.measure(c, "reference ", &x, |[x]| rms_norm_reference(x, weight.clone(), 1e-5, form));
    }
}

fn rotary(c: &mut Criterion) {
    let device = Device::flex();
    let angles = normal(TOKENS, DIM, 3.0, 3, &device).reshape([1, 1, TOKENS, DIM]);
    for (dtype, float) in DTYPES {
        let x = [normal(HEADS * TOKENS, DIM, 1.0, 4, &device).reshape([1, HEADS, TOKENS, DIM]).cast(float)];
        let (cos, sin) = (angles.clone().cos().cast(float), angles.clone().sin().cast(float));
        let values = 2 * COUNT + 2 * TOKENS * DIM;
        let operation = Operation { name: "rope", dtype, forward: values, backward: values };
        operation.measure(c, "", &x, |[x]| rope(x, cos.clone(), sin.clone()));
        operation.measure(c, "reference ", &x, |[x]| rope_reference(x, cos.clone(), sin.clone()));
    }
}

fn activation(c: &mut Criterion) {
    let device = Device::flex();
    for (dtype, float) in DTYPES {
        let operands = [5, 6]
            .map(|salt| normal(TOKENS, INNER, 1.0, salt, &device).reshape([TOKENS * INNER]).cast(float));
        let (forward, backward) = (3 * TOKENS * INNER, 5 * TOKENS * INNER);
        let operation = Operation { name: "gated_activation", dtype, forward, backward };
        let silu = Activation::Silu;
        operation.measure(c, "", &operands, |[gate, up]| gated_activation(gate, up, silu));
        operation
            .measure(c, "reference ", &operands, |[gate, up]| gated_activation_reference(gate, up, silu));
    }
}

fn tokens(c: &mut Criterion) {
    let device = Device::flex();
    let ids: Vec<u32> = (0..TOKENS).map(|i| (i * 7919 % VOCABULARY) as u32).collect();
    for (dtype, float) in DTYPES {
        let table = [normal(VOCABULARY, HIDDEN, 0.02, 7, &device).cast(float)];
        let (forward, backward) = (2 * COUNT, COUNT + VOCABULARY * HIDDEN);
        let operation = Operation { name: "embedding", dtype, forward, backward };
        operation.measure(c, "", &table, |[table]| embedding(table, &ids, 1, None));
        operation.measure(c, "reference ", &table, |[table]| embedding_reference(table, &ids, None));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = norm, rotary, activation, tokens
}
criterion_main!(benches);
