//! One step of each optimizer on plain tensors: AdamW, AdamW in 8 bits, Lion, Lion in 8 bits, and AdamW with paged state.
//!
//! Shapes: 1,000,000 values in f32. As in training, the parameter and its moments are handed over and the new ones are
//! kept for the next step, so that they may be updated in place; the gradient, the same in every step, is shared.
//!
//! Throughput: the bytes that a step must read (parameter, gradient, state) and write (all but the gradient). State in 8
//! bits lies on the host and is stepped over slices; paged state is mapped for the step and unmapped after it.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench optimizer
//! cargo bench -p burnisher-benches --bench optimizer -- --save-baseline before
//! cargo bench -p burnisher-benches --bench optimizer -- --baseline before
//! ```

use std::{fs::File, time::Duration};

use burn::tensor::{Device, Tensor};
use burnisher::{
    kernels::{AdamW, AdamWState, Lion, adamw_step, adamw_update, lion_step, update_values},
    quant::{Adamw8bit, Adamw8bitState, Lion8bit},
};
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

/// Parameter and gradient as [`adamw`] has them, flattened.
fn inputs(device: &Device) -> (Tensor<1>, Tensor<1>) {
    let flat = |std, seed| normal(ROWS, COLUMNS, std, seed, device).reshape([ROWS * COLUMNS]);
    (flat(0.02, 2), flat(1e-3, 1))
}

/// Runs `step` on a parameter that it hands back.
fn bench(
    c: &mut Criterion,
    name: &str,
    state_bytes: usize,
    mut step: impl FnMut(Tensor<1>, &Tensor<1>) -> Tensor<1>,
) {
    let (parameter, gradient) = inputs(&Device::flex());
    let mut held = Some(parameter);
    let mut group = c.benchmark_group(format!("{name}_step 1000x1000"));
    let bytes = 3 * ROWS * COLUMNS * size_of::<f32>() + 2 * state_bytes;
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("f32", |b| {
        b.iter(|| {
            let parameter = step(held.take().expect("every step puts it back"), &gradient);
            sync(&parameter);
            held = Some(parameter);
        });
    });
    group.finish();
}

fn eight_bit(c: &mut Criterion) {
    let count = ROWS * COLUMNS;
    let (options, mut state) = (Adamw8bit::default(), Adamw8bitState::zeros(count));
    let bytes = state.size_bytes();
    bench(c, "adamw_8bit", bytes, |parameter, gradient| {
        let step = |p: &mut [f32], g: &[f32]| state.step(p, g, &options, LEARNING_RATE).expect("lengths fit");
        update_values(parameter, gradient, step).0
    });
    let options = Lion8bit { beta_1: 0.9, beta_2: 0.99, weight_decay: 0.0 };
    let (mut codes, mut absmax) = (vec![0; count], vec![0.0; count.div_ceil(Adamw8bit::BLOCK_SIZE)]);
    let bytes = codes.len() + 4 * absmax.len();
    bench(c, "lion_8bit", bytes, |parameter, gradient| {
        let step = |p: &mut [f32], g: &[f32]| {
            options.step(&mut codes, &mut absmax, p, g, LEARNING_RATE).expect("lengths fit")
        };
        update_values(parameter, gradient, step).0
    });
}

fn lion(c: &mut Criterion) {
    let (options, mut momentum) = (Lion::default(), None);
    bench(c, "lion", ROWS * COLUMNS * size_of::<f32>(), |parameter, gradient| {
        let (parameter, next) =
            lion_step(&options, LEARNING_RATE, parameter, gradient.clone(), momentum.take());
        momentum = Some(next);
        parameter
    });
}

/// As the trainer's paged AdamW: both moments in a file.
fn paged(c: &mut Criterion) {
    let (options, count) = (AdamW::default(), ROWS * COLUMNS);
    let bytes = 2 * count * size_of::<f32>();
    let path = std::env::temp_dir().join(format!("burnisher-bench-{}.pages", std::process::id()));
    std::fs::write(&path, vec![0u8; bytes]).expect("a file");
    let file = File::options().read(true).write(true).open(&path).expect("the file");
    let mut number = 0;
    bench(c, "paged_adamw", bytes, |parameter, gradient| {
        number += 1;
        // SAFETY: nobody else has the file.
        let mut mapped = unsafe { memmap2::MmapMut::map_mut(&file) }.expect("a mapping");
        let (m, v) = mapped.split_at_mut(bytes / 2);
        let (m, v) = (bytemuck::cast_slice_mut(m), bytemuck::cast_slice_mut(v));
        let step = |p: &mut [f32], g: &[f32]| adamw_update(&options, LEARNING_RATE, number, p, g, m, v);
        update_values(parameter, gradient, step).0
    });
    std::fs::remove_file(&path).expect("the file");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = adamw, eight_bit, lion, paged
}
criterion_main!(benches);
