//! Dtypes: of a tensor, and of statistics such as sums, means and softmax.

use burn::tensor::{DType, FloatDType, Tensor};

/// f32 whatever the input, but f64 for f64: gradients are checked against differences there.
pub(crate) fn statistics_dtype<const D: usize>(x: &Tensor<D>) -> FloatDType {
    match x.dtype() {
        DType::F64 => FloatDType::F64,
        _ => FloatDType::F32,
    }
}

/// The float dtype of a float tensor.
pub(crate) fn float_dtype<const D: usize>(x: &Tensor<D>) -> FloatDType {
    FloatDType::from(x.dtype())
}
