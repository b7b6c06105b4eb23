//! The head's projection with cross-entropy, which forms no logits matrix.
//!
//! Shapes: 512 tokens of width 768 over a vocabulary of 32,000, every token with a target; f32 and bf16. The gradient
//! is that of the hidden states, the head being frozen, or that of both. Beside its reference it runs at 128 tokens.
//!
//! Throughput: an element is one floating-point operation of the products with the head: one forward, one more for each
//! gradient. The softmax counts as none.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench loss
//! cargo bench -p burnisher-benches --bench loss -- 512
//! cargo bench -p burnisher-benches --bench loss -- --save-baseline before
//! cargo bench -p burnisher-benches --bench loss -- --baseline before
//! ```

use std::time::Duration;

use burn::tensor::{Device, Tensor};
use burnisher::kernels::{LossOptions, linear_cross_entropy, linear_cross_entropy_reference};
use burnisher_benches::{DTYPES, backward, normal, sync, tracked};
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};

const HIDDEN: usize = 768;
const VOCABULARY: usize = 32_000;

type Loss = fn(Tensor<2>, Tensor<2>, &[i64]) -> Tensor<1>;

fn fast(hidden: Tensor<2>, head: Tensor<2>, targets: &[i64]) -> Tensor<1> {
    linear_cross_entropy(hidden, head, targets, LossOptions::default()).sum
}

fn reference(hidden: Tensor<2>, head: Tensor<2>, targets: &[i64]) -> Tensor<1> {
    linear_cross_entropy_reference(hidden, head, targets, LossOptions::default())
}

fn sizes(c: &mut Criterion) {
    let device = Device::flex();
    for (dtype, float) in DTYPES {
        let head = normal(VOCABULARY, HIDDEN, 0.02, 1, &device).cast(float);
        for tokens in [512, 128] {
            let hidden = normal(tokens, HIDDEN, 1.0, 2, &device).cast(float);
            let mut group = c.benchmark_group(format!("linear_cross_entropy {tokens}"));
            measure(&mut group, "", dtype, &hidden, &head, fast);
            if tokens == 128 {
                measure(&mut group, "reference ", dtype, &hidden, &head, reference);
            } else {
                trained_head(&mut group, dtype, &hidden, &head);
            }
            group.finish();
        }
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    prefix: &str,
    dtype: &str,
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    loss: Loss,
) {
    let targets = targets(hidden);
    group.throughput(flop(1, hidden));
    group.bench_function(BenchmarkId::new(format!("{prefix}forward"), dtype), |b| {
        b.iter(|| sync(&loss(hidden.clone(), head.clone(), &targets)));
    });
    group.throughput(flop(2, hidden));
    group.bench_function(BenchmarkId::new(format!("{prefix}forward and backward"), dtype), |b| {
        b.iter(|| {
            let hidden = tracked(hidden);
            backward(&loss(hidden.clone(), head.clone(), &targets), &hidden);
        });
    });
}

fn trained_head(group: &mut BenchmarkGroup<'_, WallTime>, dtype: &str, hidden: &Tensor<2>, head: &Tensor<2>) {
    let targets = targets(hidden);
    group.throughput(flop(3, hidden));
    group.bench_function(BenchmarkId::new("forward and backward, trained head", dtype), |b| {
        b.iter(|| {
            let (hidden, head) = (tracked(hidden), tracked(head));
            backward(&fast(hidden.clone(), head.clone(), &targets), &hidden);
        });
    });
}

/// One token of the vocabulary for each row.
fn targets(hidden: &Tensor<2>) -> Vec<i64> {
    (0..hidden.dims()[0]).map(|i| (i * 7919 % VOCABULARY) as i64).collect()
}

/// Of so many products with the head.
fn flop(products: usize, hidden: &Tensor<2>) -> Throughput {
    Throughput::Elements(2 * (products * hidden.dims()[0] * HIDDEN * VOCABULARY) as u64)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    targets = sizes
}
criterion_main!(benches);
