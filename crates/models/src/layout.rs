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

/// The projections of one block with [`ModelConfig::fused_projections`] off: q, k, v, o, gate, up, down.
pub(crate) fn separate(config: &ModelConfig) -> [ProjectionRow; 7] {
    let Sizes { hidden, inner, queries, keys } = Sizes::of(config);
    let (attention, mlp) = (config.attention_bias, config.mlp_bias);
    [
        ("self_attn.q_proj", [queries, hidden], attention),
        ("self_attn.k_proj", [keys, hidden], attention),
        ("self_attn.v_proj", [keys, hidden], attention),
        ("self_attn.o_proj", [hidden, queries], config.output_bias),
        ("mlp.gate_proj", [inner, hidden], mlp),
        ("mlp.up_proj", [inner, hidden], mlp),
        ("mlp.down_proj", [hidden, inner], mlp),
    ]
}

/// The projections of one block with [`ModelConfig::fused_projections`] on: qkv, o, gate_up, down.
pub(crate) fn fused(config: &ModelConfig) -> [ProjectionRow; 4] {
    let Sizes { hidden, inner, queries, keys } = Sizes::of(config);
    [
        ("self_attn.qkv_proj", [queries + 2 * keys, hidden], config.attention_bias),
        ("self_attn.o_proj", [hidden, queries], config.output_bias),
        ("mlp.gate_up_proj", [2 * inner, hidden], config.mlp_bias),
        ("mlp.down_proj", [hidden, inner], config.mlp_bias),
    ]
}

/// Widths of a block.
struct Sizes {
    hidden: usize,
    inner: usize,
    queries: usize,
    keys: usize,
}

impl Sizes {
    fn of(config: &ModelConfig) -> Self {
        Self {
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            queries: config.num_attention_heads * config.head_dim,
            keys: config.num_key_value_heads * config.head_dim,
        }
    }
}

/// The norm of a block's input.
pub(crate) const INPUT_NORM: &str = "input_layernorm";
/// The norm after attention: of the MLP's input, or with [`ModelConfig::output_norms`] of attention's output.
pub(crate) const POST_ATTENTION_NORM: &str = "post_attention_layernorm";
/// With [`ModelConfig::output_norms`], the norms of the MLP's input and output.
pub(crate) const FEED_FORWARD_NORMS: [&str; 2] = ["pre_feedforward_layernorm", "post_feedforward_layernorm"];
/// With [`ModelConfig::qk_norm`], the norms of each head of queries and of keys.
pub(crate) const QK_NORMS: [&str; 2] = ["self_attn.q_norm", "self_attn.k_norm"];

/// The norms of one block and how wide they are.
fn norms(config: &ModelConfig) -> Vec<(&'static str, usize)> {
    let (hidden, head) = (config.hidden_size, config.head_dim);
    let mut norms = vec![(INPUT_NORM, hidden), (POST_ATTENTION_NORM, hidden)];
    if config.output_norms {
        norms.extend(FEED_FORWARD_NORMS.map(|norm| (norm, hidden)));
    }
    if config.qk_norm {
        norms.extend(QK_NORMS.map(|norm| (norm, head)));
    }
    norms
}

/// The projections of one block.
fn projections(config: &ModelConfig) -> Vec<ProjectionRow> {
    match config.fused_projections {
        true => fused(config).to_vec(),
        false => separate(config).to_vec(),
    }
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
        let norms = norms(config).into_iter();
        tensors.extend(norms.map(|(norm, width)| ExpectedTensor::required(path(norm) + ".weight", [width])));
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
