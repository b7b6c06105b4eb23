//! Projection to the vocabulary and cross-entropy in one operation.

use burn::tensor::{DType, FloatDType, IndexingUpdateOp, Int, Tensor, TensorData, activation::log_softmax};

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{backend, ops::lora_linear::float_dtype};

/// The label of a position that is not trained (PyTorch's and Hugging Face's `ignore_index`).
pub const IGNORE_INDEX: i64 = -100;

/// The most trained tokens of a chunk.
const CHUNK: usize = 512;

/// Logits that exist at once, about: 64 MiB in f32.
const LOGITS: usize = 1 << 24;

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
/// gradient; positions without a target cost nothing. Softmax statistics are f32. Where a gradient is asked for, the
/// forward pass computes it, and the backward pass scales it.
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
    for chunk in picked.chunks(head.dims()[0]) {
        let values = chunk.losses(&hidden, &head);
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
    for Chunk { rows, targets } in picked.chunks(vocab) {
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
    Picked::new(targets)
        .chunks(head.dims()[0])
        .fold(zero, |sum, chunk| sum + chunk.losses(hidden, head).sum())
}

/// The gradients of the summed loss by its operands.
#[derive(Clone, Debug)]
pub(crate) struct LossGradients {
    /// By `hidden`, in its dtype.
    pub(crate) hidden: Tensor<2>,
    /// By `head`, where it was wanted: f32 until scaled, then in the head's dtype.
    pub(crate) head: Option<Tensor<2>>,
    head_dtype: FloatDType,
}

impl LossGradients {
    /// For the gradient `[1]` that comes in, which stays f32: the products are rounded to the operands' dtypes.
    pub(crate) fn scaled(self, by: Tensor<1>) -> Self {
        let by = by.cast(FloatDType::F32).reshape([1, 1]);
        let (hidden_dtype, head_dtype) = (float_dtype(&self.hidden), self.head_dtype);
        let hidden = (self.hidden.cast(FloatDType::F32) * by.clone()).cast(hidden_dtype);
        let head = self.head.map(|gradient| (gradient * by).cast(head_dtype));
        Self { hidden, head, head_dtype }
    }
}

/// [`forward`], and at once the gradients, so that the logits are computed only once (Liger-Kernel,
/// arXiv:2410.10989). With `p = softmax(logits) − onehot(target)`: `dhidden = p·head`, `dhead = pᵀ·hidden`.
pub(crate) fn forward_with_gradients(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &[i64],
    wants_head: bool,
) -> (Tensor<1>, LossGradients) {
    let (device, dtype) = (hidden.device(), float_dtype(hidden));
    let mut sum = Tensor::zeros([1], (&device, DType::F32));
    let mut grad_hidden = Tensor::zeros(hidden.shape(), (&device, hidden.dtype()));
    let mut grad_head = wants_head.then(|| Tensor::zeros(head.shape(), (&device, DType::F32)));
    for chunk in Picked::new(targets).chunks(head.dims()[0]) {
        let (losses, p) = chunk.losses_and_gradient(hidden, head);
        sum = sum + losses.sum();
        if let Some(before) = grad_head.take() {
            grad_head = Some(before + chunk.head_gradient(hidden, &p));
        }
        let chunk_grad = hidden_gradient(p, head, dtype);
        let rows = indices(chunk.rows, &device);
        grad_hidden = grad_hidden.select_assign(0, rows, chunk_grad, IndexingUpdateOp::Add);
    }
    (sum, LossGradients { hidden: grad_hidden, head: grad_head, head_dtype: float_dtype(head) })
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

    /// In the order of their positions, few enough at a time for a vocabulary.
    fn chunks(&self, vocab: usize) -> impl Iterator<Item = Chunk<'_>> {
        let rows = (LOGITS / vocab.max(1)).clamp(CHUNK / 8, CHUNK);
        let chunks = self.rows.chunks(rows).zip(self.targets.chunks(rows));
        chunks.map(|(rows, targets)| Chunk { rows, targets })
    }
}

struct Chunk<'a> {
    rows: &'a [usize],
    targets: &'a [usize],
}

impl Chunk<'_> {
    /// The chunk's rows `[c, h]`.
    fn inputs(&self, hidden: &Tensor<2>) -> Tensor<2> {
        hidden.clone().select(0, indices(self.rows, &hidden.device()))
    }

    /// The chunk's logits `[c, vocab]` in f32.
    fn logits(&self, hidden: &Tensor<2>, head: &Tensor<2>) -> Tensor<2> {
        let inputs = self.inputs(hidden);
        #[cfg(feature = "flex")]
        if let Some(logits) = cpu::linear::logits(&inputs, head) {
            return logits;
        }
        inputs.matmul(head.clone().transpose()).cast(FloatDType::F32)
    }

    /// `pᵀ·hidden [vocab, h]` in f32.
    fn head_gradient(&self, hidden: &Tensor<2>, p: &Tensor<2>) -> Tensor<2> {
        let inputs = self.inputs(hidden);
        #[cfg(feature = "flex")]
        if let Some(gradient) = cpu::linear::transposed_times(p, &inputs, DType::F32) {
            return gradient;
        }
        p.clone().transpose().matmul(inputs.cast(FloatDType::F32))
    }

    /// Its losses `[c]`, as `logsumexp(logits) − logits[target]`.
    fn losses(&self, hidden: &Tensor<2>, head: &Tensor<2>) -> Tensor<1> {
        let logits = self.logits(hidden, head);
        #[cfg(feature = "flex")]
        if let Some(losses) = cpu::cross_entropy::losses(&logits, self.targets) {
            return losses;
        }
        self.softmax(logits).0
    }

    /// Its losses `[c]`, and `softmax(logits) − onehot(target)` `[c, vocab]`.
    fn losses_and_gradient(&self, hidden: &Tensor<2>, head: &Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let logits = self.logits(hidden, head);
        #[cfg(feature = "flex")]
        if cpu::flex_f32(&logits).is_some() {
            return cpu::cross_entropy::losses_and_gradient(logits, self.targets);
        }
        let device = logits.device();
        let (losses, softmax, target) = self.softmax(logits);
        let minus_one = Tensor::full([self.rows.len(), 1], -1.0, (&device, DType::F32));
        (losses, softmax.scatter(1, target, minus_one, IndexingUpdateOp::Add))
    }

    /// Losses `[c]`, softmax `[c, vocab]`, targets `[c, 1]`, composed of tensor operations.
    fn softmax(&self, logits: Tensor<2>) -> (Tensor<1>, Tensor<2>, Tensor<2, Int>) {
        let target = indices(self.targets, &logits.device()).reshape([self.rows.len(), 1]);
        let max = logits.clone().max_dim(1);
        let exp = (logits.clone() - max.clone()).exp();
        let sum = exp.clone().sum_dim(1);
        let losses = sum.clone().log() + max - logits.gather(1, target.clone());
        (losses.flatten(0, 1), exp / sum, target)
    }
}

/// `p·head [c, h]` in `dtype`.
fn hidden_gradient(p: Tensor<2>, head: &Tensor<2>, dtype: FloatDType) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(gradient) = cpu::linear::logits_back(&p, head, dtype.into()) {
        return gradient;
    }
    p.cast(dtype).matmul(head.clone())
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
