//! Grouped-query attention.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData, activation::softmax};

use crate::ops::lora_linear::float_dtype;

/// Which keys each query sees: its own document's, not later ones, none farther back than the
/// window. Holds an additive mask `[batch, queries, keys]`: 0 where seen, a large negative elsewhere.
#[derive(Clone, Debug)]
pub struct AttentionMask(Tensor<3>);

impl AttentionMask {
    /// A causal mask over packed or padded rows.
    ///
    /// `query_segments` (`[batch, queries]`) and `key_segments` (`[batch, keys]`), row-major, number
    /// the documents of a row; a query sees only keys of its own number. The queries are the last
    /// ones of the keys, as with a cache. With a window `w`, a query sees itself and the `w − 1`
    /// keys before it (Mistral, arXiv:2310.06825, §2).
    ///
    /// # Panics
    /// If the segments are not a multiple of `batch`, or there are more queries than keys.
    pub fn causal(
        batch: usize,
        query_segments: &[u32],
        key_segments: &[u32],
        window: Option<usize>,
        device: &Device,
    ) -> Self {
        // Finite, so that a row that sees nothing (padding) stays finite.
        const HIDDEN: f32 = -1e30;
        let (queries, keys) = (query_segments.len() / batch.max(1), key_segments.len() / batch.max(1));
        assert_eq!(
            queries * batch,
            query_segments.len(),
            "attention mask: queries must be a multiple of the batch"
        );
        assert_eq!(keys * batch, key_segments.len(), "attention mask: keys must be a multiple of the batch");
        assert!(queries <= keys, "attention mask: {queries} queries but {keys} keys");
        let mut mask = vec![HIDDEN; batch * queries * keys];
        for row in 0..batch {
            let key_row = &key_segments[row * keys..(row + 1) * keys];
            for query in 0..queries {
                let position = keys - queries + query;
                let first = window.map_or(0, |w| (position + 1).saturating_sub(w));
                let segment = query_segments[row * queries + query];
                let out = &mut mask[(row * queries + query) * keys..][..keys];
                for key in first..=position {
                    if key_row[key] == segment {
                        out[key] = 0.0;
                    }
                }
            }
        }
        let device = device.clone().without_autodiff();
        Self(Tensor::from_data(TensorData::new(mask, [batch, queries, keys]), (&device, DType::F32)))
    }
}

/// Options of [`attention`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionOptions {
    /// Factor on the scores, usually `1 / √head_dim`.
    pub scale: f64,
}

/// `softmax(scale·q·kᵀ + mask)·v`, with the softmax in f32; groups of query heads share a
/// key/value head without repeating it (GQA, arXiv:2305.13245).
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`; `k`, `v`: `[batch, kv_heads, keys, head_dim]`
/// - output: as `q`
///
/// # Panics
/// If `heads` is not a multiple of `kv_heads`, or shapes do not fit the mask.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Tensor<4> {
    let [batch, heads, queries, dim] = q.dims();
    let [_, kv_heads, keys, _] = k.dims();
    assert_eq!(heads % kv_heads, 0, "attention: {heads} heads over {kv_heads} key/value heads");
    assert_eq!(mask.0.dims(), [batch, queries, keys], "attention: mask must be [batch, queries, keys]");
    let groups = heads / kv_heads;
    let dtype = float_dtype(&q);
    // A group's queries stand below each other, so that batch dimensions are equal: Flex does not
    // broadcast them under autodiff. [b, kv, g·t, d] · [b, kv, d, s]
    let q = q.reshape([batch, kv_heads, groups * queries, dim]).mul_scalar(options.scale);
    let scores = q.matmul(k.swap_dims(2, 3)).cast(FloatDType::F32);
    let mask = mask.0.clone().reshape([batch, 1, 1, queries, keys]);
    let scores = scores.reshape([batch, kv_heads, groups, queries, keys]) + mask;
    let weights = softmax(scores, 4).cast(dtype).reshape([batch, kv_heads, groups * queries, keys]);
    weights.matmul(v).reshape([batch, heads, queries, dim])
}
