//! Mistral: Llama with a sliding window and without biases. Defaults: `MistralConfig` of transformers 5.23.

use burnisher_kernels::NormWeight;

use super::{Bias, EmbedScale, FamilySpec};
use crate::config::Family;

pub(super) static SPEC: FamilySpec = FamilySpec {
    family: Family::Mistral,
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    key_value_heads: Some(8),
    head_dim: None,
    max_position_embeddings: 4096 * 32,
    tie_word_embeddings: false,
    bos_token_id: Some(1),
    eos_token_id: Some(2),
    pad_token_id: None,
    hidden_act: "silu",
    hidden_activation: false,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    sliding_window: Some(4096),
    norm_weight: NormWeight::Plain,
    embed_scale: EmbedScale::One,
};
