//! Projection to the vocabulary and cross-entropy in one operation.

use burn::tensor::{DType, FloatDType, IndexingUpdateOp, Int, Tensor, TensorData, activation::log_softmax};

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{
    backend,
    ops::precision::{float_dtype, statistics_dtype},
};

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
    /// The summed loss in nats, f32 `[1]` (f64 where the reference or [`cross_entropy`] runs on f64).
    pub sum: Tensor<1>,
    /// Tokens whose label is not [`IGNORE_INDEX`].
    pub tokens: usize,
}

/// What a loss is made of besides the negative log-likelihood. The default is that alone.
///
/// With logits `z` (capped first), `lse = log Σ exp(z)`, target `t` and `V` logits, a position's loss is
/// `lse − (1 − ε)·z[t] − ε·mean(z) + λ·lse²`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossOptions {
    /// `ε` in `[0, 1)`: the target's share that is spread evenly over the vocabulary (Szegedy et al., arXiv:1512.00567,
    /// §7; `label_smoothing` of PyTorch's `cross_entropy`).
    pub label_smoothing: f64,
    /// `λ ≥ 0`: the weight of `lse²`, which keeps logits near 0 (PaLM, arXiv:2204.02311, §5; there 1e-4).
    pub z_loss: f64,
    /// `c > 0`: logits become `c·tanh(logits / c)` (Gemma 2, arXiv:2408.00118, §2; there 30).
    pub softcap: Option<f64>,
}

impl LossOptions {
    fn check(self) -> Self {
        let Self { label_smoothing, z_loss, softcap } = self;
        assert!(
            (0.0..1.0).contains(&label_smoothing),
            "label_smoothing must be in [0, 1), not {label_smoothing}"
        );
        assert!(z_loss >= 0.0 && z_loss.is_finite(), "z_loss must be finite and at least 0, not {z_loss}");
        if let Some(cap) = softcap {
            assert!(cap > 0.0 && cap.is_finite(), "softcap must be finite and above 0, not {cap}");
        }
        self
    }
}

/// The summed [loss](LossOptions) of the logits `hiddenᵢ·headᵀ` by `targetᵢ`, over the positions with a target.
///
/// Runs over chunks of trained positions: the logits `[n, vocab]` never exist as a whole, nor their
/// gradient; positions without a target cost nothing. Softmax statistics are f32. Where a gradient is asked for, the
/// forward pass computes it, and the backward pass scales it.
///
/// # Shapes
/// - `hidden`: `[n, h]`, `head`: `[vocab, h]`, `targets`: `n` entries, [`IGNORE_INDEX`] or a token id
///
/// # Panics
/// If the numbers of targets and rows differ, a target is outside the vocabulary, or an option is out of its range.
pub fn linear_cross_entropy(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: &[i64],
    options: LossOptions,
) -> SummedLoss {
    check(&hidden, &head, targets);
    let options = options.check();
    let tokens = targets.iter().filter(|&&t| t != IGNORE_INDEX).count();
    let sum = if backend::has_extension(&hidden) {
        backend::linear_cross_entropy(hidden, head, targets.to_vec(), options)
    } else {
        linear_cross_entropy_reference(hidden, head, targets, options)
    };
    SummedLoss { sum, tokens }
}

/// The sum of [`linear_cross_entropy`] composed of Burn's differentiable operations, over the
/// whole logits matrix.
pub fn linear_cross_entropy_reference(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: &[i64],
    options: LossOptions,
) -> Tensor<1> {
    cross_entropy(hidden.matmul(head.transpose()), targets, options).sum
}

