//! Self-attention with grouped queries and rotary positions.

use burn::{
    module::Module,
    tensor::{Device, FloatDType, Tensor, TensorData},
};
use burnisher_kernels::{AttentionMask, AttentionOptions, DropoutKeys, SharedInput, attention, rope};
use burnisher_lora::Projection;

use crate::{
    config::ModelConfig,
    decoder::ModelInput,
    kv_cache::{KvCache, LayerCache},
    rope::cos_sin,
};

/// What one forward pass shares over the layers.
#[derive(Clone, Debug)]
pub(crate) struct PassContext {
    cos: Tensor<4>,
    sin: Tensor<4>,
    mask: AttentionMask,
    pub(crate) keys: Option<DropoutKeys>,
}

impl PassContext {
    /// Positions and segments are row-major `[rows, t]`; with a cache, keys stand before them.
    pub(crate) fn new(
        config: &ModelConfig,
        input: &ModelInput<'_>,
        cache: Option<&KvCache>,
        dtype: FloatDType,
        device: &Device,
    ) -> Self {
        let ModelInput { rows, positions, segments, dropout: keys, .. } = *input;
        let (length, dim) = (positions.len() / rows.max(1), config.head_dim);
        let (cos, sin) = cos_sin(&config.rope, dim, positions);
        let table = |values: Vec<f32>| {
            let data = TensorData::new(values, [rows, 1, length, dim]);
            Tensor::<4>::from_data(data, device).cast(dtype)
        };
        let window = config.sliding_window;
        let mask = match cache {
            Some(cache) => {
                AttentionMask::causal(rows, segments, &cache.segments_with(segments), window, device)
            }
            None => AttentionMask::causal(rows, segments, segments, window, device),
        };
        Self { cos: table(cos), sin: table(sin), mask, keys: keys.cloned() }
    }
}

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    pub(crate) q_proj: Projection,
    pub(crate) k_proj: Projection,
    pub(crate) v_proj: Projection,
    pub(crate) o_proj: Projection,
    #[module(skip)]
    pub(crate) head_dim: usize,
}

impl SelfAttention {
    /// `[b, t, h] -> [b, t, h]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        context: &PassContext,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        // [b, t, heads·d] -> [b, heads, t, d]
        let heads = |y: Tensor<3>| {
            let count = y.dims()[2] / self.head_dim;
            y.reshape([batch, length, count, self.head_dim]).swap_dims(1, 2)
        };
        let x = SharedInput::from(x);
        let [q, k, v] = [&self.q_proj, &self.k_proj, &self.v_proj]
            .map(|projection| heads(projection.forward(&x, context.keys.as_ref())));
        drop(x);
        let q = rope(q, context.cos.clone(), context.sin.clone());
        let k = rope(k, context.cos.clone(), context.sin.clone());
        let (k, v) = match cache {
            Some(cache) => cache.append(k, v),
            None => (k, v),
        };
        let scale = (self.head_dim as f64).powf(-0.5);
        let y = attention(q, k, v, &context.mask, AttentionOptions::new(scale));
        let width = y.dims()[1] * self.head_dim;
        self.o_proj.forward(y.swap_dims(1, 2).reshape([batch, length, width]), context.keys.as_ref())
    }
}
