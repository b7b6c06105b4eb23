//! One AdamW step on plain tensors.
//!
//! Shapes: 1,000,000 values in f32. As in training, the parameter and its moments are handed over and the new ones are
//! kept for the next step, so that they may be updated in place; the gradient, the same in every step, is shared.
//!
//! Throughput: the bytes that a step must read (parameter, gradient, two moments) and write (all but the gradient).
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench optimizer
//! cargo bench -p burnisher-benches --bench optimizer -- --save-baseline before
//! cargo bench -p burnisher-benches --bench optimizer -- --baseline before
//! ```

use std::time::Duration;

use burn::tensor::Device;
use burnisher::kernels::{AdamW, AdamWState, adamw_step};
use burnisher_benches::{normal, sync};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 1000;
const COLUMNS: usize = 1000;
const LEARNING_RATE: f64 = 1e-4;
/// Tensors that a step reads or writes, each time counted.
const PASSES: usize = 4 + 3;

fn adamw(c: &mut Criterion) {
    let device = Device::flex();
    let options = AdamW::default();
    let gradient = normal(ROWS, COLUMNS, 1e-3, 1, &device);
    let parameter = normal(ROWS, COLUMNS, 0.02, 2, &device);
    // Moments as after many steps, far from subnormal numbers.
    let m = normal(ROWS, COLUMNS, 1e-3, 3, &device);
    let v = gradient.clone().square().add_scalar(1e-8);
    let mut held = Some((parameter, AdamWState { m, v }));
    let mut step = 1000;
    let mut group = c.benchmark_group("adamw_step 1000x1000");
    group.throughput(Throughput::Bytes((PASSES * ROWS * COLUMNS * size_of::<f32>()) as u64));
    group.bench_function("f32", |b| {
        b.iter(|| {
            let (parameter, state) = held.take().expect("every step puts them back");
            step += 1;
            let (parameter, state) =
                adamw_step(&options, LEARNING_RATE, step, parameter, gradient.clone(), Some(state));
            sync(&parameter);
            held = Some((parameter, state));
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = adamw
}
criterion_main!(benches);
