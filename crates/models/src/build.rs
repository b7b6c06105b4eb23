//! Putting a decoder together from its parts, wherever they come from.

use burn::{module::Param, module::ParamId, tensor::Tensor};
use burnisher_kernels::AttentionOptions;
use burnisher_lora::{Embedding, Projection, VirtualTokens, Weight};

use crate::{
    ModelError,
    attention::{QkNorm, QkvProjection, SelfAttention, SeparateQkv},
    config::ModelConfig,
    decoder::{Block, CausalLm, FeedForwardNorms, Norm},
    layout::{self, ProjectionRow},
    mlp::{GateUpProjection, Mlp, SeparateGateUp},
    virtual_tokens,
};

/// Where a model's parts come from.
pub(crate) trait Parts {
    /// A dense matrix by its full name.
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, ModelError>;

    /// A vector by its full name.
    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<1>, ModelError>;

    /// A projection's weight by its full name.
    fn weight(&mut self, name: &str, shape: [usize; 2]) -> Result<Weight, ModelError>;
}

/// Builds the decoder that `config` describes.
pub(crate) fn build(config: ModelConfig, parts: &mut dyn Parts) -> Result<CausalLm, ModelError> {
    let (hidden, vocab) = (config.hidden_size, config.vocab_size);
    let table = parts.matrix(layout::EMBEDDING, [vocab, hidden])?;
    let embed_tokens = Embedding::new(table, config.embed_scale.map(f64::from));
    let mut layers = Vec::with_capacity(config.num_hidden_layers);
    for layer in 0..config.num_hidden_layers {
        layers.push(block(&config, layer, parts)?);
    }
    let norm = norm(&config, layout::FINAL_NORM, hidden, parts)?;
    let lm_head = match config.tie_word_embeddings {
        true => None,
        false => {
            let weight = parts.matrix(&format!("{}.weight", layout::HEAD), [vocab, hidden])?;
            Some(Projection::new(Weight::frozen(weight), None))
        }
    };
    let virtual_tokens = VirtualTokens::none(virtual_tokens::shape(&config));
    let checkpointing = Default::default();
    Ok(CausalLm { embed_tokens, layers, norm, lm_head, virtual_tokens, config, checkpointing })
}

fn block(config: &ModelConfig, layer: usize, parts: &mut dyn Parts) -> Result<Block, ModelError> {
    let path = |name: &str| format!("model.layers.{layer}.{name}");
    let projection = |(name, [out, inn], has_bias): ProjectionRow, parts: &mut dyn Parts| {
        let weight = parts.weight(&(path(name) + ".weight"), [out, inn])?;
        let bias = match has_bias {
            true => Some(parts.vector(&(path(name) + ".bias"), out)?),
            false => None,
        };
        Ok::<_, ModelError>(Projection::new(weight, bias))
    };
    let norm_of = |name: &str, width: usize, parts: &mut dyn Parts| {
        norm(config, &(path(name) + ".weight"), width, parts)
    };
    let (qkv, o_proj, gate_up, down_proj) = if config.fused_projections {
        let [qkv, o, gate_up, down] = layout::fused(config);
        let (qkv, o) = (projection(qkv, parts)?, projection(o, parts)?);
        let (gate_up, down) = (projection(gate_up, parts)?, projection(down, parts)?);
        (QkvProjection::Fused(qkv), o, GateUpProjection::Fused(gate_up), down)
    } else {
        let [q, k, v, o, gate, up, down] = layout::separate(config);
        let qkv = SeparateQkv {
            q_proj: projection(q, parts)?,
            k_proj: projection(k, parts)?,
            v_proj: projection(v, parts)?,
        };
        let o = projection(o, parts)?;
        let gate_up = SeparateGateUp { gate_proj: projection(gate, parts)?, up_proj: projection(up, parts)? };
        let down = projection(down, parts)?;
        (QkvProjection::Separate(qkv), o, GateUpProjection::Separate(gate_up), down)
    };
    let qk_norm = match config.qk_norm {
        true => {
            let [q, k] = layout::QK_NORMS;
            let width = config.head_dim;
            Some(QkNorm { q_norm: norm_of(q, width, parts)?, k_norm: norm_of(k, width, parts)? })
        }
        false => None,
    };
    let hidden = config.hidden_size;
    let feed_forward_norms = match config.output_norms {
        true => {
            let [pre, post] = layout::FEED_FORWARD_NORMS;
            Some(FeedForwardNorms { pre: norm_of(pre, hidden, parts)?, post: norm_of(post, hidden, parts)? })
        }
        false => None,
    };
    let options = AttentionOptions::new(config.attention_scale).with_softcap(config.attn_logit_softcapping);
    Ok(Block {
        input_layernorm: norm_of(layout::INPUT_NORM, hidden, parts)?,
        self_attn: SelfAttention {
            qkv,
            o_proj,
            qk_norm,
            head_dim: config.head_dim,
            heads: config.num_attention_heads,
            layer_type: config.layer_types[layer],
            options,
        },
        post_attention_layernorm: norm_of(layout::POST_ATTENTION_NORM, hidden, parts)?,
        feed_forward_norms,
        mlp: Mlp { gate_up, down_proj, activation: config.hidden_act },
    })
}

fn norm(config: &ModelConfig, name: &str, width: usize, parts: &mut dyn Parts) -> Result<Norm, ModelError> {
    let weight = parts.vector(name, width)?;
    Ok(Norm {
        weight: Param::initialized(ParamId::new(), weight),
        epsilon: config.rms_norm_eps,
        form: config.norm_weight,
    })
}
