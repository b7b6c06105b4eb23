//! The tensors of a decoder, by Hugging Face's names: the one table that loading, saving and
//! initialising follow.

use crate::{checkpoint::ExpectedTensor, config::ModelConfig};

/// Hugging Face's name of the embedding's weight.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The name of the final norm's weight.
pub(crate) const FINAL_NORM: &str = "model.norm.weight";
/// The path of the output projection.
pub(crate) const HEAD: &str = "lm_head";

/// A projection of a block: path inside the block, `[out, in]`, whether it has a bias.
pub(crate) type ProjectionRow = (&'static str, [usize; 2], bool);

/// The projections of one block.
pub(crate) fn projections(config: &ModelConfig) -> [ProjectionRow; 7] {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let (attention, mlp) = (config.attention_bias, config.mlp_bias);
    [
        ("self_attn.q_proj", [queries, hidden], attention),
        ("self_attn.k_proj", [keys, hidden], attention),
        ("self_attn.v_proj", [keys, hidden], attention),
        ("self_attn.o_proj", [hidden, queries], attention),
        ("mlp.gate_proj", [inner, hidden], mlp),
        ("mlp.up_proj", [inner, hidden], mlp),
        ("mlp.down_proj", [hidden, inner], mlp),
    ]
}

/// The paths of the blocks' projections, in the model's order.
pub(crate) fn projection_paths(config: &ModelConfig) -> Vec<String> {
    let of_layer = |layer: usize| {
        projections(config).into_iter().map(move |(name, ..)| format!("model.layers.{layer}.{name}"))
    };
    (0..config.num_hidden_layers).flat_map(of_layer).collect()
}

/// `[out, in]` of the projection at `path`; `None` for any other module.
pub(crate) fn projection_shape(config: &ModelConfig, path: &str) -> Option<[usize; 2]> {
    let (layer, name) = path.strip_prefix("model.layers.")?.split_once('.')?;
    let is_there = layer.parse::<usize>().is_ok_and(|layer| layer < config.num_hidden_layers);
    let found = projections(config).into_iter().find(|(projection, ..)| *projection == name)?;
    is_there.then_some(found.1)
}

/// The norms of one block, in the order of use.
pub(crate) const NORMS: [&str; 2] = ["input_layernorm", "post_attention_layernorm"];

/// Every tensor of the model.
pub(crate) fn expected(config: &ModelConfig) -> Vec<ExpectedTensor> {
    let (hidden, vocab) = (config.hidden_size, config.vocab_size);
    let mut tensors = vec![ExpectedTensor::required(EMBEDDING, [vocab, hidden])];
    for layer in 0..config.num_hidden_layers {
        let path = |name: &str| format!("model.layers.{layer}.{name}");
        for (name, [out, inn], has_bias) in projections(config) {
            tensors.push(ExpectedTensor::required(path(name) + ".weight", [out, inn]));
            if has_bias {
                tensors.push(ExpectedTensor::required(path(name) + ".bias", [out]));
            }
        }
        tensors.extend(NORMS.map(|norm| ExpectedTensor::required(path(norm) + ".weight", [hidden])));
    }
    tensors.push(ExpectedTensor::required(FINAL_NORM, [hidden]));
    let head = format!("{HEAD}.weight");
    tensors.push(if config.tie_word_embeddings {
        ExpectedTensor::optional(head, [vocab, hidden])
    } else {
        ExpectedTensor::required(head, [vocab, hidden])
    });
    tensors
}
