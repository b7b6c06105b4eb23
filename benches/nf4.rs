//! Weights to NF4 and FP4 and back, with plain and with double-quantized scales, on slices.
//!
//! Shapes: 1024 x 1024 and 4096 x 4096, normal values in blocks of 64. Restoring writes f32 or the bits of bf16 into
//! memory that is used again; quantizing allocates its result. The references, one element after the other on one
//! thread, know plain scales and run at 1024 x 1024.
//!
//! Throughput: bytes of the f32 input for quantizing; for restoring, an element is one weight. `copy f32` is what memory
//! does at most: a copy of as many f32, 8 bytes moved for an element, where restoring moves about 4.5.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench nf4
//! cargo bench -p burnisher-benches --bench nf4 -- dequantize
//! cargo bench -p burnisher-benches --bench nf4 -- --save-baseline before
//! cargo bench -p burnisher-benches --bench nf4 -- --baseline before
//! ```

use std::{hint::black_box, time::Duration};

use burn::tensor::Device;
use burnisher::quant::{QuantConfig, dequantize_reference, quantize_reference};
use burnisher_benches::normal;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [usize; 2] = [1024, 4096];

/// A weight of `size` times `size` values.
fn weight(size: usize) -> Vec<f32> {
    normal(size, size, 0.02, 1, &Device::flex()).to_data().iter::<f32>().collect()
}

/// NF4 with plain scales and with double-quantized ones, and FP4.
fn configs() -> [(&'static str, QuantConfig); 3] {
    let nf4 = QuantConfig::nf4();
    [("plain", nf4), ("double", nf4.with_double_quant(true)), ("fp4", QuantConfig::fp4())]
}

fn quantize(c: &mut Criterion) {
    for size in SIZES {
        let values = weight(size);
        let mut group = c.benchmark_group(format!("nf4 {size}x{size}"));
        group.throughput(Throughput::Bytes(size_of_val(values.as_slice()) as u64));
        for (name, config) in configs() {
            group.bench_function(BenchmarkId::new("quantize", name), |b| {
                b.iter(|| config.quantize(black_box(&values), [size, size]).expect("finite values quantize"));
            });
        }
        if size == SIZES[0] {
            let block = QuantConfig::nf4().block_size;
            group.bench_function(BenchmarkId::new("reference quantize", "plain"), |b| {
                b.iter(|| quantize_reference(black_box(&values), block));
            });
        }
        group.finish();
    }
}

fn dequantize(c: &mut Criterion) {
    for size in SIZES {
        let (values, count) = (weight(size), size * size);
        let (mut full, mut half) = (vec![0.0f32; count], vec![0u16; count]);
        let mut group = c.benchmark_group(format!("nf4 {size}x{size}"));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function("copy f32", |b| {
            b.iter(|| {
                full.copy_from_slice(black_box(&values));
                black_box(&full);
            });
        });
        for (name, config) in configs() {
            let state = config.quantize(&values, [size, size]).expect("finite values quantize");
            group.bench_function(BenchmarkId::new("dequantize to f32", name), |b| {
                b.iter(|| {
                    black_box(&state).dequantize_into(&mut full).expect("the length fits");
                    black_box(&full);
                });
            });
            group.bench_function(BenchmarkId::new("dequantize to bf16", name), |b| {
                b.iter(|| {
                    black_box(&state).dequantize_bf16_into(&mut half).expect("the length fits");
                    black_box(&half);
                });
            });
            if size == SIZES[0] && name == "plain" {
                let (absmax, block) = (state.absmax_values(), state.block_size());
                group.bench_function(BenchmarkId::new("reference dequantize to f32", name), |b| {
                    b.iter(|| dequantize_reference(black_box(state.packed()), &absmax, block, count));
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = quantize, dequantize
}
criterion_main!(benches);
