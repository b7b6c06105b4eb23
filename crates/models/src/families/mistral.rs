//! Mistral: Llama with a sliding window and without biases. Defaults: `MistralConfig` of transformers 5.23.

use super::{Bias, FamilySpec, Window, llama::LLAMA};
use crate::config::Family;

pub(super) static SPEC: FamilySpec = FamilySpec {
    family: Family::Mistral,
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    key_value_heads: Some(8),
    max_position_embeddings: 4096 * 32,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    window: Window::EveryLayer(Some(4096)),
    ..LLAMA
};
