//! Grouped-query attention.

use std::sync::{Arc, OnceLock};

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{
    backend,
    ops::precision::{float_dtype, statistics_dtype},
};

/// Which keys each query sees: its own document's, not later ones, none farther back than the window.
///
/// Documents are runs of tokens, so the keys of a query are a run as well, which ends at its own.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    /// The first key that each query sees, `[batch, queries]`.
    first: Arc<[u32]>,
    batch: usize,
    queries: usize,
    keys: usize,
    device: Device,
    /// The same as an additive mask `[batch, queries, keys]`, made when it is needed.
    additive: Arc<OnceLock<Tensor<3>>>,
}

impl AttentionMask {
    /// A causal mask over packed or padded rows.
    ///
    /// `query_segments` (`[batch, queries]`) and `key_segments` (`[batch, keys]`), row-major, number
    /// the documents of a row, whose tokens stand together; a query sees only keys of its own number. The queries
    /// are the last ones of the keys, as with a cache. With a window `w`, a query sees itself and the `w − 1`
    /// keys before it (Mistral, arXiv:2310.06825, §2).
    ///
    /// # Panics
    /// If the segments are not a multiple of `batch`, there are more queries than keys, or the queries' segments are
    /// not the last of the keys'.
    pub fn causal(
        batch: usize,
        query_segments: &[u32],
        key_segments: &[u32],
        window: Option<usize>,
        device: &Device,
    ) -> Self {
        let (queries, keys) = (query_segments.len() / batch.max(1), key_segments.len() / batch.max(1));
        assert_eq!(
            queries * batch,
            query_segments.len(),
            "attention mask: queries must be a multiple of the batch"
        );
        assert_eq!(keys * batch, key_segments.len(), "attention mask: keys must be a multiple of the batch");
        assert!(queries <= keys, "attention mask: {queries} queries but {keys} keys");
        let mut first = Vec::with_capacity(batch * queries);
        for segments in key_segments.chunks(keys.max(1)) {
            let mut start = 0;
            for position in 0..keys {
                if position > 0 && segments[position] != segments[position - 1] {
                    start = position;
                }
                if position >= keys - queries {
                    let query = query_segments[first.len()];
                    assert_eq!(
                        query, segments[position],
                        "attention mask: queries must be the last of the keys"
                    );
                    let oldest = window.map_or(0, |w| (position + 1).saturating_sub(w));
                    first.push(start.max(oldest) as u32);
                }
            }
        }
        let device = device.clone().without_autodiff();
        Self { first: first.into(), batch, queries, keys, device, additive: Arc::new(OnceLock::new()) }
    }

    /// The first key that a query sees; the last one is its own.
    pub(crate) fn first_key(&self, batch: usize, query: usize) -> usize {
        self.first[batch * self.queries + query] as usize
    }

    /// `[batch, queries, keys]`: 0 where a key is seen, a large negative number elsewhere.
    fn additive(&self) -> Tensor<3> {
        // Finite, so that no difference of two of them is NaN.
        const HIDDEN: f32 = -1e30;
        let make = || {
            let mut mask = vec![HIDDEN; self.batch * self.queries * self.keys];
            for (row, first) in self.first.iter().enumerate() {
                let position = self.keys - self.queries + row % self.queries;
                mask[row * self.keys..][*first as usize..=position].fill(0.0);
            }
            let shape = [self.batch, self.queries, self.keys];
            Tensor::from_data(TensorData::new(mask, shape), (&self.device, DType::F32))
        };
        self.additive.get_or_init(make).clone()
    }
}

/// Options of [`attention`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionOptions {
    /// Factor on the scores, usually `1 / √head_dim`.
    pub scale: f64,
    /// Soft cap `c` on the scaled scores, which become `c·tanh(score / c)` (Gemma 2, arXiv:2408.00118, §2).
    pub softcap: Option<f64>,
}

impl AttentionOptions {
    /// Scores times `scale`, without a soft cap.
    pub fn new(scale: f64) -> Self {
        Self { scale, softcap: None }
    }

    /// The same with a soft cap.
    #[must_use]
    pub fn with_softcap(self, softcap: Option<f64>) -> Self {
        Self { softcap, ..self }
    }
}

