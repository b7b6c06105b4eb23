//! Token embedding.

use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor, TensorData};

use crate::backend;
#[cfg(feature = "flex")]
use crate::cpu;

/// Rows of `weight` by token id, times `scale` if there is one (Gemma's `√hidden`, rounded to the
/// weight's dtype first, as Hugging Face does).
///
/// The backward sums, for each id, the rows of the gradient that stand at its positions, in their order; it keeps the
/// ids only.
///
/// # Shapes
/// - `weight`: `[vocab, h]`, `ids`: `batch × t` token ids, row-major; output: `[batch, t, h]`
///
/// # Panics
/// If `ids` is not a multiple of `batch`, or an id is outside the vocabulary.
pub fn embedding(weight: Tensor<2>, ids: &[u32], batch: usize, scale: Option<f64>) -> Tensor<3> {
    let [vocab, width] = weight.dims();
    let length = ids.len() / batch.max(1);
    assert_eq!(length * batch, ids.len(), "embedding: ids must be a multiple of the batch");
    let wrong = ids.iter().find(|&&id| id as usize >= vocab);
    assert_eq!(wrong, None, "embedding: a token id outside the vocabulary of {vocab}");
    let rows = if backend::has_extension(&weight) {
        backend::block::embedding(weight, ids, scale)
    } else {
        embedding_reference(weight, ids, scale)
    };
    rows.reshape([batch, length, width])
}

/// The rows `[n, h]` of [`embedding`], composed of Burn's differentiable operations.
pub fn embedding_reference(weight: Tensor<2>, ids: &[u32], scale: Option<f64>) -> Tensor<2> {
    let (device, dtype) = (weight.device().without_autodiff(), weight.dtype());
    let rows = weight.select(0, indices(ids, &device));
    match scale {
        None => rows,
        Some(scale) => rows * Tensor::full([1, 1], scale, (&device, dtype)),
    }
}

/// Forward on plain tensors, `[n, h]`.
pub(crate) fn forward(weight: Tensor<2>, ids: &[u32], scale: Option<f64>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(rows) = cpu::embedding::embedding(&weight, ids, scale) {
        return rows;
    }
    embedding_reference(weight, ids, scale)
}

/// The gradient of the weight `[vocab, h]` for plain tensors: `grad` is `[n, h]`.
pub(crate) fn backward(grad: Tensor<2>, ids: &[u32], vocab: usize, scale: Option<f64>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(gradient) = cpu::embedding::embedding_back(&grad, ids, vocab, scale) {
        return gradient;
    }
    let (device, dtype, width) = (grad.device(), grad.dtype(), grad.dims()[1]);
    let grad = match scale {
        None => grad,
        Some(scale) => grad * Tensor::full([1, 1], scale, (&device, dtype)),
    };
    let zeros = Tensor::zeros([vocab, width], (&device, dtype));
    zeros.select_assign(0, indices(ids, &device), grad, IndexingUpdateOp::Add)
}

fn indices(ids: &[u32], device: &burn::tensor::Device) -> Tensor<1, Int> {
    let data = TensorData::new(ids.iter().map(|&id| id as i32).collect(), [ids.len()]);
    Tensor::from_data(data, (device, DType::I32))
}
