//! Causal attention, forward and with the gradients of `q`, `k` and `v`.
//!
//! Shapes: 4 rows of 256 tokens and 1 row of 2048, one document each; 12 query heads over 12 or 4 key/value heads
//! (GQA), head dimension 64; f32 and bf16. The reference, which keeps all scores, runs at 256 tokens.
//!
//! Throughput: an element is one floating-point operation of the products over the half of the scores that a causal
//! mask leaves, `4·b·h·t²·d / 2` forward, and 2.5 times as many backward: five products instead of two, with the scores
//! computed again (FlashAttention's count). The softmax counts as none.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench attention
//! cargo bench -p burnisher-benches --bench attention -- 1x2048
//! cargo bench -p burnisher-benches --bench attention -- --save-baseline before
//! cargo bench -p burnisher-benches --bench attention -- --baseline before
//! ```

use std::time::Duration;

use burn::tensor::{Device, Tensor};
use burnisher::kernels::{AttentionMask, AttentionOptions, attention, attention_reference};
use burnisher_benches::{DTYPES, backward, normal, sync, tracked};
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};

const HEADS: usize = 12;
const DIM: usize = 64;

type Attention = fn(Tensor<4>, Tensor<4>, Tensor<4>, &AttentionMask, AttentionOptions) -> Tensor<4>;

fn shapes(c: &mut Criterion) {
    let device = Device::flex();
    for (batch, tokens) in [(4, 256), (1, 2048)] {
        let segments = vec![1; batch * tokens];
        let mask = AttentionMask::causal(batch, &segments, &segments, None, &device);
        for kv_heads in [HEADS, 4] {
            let name = format!("attention {batch}x{tokens}, {HEADS} over {kv_heads} heads");
            let mut group = c.benchmark_group(name);
            if tokens > 1000 {
                group.sample_size(10).measurement_time(Duration::from_secs(3));
            }
            for (dtype, float) in DTYPES {
                // [b, heads, t, d]
                let random = |heads: usize, salt| {
                    let values = normal(batch * heads * tokens, DIM, 1.0, salt, &device);
                    values.reshape([batch, heads, tokens, DIM]).cast(float)
                };
                let qkv = [random(HEADS, 1), random(kv_heads, 2), random(kv_heads, 3)];
                measure(&mut group, "", dtype, &qkv, &mask, attention);
                if tokens == 256 {
                    measure(&mut group, "reference ", dtype, &qkv, &mask, attention_reference);
                }
            }
            group.finish();
        }
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    prefix: &str,
    dtype: &str,
    qkv: &[Tensor<4>; 3],
    mask: &AttentionMask,
    attention: Attention,
) {
    let options = AttentionOptions::new(1.0 / (DIM as f64).sqrt());
    let [batch, heads, tokens, dim] = qkv[0].dims();
    let flop = 4 * (batch * heads * tokens * tokens * dim) as u64 / 2;

    group.throughput(Throughput::Elements(flop));
    group.bench_function(BenchmarkId::new(format!("{prefix}forward"), dtype), |b| {
        b.iter(|| {
            let [q, k, v] = qkv.clone();
            sync(&attention(q, k, v, mask, options));
        });
    });
    group.throughput(Throughput::Elements(flop * 7 / 2));
    group.bench_function(BenchmarkId::new(format!("{prefix}forward and backward"), dtype), |b| {
        b.iter(|| {
            let leaves = qkv.each_ref().map(tracked);
            let [q, k, v] = leaves.clone();
            backward(&attention(q, k, v, mask, options), &leaves[0]);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = shapes
}
criterion_main!(benches);
