//! The kernels that `compare_micro.py` compares with other programs, a row per operation and size. Prints one JSON
//! object; a rate is the median over repetitions of at least 0.2 s, in the row's unit per second.
//!
//! | row | what | unit |
//! |---|---|---|
//! | `gemm M x N x K DTYPE` | `x·Wᵀ` of M tokens by a dense weight `[N, K]` | GFLOP |
//! | `nf4 NxK SCALES quantize` | f32 values to NF4 in blocks of 64 | GB of f32 |
//! | `nf4 NxK SCALES dequantize` | back to the bits of bf16, into memory that is used again | 10⁹ weights |
//! | `linear4bit M, NxK DTYPE` | `x·Wᵀ` by an NF4 weight with double-quantized scales | GFLOP |
//!
//! Scales are plain or double-quantized. Restoring NF4 weights counts as no floating-point operation.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench micro
//! cargo bench -p burnisher-benches --bench micro -- --only gemm --only linear4bit --threads 2
//! ```

use std::{
    error::Error,
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use burn::tensor::{Device, FloatDType, Tensor};
use burnisher::{
    kernels::{FourBitWeight, FrozenWeight, linear},
    quant::{QuantConfig, QuantState},
};
use burnisher_benches::{DTYPES, Spread, cpu, normal, print, rounded, set_threads, sync, versions};
use clap::{Parser, value_parser};
use serde_json::{Map, Value, json};

/// Measures kernels.
#[derive(Parser)]
struct Args {
    /// Cargo adds this; it means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
    /// Threads; 0 takes rayon's default, one per CPU.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Only the rows whose names contain this; may be given again.
    #[arg(long, value_name = "NAME-PART")]
    only: Vec<String>,
    /// Timed repetitions of a row.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(5..))]
    repeats: u32,
}

/// The least that a repetition takes.
const REPETITION: Duration = Duration::from_millis(200);

/// Tokens, `out` and `in` of a projection, in the order of the names.
#[derive(Clone, Copy)]
struct Shape(usize, usize, usize);

const DENSE: [Shape; 3] = [Shape(1024, 2048, 768), Shape(1024, 768, 2048), Shape(1024, 32_000, 768)];
const FOUR_BIT: [Shape; 2] = [Shape(1024, 2048, 768), Shape(1, 4096, 4096)];

impl Shape {
    fn flop(self) -> usize {
        2 * self.0 * self.1 * self.2
    }

    fn x(self, dtype: FloatDType) -> Tensor<2> {
        normal(self.0, self.2, 1.0, 1, &Device::flex()).cast(dtype)
    }
}

/// An operation at one size; `true` stands for double-quantized scales.
#[derive(Clone, Copy)]
enum Row {
    Gemm(Shape, (&'static str, FloatDType)),
    Quantize(usize, bool),
    Dequantize(usize, bool),
    Linear4bit(Shape, (&'static str, FloatDType)),
}

fn main() -> ExitCode {
    print(measure_rows(&Args::parse()))
}

fn measure_rows(args: &Args) -> Result<Value, Box<dyn Error>> {
    let threads = set_threads(args.threads)?;
    let is_wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|part| name.contains(part));
    let mut results = Map::new();
    for row in rows() {
        let name = row.name();
        if is_wanted(&name) {
            results.insert(name, row.measure(args.repeats));
        }
    }
    if results.is_empty() {
        let names: Vec<String> = rows().into_iter().map(Row::name).collect();
        let only = args.only.join(", ");
        return Err(format!("--only {only}: no row has it in its name; found {}", names.join("; ")).into());
    }
    Ok(json!({
        "kind": "micro",
        "threads": threads,
        "repeats": args.repeats,
        "rows": Value::Object(results),
        "versions": versions(),
        "cpu": cpu(),
    }))
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for dtype in DTYPES {
        rows.extend(DENSE.map(|shape| Row::Gemm(shape, dtype)));
    }
    for is_double in [false, true] {
        rows.push(Row::Quantize(4096, is_double));
        rows.extend([768, 4096].map(|size| Row::Dequantize(size, is_double)));
    }
    for dtype in DTYPES {
        rows.extend(FOUR_BIT.map(|shape| Row::Linear4bit(shape, dtype)));
    }
    rows
}

impl Row {
    fn name(self) -> String {
        let scales = |is_double: bool| if is_double { "double" } else { "plain" };
        match self {
            Self::Gemm(Shape(tokens, out, inn), (dtype, _)) => {
                format!("gemm {tokens} x {out} x {inn} {dtype}")
            }
            Self::Quantize(size, is_double) => format!("nf4 {size}x{size} {} quantize", scales(is_double)),
            Self::Dequantize(size, is_double) => {
                format!("nf4 {size}x{size} {} dequantize", scales(is_double))
            }
            Self::Linear4bit(Shape(tokens, out, inn), (dtype, _)) => {
                format!("linear4bit {tokens}, {out}x{inn} {dtype}")
            }
        }
    }

    /// The unit of the rate, and how much of it (without the 10⁹) a call does.
    fn work(self) -> (&'static str, usize) {
        match self {
            Self::Gemm(shape, _) | Self::Linear4bit(shape, _) => ("GFLOP/s", shape.flop()),
            Self::Quantize(size, _) => ("GB/s", size * size * size_of::<f32>()),
            Self::Dequantize(size, _) => ("Gweights/s", size * size),
        }
    }

    /// What is timed, with its operands made.
    fn call(self) -> Box<dyn FnMut()> {
        match self {
            Self::Gemm(shape, (_, dtype)) => {
                let weight = normal(shape.1, shape.2, 0.02, 2, &Device::flex()).cast(dtype);
                projection(shape.x(dtype), FrozenWeight::Dense(weight))
            }
            Self::Linear4bit(shape, (_, dtype)) => {
                let weight = FourBitWeight::from_state(&quantized(shape.1, shape.2, true), &Device::flex());
                projection(shape.x(dtype), FrozenWeight::FourBit(weight))
            }
            Self::Quantize(size, is_double) => {
                let (values, config) = (values(size, size), config(is_double));
                Box::new(move || {
                    let state = config.quantize(black_box(&values), [size, size]);
                    black_box(state.expect("finite values quantize"));
                })
            }
            Self::Dequantize(size, is_double) => {
                let (state, mut half) = (quantized(size, size, is_double), vec![0u16; size * size]);
                Box::new(move || {
                    black_box(&state).dequantize_bf16_into(&mut half).expect("the length fits");
                    black_box(&half);
                })
            }
        }
    }

    fn measure(self, repeats: u32) -> Value {
        let mut call = self.call();
        // The first one finds cold caches and memory that was never touched.
        repetition(&mut call);
        let seconds: Vec<f64> = (0..repeats).map(|_| repetition(&mut call)).collect();
        let (unit, work) = self.work();
        let rate = Spread::of(seconds.iter().map(|seconds| work as f64 * 1e-9 / seconds));
        json!({
            "unit": unit,
            "rate": rate.to_json(3),
            "ms_median": rounded(Spread::of(seconds).median * 1e3, 4),
        })
    }
}

/// Calls until [`REPETITION`] is over, and gives the seconds of one call.
fn repetition(call: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    let mut calls = 0u32;
    loop {
        call();
        calls += 1;
        let elapsed = start.elapsed();
        if elapsed >= REPETITION {
            return elapsed.as_secs_f64() / f64::from(calls);
        }
    }
}

fn projection(x: Tensor<2>, weight: FrozenWeight) -> Box<dyn FnMut()> {
    Box::new(move || {
        let y: Tensor<2> = linear(x.clone(), &weight);
        sync(&y);
    })
}

fn config(is_double: bool) -> QuantConfig {
    QuantConfig::nf4().with_double_quant(is_double)
}

fn quantized(out: usize, inn: usize, is_double: bool) -> QuantState {
    config(is_double).quantize(&values(out, inn), [out, inn]).expect("finite values quantize")
}

/// A weight `[out, in]`.
fn values(out: usize, inn: usize) -> Vec<f32> {
    normal(out, inn, 0.02, 2, &Device::flex()).to_data().iter::<f32>().collect()
}
