//! Projection to the vocabulary and cross-entropy in one operation.

use burn::tensor::{DType, FloatDType, IndexingUpdateOp, Int, Tensor, TensorData, activation::log_softmax};

use crate::{backend, ops::lora_linear::float_dtype};

/// The label of a position that is not trained (PyTorch's and Hugging Face's `ignore_index`).
pub const IGNORE_INDEX: i64 = -100;

/// Trained tokens per chunk: bounds the logits that exist at once.
const CHUNK: usize = 512;

/// A loss summed over tokens, and how many tokens it was summed over.
///
/// Sums add up over micro-batches; the mean is taken once, over all of them.
#[derive(Clone, Debug)]
pub struct SummedLoss {
    /// The summed negative log-likelihood in nats, f32 `[1]`.
    pub sum: Tensor<1>,
    /// Tokens whose label is not [`IGNORE_INDEX`].
    pub tokens: usize,
}

/// `Σᵢ −log softmax(hiddenᵢ·headᵀ)[targetᵢ]` over the positions with a target.
///
/// Runs over chunks of trained positions: the logits `[n, vocab]` never exist as a whole, nor their
/// gradient; positions without a target cost nothing. Softmax statistics are f32.
///
/// # Shapes
/// - `hidden`: `[n, h]`, `head`: `[vocab, h]`, `targets`: `n` entries, [`IGNORE_INDEX`] or a token id
///
/// # Panics
/// If the numbers of targets and rows differ, or a target is outside the vocabulary.
pub fn linear_cross_entropy(hidden: Tensor<2>, head: Tensor<2>, targets: &[i64]) -> SummedLoss {
    check(&hidden, &head, targets);
    let tokens = targets.iter().filter(|&&t| t != IGNORE_INDEX).count();
    let sum = if backend::has_extension(&hidden) {
        backend::linear_cross_entropy(hidden, head, targets.to_vec())
    } else {
        linear_cross_entropy_reference(hidden, head, targets)
    };
    SummedLoss { sum, tokens }
}

/// The sum of [`linear_cross_entropy`] composed of Burn's differentiable operations, over the
/// whole logits matrix.
pub fn linear_cross_entropy_reference(hidden: Tensor<2>, head: Tensor<2>, targets: &[i64]) -> Tensor<1> {
    cross_entropy(hidden.matmul(head.transpose()), targets).sum
}

/// `Σᵢ −log softmax(logitsᵢ)[targetᵢ]` over the positions with a target, in f32, for logits that
/// exist anyway (a head with an adapter).
///
/// # Shapes
/// - `logits`: `[n, vocab]`, `targets`: `n` entries, [`IGNORE_INDEX`] or a token id
///
/// # Panics
/// If the numbers of targets and rows differ.
pub fn cross_entropy(logits: Tensor<2>, targets: &[i64]) -> SummedLoss {
    assert_eq!(logits.dims()[0], targets.len(), "cross_entropy: one target per row of logits");
    let picked = Picked::new(targets);
    let tokens = picked.rows.len();
    if tokens == 0 {
        return SummedLoss { sum: logits.cast(FloatDType::F32).sum().mul_scalar(0.0), tokens };
    }
    let device = logits.device();
    let logits = logits.select(0, indices(&picked.rows, &device)).cast(FloatDType::F32);
    let target = indices(&picked.targets, &device).reshape([tokens, 1]);
    SummedLoss { sum: log_softmax(logits, 1).gather(1, target).sum().neg(), tokens }
}

/// The loss of every position in nats, 0 where there is no target; not differentiable.
pub fn token_losses(hidden: Tensor<2>, head: Tensor<2>, targets: &[i64]) -> Vec<f32> {
    check(&hidden, &head, targets);
    let (hidden, head) = (hidden.without_autodiff(), head.without_autodiff());
    let picked = Picked::new(targets);
    let mut losses = vec![0.0; targets.len()];
    for chunk in picked.chunks() {
        let (_, values) = chunk.losses(&hidden, &head);
        for (row, loss) in chunk.rows.iter().zip(values.to_data().iter::<f32>()) {
            losses[*row] = loss;
        }
    }
    losses
}

/// As [`token_losses`], for logits `[n, vocab]` that exist anyway (a head with an adapter).
///
/// # Panics
/// If the numbers of targets and rows differ, or a target is outside the vocabulary.
pub fn logits_token_losses(logits: Tensor<2>, targets: &[i64]) -> Vec<f32> {
    let [rows, vocab] = logits.dims();
    assert_eq!(rows, targets.len(), "logits_token_losses: one target per row of logits");
    let wrong = targets.iter().find(|&&t| t != IGNORE_INDEX && !(0..vocab as i64).contains(&t));
    assert_eq!(wrong, None, "logits_token_losses: a target outside the vocabulary of {vocab}");
    let logits = logits.without_autodiff();
    let picked = Picked::new(targets);
    let mut losses = vec![0.0; rows];
    for Chunk { rows, targets } in picked.chunks() {
        let device = logits.device();
        let target = indices(targets, &device).reshape([rows.len(), 1]);
        let chunk = logits.clone().select(0, indices(rows, &device)).cast(FloatDType::F32);
        let values = log_softmax(chunk, 1).gather(1, target).neg();
        for (row, loss) in rows.iter().zip(values.to_data().iter::<f32>()) {
            losses[*row] = loss;
        }
    }
    losses
}