/// The summed [loss](LossOptions) over the positions with a target, in f32 (f64 for f64 logits), for logits that
/// exist anyway (a head with an adapter).
///
/// # Shapes
/// - `logits`: `[n, vocab]`, `targets`: `n` entries, [`IGNORE_INDEX`] or a token id
///
/// # Panics
/// If the numbers of targets and rows differ, a target is outside the vocabulary, or an option is out of its range.
pub fn cross_entropy(logits: Tensor<2>, targets: &[i64], options: LossOptions) -> SummedLoss {
    check_logits("cross_entropy", logits.dims(), targets);
    let options = options.check();
    let picked = Picked::new(targets);
    let (tokens, dtype) = (picked.rows.len(), statistics_dtype(&logits));
    if tokens == 0 {
        return SummedLoss { sum: logits.cast(dtype).sum().mul_scalar(0.0), tokens };
    }
    let device = logits.device();
    let logits = logits.select(0, indices(&picked.rows, &device)).cast(dtype);
    let target = indices(&picked.targets, &device).reshape([tokens, 1]);
    SummedLoss { sum: each_loss(logits, target, options).sum(), tokens }
}

/// The losses `[c, 1]` of logits `[c, vocab]` by targets `[c, 1]`, composed of differentiable operations.
fn each_loss(logits: Tensor<2>, target: Tensor<2, Int>, options: LossOptions) -> Tensor<2> {
    let LossOptions { label_smoothing, z_loss, softcap } = options;
    let z = capped(logits, softcap);
    let log_p = log_softmax(z.clone(), 1);
    let log_p_target = log_p.clone().gather(1, target.clone());
    let mut losses = log_p_target.clone().mul_scalar(label_smoothing - 1.0);
    if label_smoothing > 0.0 {
        losses = losses - log_p.mean_dim(1).mul_scalar(label_smoothing);
    }
    if z_loss > 0.0 {
        let lse = z.gather(1, target) - log_p_target;
        losses = losses + lse.clone().mul(lse).mul_scalar(z_loss);
    }
    losses
}

fn capped(logits: Tensor<2>, softcap: Option<f64>) -> Tensor<2> {
    match softcap {
        Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
        None => logits,
    }
}

/// The loss of every position in nats, 0 where there is no target; not differentiable.
///
/// # Panics
/// As [`linear_cross_entropy`].
pub fn token_losses(hidden: Tensor<2>, head: Tensor<2>, targets: &[i64], options: LossOptions) -> Vec<f32> {
    check(&hidden, &head, targets);
    let options = options.check();
    let (hidden, head) = (hidden.without_autodiff(), head.without_autodiff());
    let picked = Picked::new(targets);
    let mut losses = vec![0.0; targets.len()];
    for chunk in picked.chunks(head.dims()[0]) {
        let values = chunk.losses(&hidden, &head, options);
        for (row, loss) in chunk.rows.iter().zip(values.to_data().iter::<f32>()) {
            losses[*row] = loss;
        }
    }
    losses
}

/// As [`token_losses`], for logits `[n, vocab]` that exist anyway (a head with an adapter).
///
/// # Panics
/// If the numbers of targets and rows differ, a target is outside the vocabulary, or an option is out of its range.
pub fn logits_token_losses(logits: Tensor<2>, targets: &[i64], options: LossOptions) -> Vec<f32> {
    let [rows, vocab] = logits.dims();
    check_logits("logits_token_losses", [rows, vocab], targets);
    let (logits, options) = (logits.without_autodiff(), options.check());
    let picked = Picked::new(targets);
    let mut losses = vec![0.0; rows];
    for Chunk { rows, targets } in picked.chunks(vocab) {
        let device = logits.device();
        let target = indices(targets, &device).reshape([rows.len(), 1]);
        let chunk = logits.clone().select(0, indices(rows, &device)).cast(FloatDType::F32);
        let values = each_loss(chunk, target, options);
        for (row, loss) in rows.iter().zip(values.to_data().iter::<f32>()) {
            losses[*row] = loss;
        }
    }
    losses
}

