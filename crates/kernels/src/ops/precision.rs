//! The dtype of statistics: sums, means, softmax.

use burn::tensor::{DType, FloatDType, Tensor};

/// f32 whatever the input, but f64 for f64: gradients are checked against differences there.
pub(crate) fn statistics_dtype<const D: usize>(x: &Tensor<D>) -> FloatDType {
    match x.dtype() {
        DType::F64 => FloatDType::F64,
        _ => FloatDType::F32,
    }
}