/// Forward on plain tensors: the summed loss `[1]`.
pub(crate) fn forward(hidden: &Tensor<2>, head: &Tensor<2>, targets: &[i64]) -> Tensor<1> {
    let zero = Tensor::zeros([1], (&hidden.device(), DType::F32));
    Picked::new(targets).chunks().fold(zero, |sum, chunk| sum + chunk.losses(hidden, head).1.sum())
}

/// Backward on plain tensors. With `p = softmax(logits) − onehot(target)`, scaled by the incoming
/// gradient `[1]`: `dhidden = p·head`, `dhead = pᵀ·hidden`; the logits are computed again.
pub(crate) fn backward(
    grad: Tensor<1>,
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &[i64],
    wants_head: bool,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let device = hidden.device();
    let dtype = float_dtype(hidden);
    let mut grad_hidden = Tensor::zeros(hidden.shape(), (&device, hidden.dtype()));
    let mut grad_head = wants_head.then(|| Tensor::zeros(head.shape(), (&device, DType::F32)));
    let scale = grad.cast(FloatDType::F32).reshape([1, 1]);
    for chunk in Picked::new(targets).chunks() {
        let ((rows, logits, target), _) = chunk.losses(hidden, head);
        let count = chunk.rows.len();
        let shifted = (logits.clone() - logits.max_dim(1)).exp();
        let softmax = shifted.clone() / shifted.sum_dim(1);
        let minus_one = Tensor::full([count, 1], -1.0, (&device, DType::F32));
        let p = softmax.scatter(1, target, minus_one, IndexingUpdateOp::Add) * scale.clone();
        if let Some(sum) = grad_head.take() {
            let inputs = hidden.clone().select(0, rows.clone()).cast(FloatDType::F32);
            grad_head = Some(sum + p.clone().transpose().matmul(inputs));
        }
        let chunk_grad = p.cast(dtype).matmul(head.clone());
        grad_hidden = grad_hidden.select_assign(0, rows, chunk_grad, IndexingUpdateOp::Add);
    }
    (grad_hidden, grad_head.map(|grad| grad.cast(float_dtype(head))))
}

/// The positions that have a target.
struct Picked {
    rows: Vec<usize>,
    targets: Vec<usize>,
}

impl Picked {
    fn new(targets: &[i64]) -> Self {
        let with_target = targets.iter().enumerate().filter(|(_, t)| **t != IGNORE_INDEX);
        let (rows, targets) = with_target.map(|(row, &target)| (row, target as usize)).unzip();
        Self { rows, targets }
    }

    fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        let chunks = self.rows.chunks(CHUNK).zip(self.targets.chunks(CHUNK));
        chunks.map(|(rows, targets)| Chunk { rows, targets })
    }
}

struct Chunk<'a> {
    rows: &'a [usize],
    targets: &'a [usize],
}

/// Row indices `[c]`, logits `[c, vocab]` in f32, targets `[c, 1]`.
type ChunkLogits = (Tensor<1, Int>, Tensor<2>, Tensor<2, Int>);

impl Chunk<'_> {
    /// The chunk's logits and its losses `[c, 1]`, as `logsumexp(logits) − logits[target]`.
    fn losses(&self, hidden: &Tensor<2>, head: &Tensor<2>) -> (ChunkLogits, Tensor<2>) {
        let device = hidden.device();
        let rows = indices(self.rows, &device);
        let target = indices(self.targets, &device).reshape([self.rows.len(), 1]);
        let hidden = hidden.clone().select(0, rows.clone());
        let logits = hidden.matmul(head.clone().transpose()).cast(FloatDType::F32);
        let max = logits.clone().max_dim(1);
        let log_sum = (logits.clone() - max.clone()).exp().sum_dim(1).log() + max;
        let losses = log_sum - logits.clone().gather(1, target.clone());
        ((rows, logits, target), losses)
    }
}

fn indices(values: &[usize], device: &burn::tensor::Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    let count = values.len();
    let device = device.clone().without_autodiff();
    Tensor::from_data(TensorData::new(values, [count]), (&device, DType::I32))
}

fn check(hidden: &Tensor<2>, head: &Tensor<2>, targets: &[i64]) {
    let [rows, width] = hidden.dims();
    let [vocab, inn] = head.dims();
    assert_eq!(width, inn, "linear_cross_entropy: hidden must be [n, h] and head [vocab, h]");
    assert_eq!(rows, targets.len(), "linear_cross_entropy: one target per row of hidden");
    let wrong = targets.iter().find(|&&t| t != IGNORE_INDEX && !(0..vocab as i64).contains(&t));
    assert_eq!(wrong, None, "linear_cross_entropy: a target outside the vocabulary of {vocab}");
}