/// Forward on plain tensors: the summed loss `[1]`.
pub(crate) fn forward(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &[i64],
    options: LossOptions,
) -> Tensor<1> {
    let zero = Tensor::zeros([1], (&hidden.device(), DType::F32));
    Picked::new(targets)
        .chunks(head.dims()[0])
        .fold(zero, |sum, chunk| sum + chunk.losses(hidden, head, options).sum())
}

/// The gradients of the summed loss by its operands.
#[derive(Clone, Debug)]
pub(crate) struct LossGradients {
    /// By `hidden`: in its dtype, but f32 until scaled where that is f16, whose range is narrow.
    pub(crate) hidden: Tensor<2>,
    /// By `head`, where it was wanted: f32 until scaled, then in the head's dtype.
    pub(crate) head: Option<Tensor<2>>,
    hidden_dtype: FloatDType,
    head_dtype: FloatDType,
}

impl LossGradients {
    /// For the gradient `[1]` that comes in, which stays f32: the products are rounded to the operands' dtypes.
    pub(crate) fn scaled(self, by: Tensor<1>) -> Self {
        let by = by.cast(FloatDType::F32).reshape([1, 1]);
        let Self { hidden_dtype, head_dtype, .. } = self;
        let hidden = (self.hidden.cast(FloatDType::F32) * by.clone()).cast(hidden_dtype);
        let head = self.head.map(|gradient| (gradient * by).cast(head_dtype));
        Self { hidden, head, hidden_dtype, head_dtype }
    }
}

/// [`forward`], and at once the gradients, so that the logits are computed only once (Liger-Kernel,
/// arXiv:2410.10989). With `p` the gradient by the logits: `dhidden = p·head`, `dhead = pᵀ·hidden`.
pub(crate) fn forward_with_gradients(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &[i64],
    options: LossOptions,
    wants_head: bool,
) -> (Tensor<1>, LossGradients) {
    let (device, dtype) = (hidden.device(), float_dtype(hidden));
    let mut sum = Tensor::zeros([1], (&device, DType::F32));
    let kept = if dtype == FloatDType::F16 { FloatDType::F32 } else { dtype };
    let mut grad_hidden = Tensor::zeros(hidden.shape(), (&device, DType::from(kept)));
    let mut grad_head = wants_head.then(|| Tensor::zeros(head.shape(), (&device, DType::F32)));
    for chunk in Picked::new(targets).chunks(head.dims()[0]) {
        let (losses, p) = chunk.losses_and_gradient(hidden, head, options);
        sum = sum + losses.sum();
        if let Some(before) = grad_head.take() {
            grad_head = Some(before + chunk.head_gradient(hidden, &p));
        }
        let chunk_grad = hidden_gradient(p, head, kept);
        let rows = indices(chunk.rows, &device);
        grad_hidden = grad_hidden.select_assign(0, rows, chunk_grad, IndexingUpdateOp::Add);
    }
    let head_dtype = float_dtype(head);
    (sum, LossGradients { hidden: grad_hidden, head: grad_head, hidden_dtype: dtype, head_dtype })
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

    /// Its losses `[c]`.
    fn losses(&self, hidden: &Tensor<2>, head: &Tensor<2>, options: LossOptions) -> Tensor<1> {
        let logits = self.logits(hidden, head);
        #[cfg(feature = "flex")]
        if cpu::flex_f32(&logits).is_some() {
            return cpu::cross_entropy::losses(logits, self.targets, options);
        }
        self.parts(logits, options).losses
    }

    /// Its losses `[c]`, and their gradient by the logits `[c, vocab]`.
    fn losses_and_gradient(
        &self,
        hidden: &Tensor<2>,
        head: &Tensor<2>,
        options: LossOptions,
    ) -> (Tensor<1>, Tensor<2>) {
        let logits = self.logits(hidden, head);
        #[cfg(feature = "flex")]
        if cpu::flex_f32(&logits).is_some() {
            return cpu::cross_entropy::losses_and_gradient(logits, self.targets, options);
        }
        let (device, [rows, vocab]) = (logits.device(), logits.dims());
        let Parts { z, softmax, lse, target, losses } = self.parts(logits, options);
        let LossOptions { label_smoothing, z_loss, softcap } = options;
        let mut gradient = softmax;
        if z_loss > 0.0 {
            gradient = gradient * lse.mul_scalar(2.0 * z_loss).add_scalar(1.0);
        }
        if label_smoothing > 0.0 {
            gradient = gradient.sub_scalar(label_smoothing / vocab as f64);
        }
        let of_target = Tensor::full([rows, 1], label_smoothing - 1.0, (&device, DType::F32));
        gradient = gradient.scatter(1, target, of_target, IndexingUpdateOp::Add);
        if let Some(cap) = softcap {
            let of_cap = z.div_scalar(cap);
            gradient = gradient * of_cap.clone().mul(of_cap).neg().add_scalar(1.0);
        }
        (losses, gradient)
    }

    /// The parts of its loss, composed of tensor operations.
    fn parts(&self, logits: Tensor<2>, options: LossOptions) -> Parts {
        let target = indices(self.targets, &logits.device()).reshape([self.rows.len(), 1]);
        let z = capped(logits, options.softcap);
        let max = z.clone().max_dim(1);
        let exp = (z.clone() - max.clone()).exp();
        let sum = exp.clone().sum_dim(1);
        let lse = sum.clone().log() + max;
        let mut losses =
            lse.clone() - z.clone().gather(1, target.clone()).mul_scalar(1.0 - options.label_smoothing);
        if options.label_smoothing > 0.0 {
            losses = losses - z.clone().mean_dim(1).mul_scalar(options.label_smoothing);
        }
        if options.z_loss > 0.0 {
            losses = losses + lse.clone().mul(lse.clone()).mul_scalar(options.z_loss);
        }
        Parts { z, softmax: exp / sum, lse, target, losses: losses.flatten(0, 1) }
    }
}

