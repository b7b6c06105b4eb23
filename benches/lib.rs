//! What the benches share: reproducible values and token streams, a model with random weights, training steps with
//! their times, and what this process and machine are.

#![deny(missing_docs)]

mod device;
mod documents;
mod machine;
mod model;
mod options;
mod step;

use std::{error::Error, hint::black_box, process::ExitCode};

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use serde_json::Value;

pub use crate::{
    device::{Backend, GpuWatch},
    documents::{LONGEST_SHORT_DOCUMENT, MarkovChain},
    machine::{MemoryWatch, cpu, versions},
    model::{Made, make},
    options::{Checkpointing, Dtype, Options, Shape, Sizes, Targets, set_threads},
    step::{Spread, StepRecord, measure, rounded, train},
};

/// A matrix of about normal values with standard deviation `scale`, the same in every run.
pub fn normal(rows: usize, columns: usize, scale: f32, salt: u64, device: &Device) -> Tensor<2> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    // The sum of three uniform values in [-1, 1] has variance 1.
    let values = (0..rows * columns).map(|_| (uniform() + uniform() + uniform()) * scale).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [rows, columns]), device)
}

/// The dtypes that the benches of operations run in, by name.
pub const DTYPES: [(&str, FloatDType); 2] = [("f32", FloatDType::F32), ("bf16", FloatDType::BF16)];

/// Reads one value, so that the work is done inside the timed region on any backend.
pub fn sync<const D: usize>(tensor: &Tensor<D>) {
    // Narrowed before it is read: flattening a view would copy all of it.
    let plain = tensor.clone().without_autodiff();
    black_box((0..D).fold(plain, |x, dim| x.narrow(dim, 0, 1)).into_data());
}

/// The same values as a leaf that receives a gradient.
pub fn tracked<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().autodiff().require_grad()
}

/// Runs the backward of `y` from a gradient of ones, and reads one value of the gradient of the leaf `x`.
///
/// # Panics
/// If `x` is not tracked or `y` does not depend on it.
pub fn backward<const D: usize, const E: usize>(y: &Tensor<D>, x: &Tensor<E>) {
    let gradients = y.backward();
    sync(&x.grad(&gradients).expect("y depends on x, which is tracked"));
}

/// Prints a bench's result as one line of JSON, or why there is none.
pub fn print(result: Result<Value, Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
