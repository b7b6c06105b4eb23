//! Qwen 2 and 2.5 (arXiv:2407.10671): Llama with biases on queries, keys and values, and a sliding window in its upper
//! layers if the file asks for it. Defaults: `Qwen2Config` of transformers 5.23.

use super::{Bias, FamilySpec, Window, llama::LLAMA};
use crate::config::Family;

/// The row that Qwen 3 differs from.
pub(super) const QWEN2: FamilySpec = FamilySpec {
    family: Family::Qwen2,
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    key_value_heads: Some(32),
    max_position_embeddings: 32_768,
    bos_token_id: None,
    eos_token_id: None,
    attention_bias: Bias::QueryKeyValue,
    mlp_bias: Bias::Never,
    window: Window::UpperLayers,
    ..LLAMA
};

pub(super) static SPEC: FamilySpec = QWEN2;