/// Of a chunk: capped logits and softmax `[c, vocab]`, `logsumexp` and targets `[c, 1]`, losses `[c]`.
struct Parts {
    z: Tensor<2>,
    softmax: Tensor<2>,
    lse: Tensor<2>,
    target: Tensor<2, Int>,
    losses: Tensor<1>,
}

/// `p·head [c, h]` in `dtype`.
fn hidden_gradient(p: Tensor<2>, head: &Tensor<2>, dtype: FloatDType) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(gradient) = cpu::linear::logits_back(&p, head, dtype.into()) {
        return gradient;
    }
    p.cast(dtype).matmul(head.clone().cast(dtype))
}

fn indices(values: &[usize], device: &burn::tensor::Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    let count = values.len();
    let device = device.clone().without_autodiff();
    Tensor::from_data(TensorData::new(values, [count]), (&device, DType::I32))
}

fn check_logits(operation: &str, [rows, vocab]: [usize; 2], targets: &[i64]) {
    assert_eq!(rows, targets.len(), "{operation}: one target per row of logits");
    let wrong = targets.iter().find(|&&t| t != IGNORE_INDEX && !(0..vocab as i64).contains(&t));
    assert_eq!(wrong, None, "{operation}: a target outside the vocabulary of {vocab}");
}

fn check(hidden: &Tensor<2>, head: &Tensor<2>, targets: &[i64]) {
    let [rows, width] = hidden.dims();
    let [vocab, inn] = head.dims();
    assert_eq!(width, inn, "linear_cross_entropy: hidden must be [n, h] and head [vocab, h]");
    assert_eq!(rows, targets.len(), "linear_cross_entropy: one target per row of hidden");
    let wrong = targets.iter().find(|&&t| t != IGNORE_INDEX && !(0..vocab as i64).contains(&t));
    assert_eq!(wrong, None, "linear_cross_entropy: a target outside the vocabulary of {vocab}");
}