/// `softmax(cap(scale·q·kᵀ) + mask)·v`, with the softmax in f32, or f64 for f64 inputs; groups of query heads share a
/// key/value head without repeating it (GQA, arXiv:2305.13245).
///
/// The backward keeps `q`, `k`, `v` and the output and computes the scores again (FlashAttention,
/// arXiv:2205.14135, §3.1); on Flex in f32, bf16 and f16 neither direction holds more than a tile of them.
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`; `k`, `v`: `[batch, kv_heads, keys, head_dim]`
/// - output: as `q`
///
/// # Panics
/// If `heads` is not a multiple of `kv_heads`, or shapes do not fit each other or the mask.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Tensor<4> {
    let [batch, heads, queries, dim] = q.dims();
    let [_, kv_heads, keys, _] = k.dims();
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "attention: {heads} heads over {kv_heads} key/value heads"
    );
    assert_eq!(
        k.dims(),
        [batch, kv_heads, keys, dim],
        "attention: k must be [batch, kv_heads, keys, head_dim]"
    );
    let of_mask = [mask.batch, mask.queries, mask.keys];
    assert_eq!(of_mask, [batch, queries, keys], "attention: mask must be [batch, queries, keys]");
    assert_eq!(k.dims(), v.dims(), "attention: k and v must have one shape");
    if backend::has_extension(&q) {
        backend::block::attention(q, k, v, mask, options)
    } else {
        attention_reference(q, k, v, mask, options)
    }
}

/// [`attention`] composed of Burn's differentiable operations: all scores are on the tape.
pub fn attention_reference(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Tensor<4> {
    let (shape, dtype) = (q.dims(), float_dtype(&q));
    let groups = Groups::new(&q, &k);
    let weights = groups.weights(groups.stack(q), k, mask, options).0.cast(dtype);
    weights.matmul(v).reshape(shape)
}

/// Forward on plain tensors.
pub(crate) fn forward(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = cpu::attention::forward(&q, &k, &v, mask, options) {
        return out;
    }
    attention_reference(q, k, v, mask, options)
}

/// Backward on plain tensors, from q, k, v and the output. With `p` the weights and `dp = do·vᵀ`:
/// `ds = p∘(dp − rowsum(do∘o))`, times the soft cap's derivative, `dq = s·ds·k`, `dk = s·dsᵀ·q`, `dv = pᵀ·do`.
pub(crate) fn backward(
    grad: Tensor<4>,
    [q, k, v, out]: [Tensor<4>; 4],
    mask: &AttentionMask,
    options: AttentionOptions,
) -> [Tensor<4>; 3] {
    #[cfg(feature = "flex")]
    if let Some(grads) = cpu::attention::backward(&grad, &out, [&q, &k, &v], mask, options) {
        return grads;
    }
    let (shape, dtype, statistics) = (q.dims(), float_dtype(&q), statistics_dtype(&q));
    let groups = Groups::new(&q, &k);
    let (q, grad, out) = (groups.stack(q), groups.stack(grad), groups.stack(out));
    let (p, slope) = groups.weights(q.clone(), k.clone(), mask, options);
    let dp = grad.clone().matmul(v.swap_dims(2, 3)).cast(statistics);
    let mean = (grad.clone().cast(statistics) * out.cast(statistics)).sum_dim(3);
    let ds = (p.clone() * (dp - mean)).mul_scalar(options.scale);
    let ds = match slope {
        Some(slope) => (ds * slope).cast(dtype),
        None => ds.cast(dtype),
    };
    let dv = p.cast(dtype).swap_dims(2, 3).matmul(grad);
    [ds.clone().matmul(k).reshape(shape), ds.swap_dims(2, 3).matmul(q), dv]
}

/// Query heads that share a key/value head stand below each other, so that batch dimensions are equal: Flex does
/// not broadcast them under autodiff.
struct Groups {
    batch: usize,
    kv_heads: usize,
    groups: usize,
    queries: usize,
    keys: usize,
    dim: usize,
}

impl Groups {
    fn new(q: &Tensor<4>, k: &Tensor<4>) -> Self {
        let [batch, heads, queries, dim] = q.dims();
        let [_, kv_heads, keys, _] = k.dims();
        Self { batch, kv_heads, groups: heads / kv_heads, queries, keys, dim }
    }

    /// `[b, heads, t, d] -> [b, kv, g·t, d]`.
    fn stack(&self, x: Tensor<4>) -> Tensor<4> {
        x.reshape([self.batch, self.kv_heads, self.groups * self.queries, self.dim])
    }

    /// `[b, kv, g·t, s]`, in [`statistics_dtype`]; and with a soft cap its derivative there.
    fn weights(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        mask: &AttentionMask,
        options: AttentionOptions,
    ) -> (Tensor<4>, Option<Tensor<4>>) {
        let Self { batch, kv_heads, groups, queries, keys, .. } = *self;
        let statistics = statistics_dtype(&q);
        let scores = q.mul_scalar(options.scale).matmul(k.swap_dims(2, 3)).cast(statistics);
        let (scores, slope) = match options.softcap {
            None => (scores, None),
            Some(cap) => {
                let tanh = scores.div_scalar(cap).tanh();
                let slope = tanh.clone().square().neg().add_scalar(1.0);
                (tanh.mul_scalar(cap), Some(slope))
            }
        };
        let mask = mask.additive().cast(statistics).reshape([batch, 1, 1, queries, keys]);
        let scores = scores.reshape([batch, kv_heads, groups, queries, keys]) + mask;
        (softmax(scores, 4).reshape([batch, kv_heads, groups * queries, keys]), slope)
    }
}
