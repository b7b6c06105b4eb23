//! Token embedding.

use burn::tensor::{DType, Tensor, TensorData};

/// Rows of `weight` by token id, times `scale` if there is one (Gemma's `√hidden`, rounded to the
/// weight's dtype first, as Hugging Face does).
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
    let device = weight.device().without_autodiff();
    let data = TensorData::new(ids.iter().map(|&id| id as i32).collect(), [ids.len()]);
    let ids = Tensor::<1, burn::tensor::Int>::from_data(data, (&device, DType::I32));
    let dtype = weight.dtype();
    let rows = weight.select(0, ids).reshape([batch, length, width]);
    match scale {
        None => rows,
        Some(scale) => rows * Tensor::full([1, 1, 1], scale, (&device, dtype)),
    }
}
