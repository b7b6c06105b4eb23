//! Putting a decoder together from its parts, wherever they come from.

use burn::{module::Param, module::ParamId, tensor::Tensor};
use burnisher_lora::{Embedding, Projection, Weight};

use crate::{
    ModelError,
    attention::SelfAttention,
    config::ModelConfig,
    decoder::{Block, CausalLm, Norm},
    layout::{self, ProjectionRow},
    mlp::Mlp,
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
        let projection = |(name, [out, inn], has_bias): ProjectionRow, parts: &mut dyn Parts| {
            let path = format!("model.layers.{layer}.{name}");
            let weight = parts.weight(&format!("{path}.weight"), [out, inn])?;
            let bias = match has_bias {
                true => Some(parts.vector(&format!("{path}.bias"), out)?),
                false => None,
            };
            Ok::<_, ModelError>(Projection::new(weight, bias))
        };
        let [q, k, v, o, gate, up, down] = layout::projections(&config);
        let self_attn = SelfAttention {
            q_proj: projection(q, parts)?,
            k_proj: projection(k, parts)?,
            v_proj: projection(v, parts)?,
            o_proj: projection(o, parts)?,
            head_dim: config.head_dim,
        };
        let mlp = Mlp {
            gate_proj: projection(gate, parts)?,
            up_proj: projection(up, parts)?,
            down_proj: projection(down, parts)?,
            activation: config.hidden_act,
        };
        let [before, after] = layout::NORMS.map(|norm| format!("model.layers.{layer}.{norm}.weight"));
        let input_layernorm = norm_of(&config, &before, parts)?;
        let post_attention_layernorm = norm_of(&config, &after, parts)?;
        layers.push(Block { input_layernorm, self_attn, post_attention_layernorm, mlp });
    }
    let norm = norm_of(&config, layout::FINAL_NORM, parts)?;
    let lm_head = match config.tie_word_embeddings {
        true => None,
        false => {
            let weight = parts.matrix(&format!("{}.weight", layout::HEAD), [vocab, hidden])?;
            Some(Projection::new(Weight::frozen(weight), None))
        }
    };
    Ok(CausalLm { embed_tokens, layers, norm, lm_head, config, checkpointing: Default::default() })
}

fn norm_of(config: &ModelConfig, name: &str, parts: &mut dyn Parts) -> Result<Norm, ModelError> {
    let weight = parts.vector(name, config.hidden_size)?;
    Ok(Norm {
        weight: Param::initialized(ParamId::new(), weight),
        epsilon: config.rms_norm_eps,
        form: config.norm_weight,
    })
}
