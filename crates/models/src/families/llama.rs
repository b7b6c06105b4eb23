//! Llama 1, 2 and 3. Defaults: `LlamaConfig` of transformers 5.23.

use burnisher_kernels::NormWeight;

use super::{Bias, EmbedScale, FamilySpec};
use crate::config::Family;

pub(super) static SPEC: FamilySpec = FamilySpec {
    family: Family::Llama,
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    key_value_heads: None,
    head_dim: None,
    max_position_embeddings: 2048,
    tie_word_embeddings: false,
    bos_token_id: Some(1),
    eos_token_id: Some(2),
    pad_token_id: None,
    hidden_act: "silu",
    hidden_activation: false,
    attention_bias: Bias::FromConfig,
    mlp_bias: Bias::FromConfig,
    sliding_window: None,
    norm_weight: NormWeight::Plain,
    embed_scale: EmbedScale::One,
};
