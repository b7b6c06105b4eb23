//! Self-attention with grouped queries and rotary positions.

use burn::{
    module::Module,
    tensor::{Device, FloatDType, Tensor, TensorData},
};
use burnisher_kernels::{AttentionMask, AttentionOptions, DropoutKeys, SharedInput, attention, rope};
use burnisher_lora::Projection;

use crate::{
    config::{LayerType, ModelConfig, RopeConfig},
    decoder::{ModelInput, Norm},
    kv_cache::LayerCache,
    rope::cos_sin,
    virtual_tokens::LayerPrefix,
};

/// What one forward pass shares over the layers.
#[derive(Clone, Debug)]
pub(crate) struct PassContext {
    /// `None` where the model has no layer of the kind.
    full: Option<LayerContext>,
    sliding: Option<LayerContext>,
    pub(crate) keys: Option<DropoutKeys>,
}

/// What one forward pass shares over the layers of a kind.
#[derive(Clone, Debug)]
struct LayerContext {
    positions: Rotation,
    mask: AttentionMask,
}

/// The tables of rotary positions, `[rows, 1, t, rotary_dim]`.
#[derive(Clone, Debug)]
struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl PassContext {
    /// Positions and segments are row-major `[rows, t]`; `key_segments` where keys stand before them.
    pub(crate) fn new(
        config: &ModelConfig,
        input: &ModelInput<'_>,
        key_segments: Option<Vec<u32>>,
        dtype: FloatDType,
        device: &Device,
    ) -> Self {
        let ModelInput { rows, positions, segments, dropout: keys, .. } = *input;
        let rotation = |rope: &RopeConfig| {
            let width = rope.rotary_dim(config.head_dim);
            let (cos, sin) = cos_sin(rope, config.head_dim, positions);
            let table = |values: Vec<f32>| {
                let data = TensorData::new(values, [rows, 1, positions.len() / rows.max(1), width]);
                Tensor::<4>::from_data(data, device).cast(dtype)
            };
            Rotation { cos: table(cos), sin: table(sin) }
        };
        let mask = |window| {
            let key_segments = key_segments.as_deref().unwrap_or(segments);
            AttentionMask::causal(rows, segments, key_segments, window, device)
        };
        let has = |kind| config.layer_types.contains(&kind);
        let shared = (has(LayerType::Full) || config.sliding_rope.is_none()).then(|| rotation(&config.rope));
        let full = shared.clone().filter(|_| has(LayerType::Full));
        let sliding = match &config.sliding_rope {
            _ if !has(LayerType::Sliding) => None,
            Some(rope) => Some(rotation(rope)),
            None => shared,
        };
        Self {
            full: full.map(|positions| LayerContext { positions, mask: mask(None) }),
            sliding: sliding.map(|positions| LayerContext { positions, mask: mask(config.sliding_window) }),
            keys: keys.cloned(),
        }
    }

    fn of(&self, layer_type: LayerType) -> &LayerContext {
        let context = match layer_type {
            LayerType::Full => &self.full,
            LayerType::Sliding => &self.sliding,
        };
        context.as_ref().expect("a context is made for every kind of layer in the configuration")
    }
}

impl Rotation {
    /// Turns the first values of each head, `[b, heads, t, d] -> [b, heads, t, d]`.
    fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let (width, dim) = (self.cos.dims()[3], x.dims()[3]);
        if width == dim {
            return rope(x, self.cos.clone(), self.sin.clone());
        }
        let rest = x.clone().narrow(3, width, dim - width);
        let turned = rope(x.narrow(3, 0, width), self.cos.clone(), self.sin.clone());
        Tensor::cat(vec![turned, rest], 3)
    }
}

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    pub(crate) qkv: QkvProjection,
    pub(crate) o_proj: Projection,
    pub(crate) qk_norm: Option<QkNorm>,
    #[module(skip)]
    pub(crate) head_dim: usize,
    #[module(skip)]
    pub(crate) heads: usize,
    #[module(skip)]
    pub(crate) layer_type: LayerType,
    #[module(skip)]
    pub(crate) options: AttentionOptions,
}

/// What makes queries, keys and values.
#[derive(Module, Debug)]
pub(crate) enum QkvProjection {
    /// A projection each.
    Separate(SeparateQkv),
    /// `qkv_proj`: rows of queries, keys and values in this order.
    Fused(Projection),
}

#[derive(Module, Debug)]
pub(crate) struct SeparateQkv {
    pub(crate) q_proj: Projection,
    pub(crate) k_proj: Projection,
    pub(crate) v_proj: Projection,
}

/// Norms of each head of queries and keys.
#[derive(Module, Debug)]
pub(crate) struct QkNorm {
    pub(crate) q_norm: Norm,
    pub(crate) k_norm: Norm,
}

impl QkvProjection {
    /// `[b, t, h] -> [b, t, heads·d]` for queries, keys and values; `queries` is the first one's width.
    fn forward(&self, x: Tensor<3>, queries: usize, keys: Option<&DropoutKeys>) -> [Tensor<3>; 3] {
        match self {
            Self::Separate(SeparateQkv { q_proj, k_proj, v_proj }) => {
                let x = SharedInput::from(x);
                [q_proj, k_proj, v_proj].map(|projection| projection.forward(&x, keys))
            }
            Self::Fused(qkv_proj) => {
                let all = qkv_proj.forward(x, keys);
                let width = (all.dims()[2] - queries) / 2;
                [(0, queries), (queries, width), (queries + width, width)]
                    .map(|(start, width)| all.clone().narrow(2, start, width))
            }
        }
    }
}

impl SelfAttention {
    /// `[b, t, h] -> [b, t, h]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        context: &PassContext,
        prefix: Option<&LayerPrefix>,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let layer = context.of(self.layer_type);
        // [b, t, heads·d] -> [b, t, heads, d]
        let split = |y: Tensor<3>| {
            let count = y.dims()[2] / self.head_dim;
            y.reshape([batch, length, count, self.head_dim])
        };
        let [q, k, v] = self.qkv.forward(x, self.heads * self.head_dim, context.keys.as_ref()).map(split);
        let (q, k) = match &self.qk_norm {
            Some(QkNorm { q_norm, k_norm }) => (q_norm.forward(q), k_norm.forward(k)),
            None => (q, k),
        };
        // [b, t, heads, d] -> [b, heads, t, d]
        let [q, k, v] = [q, k, v].map(|y| y.swap_dims(1, 2));
        let (q, k) = (layer.positions.turn(q), layer.positions.turn(k));
        let (k, v) = match prefix {
            Some(prefix) => prefix.before(k, v),
            None => (k, v),
        };
        let (k, v) = match cache {
            Some(cache) => cache.append(k, v),
            None => (k, v),
        };
        let y = attention(q, k, v, &layer.mask, self.options);
        let width = y.dims()[1] * self.head_dim;
        self.o_proj.forward(y.swap_dims(1, 2).reshape([batch, length, width]), context.keys.as_ref())
    }

    /// Calls `visit` with every projection and its path inside the block.
    pub(crate) fn projections(&mut self, visit: &mut dyn FnMut(&str, &mut Projection)) {
        match &mut self.qkv {
            QkvProjection::Separate(SeparateQkv { q_proj, k_proj, v_proj }) => {
                visit("self_attn.q_proj", q_proj);
                visit("self_attn.k_proj", k_proj);
                visit("self_attn.v_proj", v_proj);
            }
            QkvProjection::Fused(qkv_proj) => visit("self_attn.qkv_proj", qkv_proj),
        }
        visit("self_attn.o_proj", &mut self.o_proj);
    }
}
