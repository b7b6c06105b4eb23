//! Qwen 3 (arXiv:2505.09388): Qwen 2 with normalised queries and keys in place of biases. Defaults: `Qwen3Config` of
//! transformers 5.23.

use super::{Bias, FamilySpec, qwen2::QWEN2};
use crate::config::Family;

pub(super) static SPEC: FamilySpec = FamilySpec {
    family: Family::Qwen3,
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    head_dim: Some(128),
    attention_bias: Bias::FromConfig,
    qk_norm: true,
    ..QWEN2
};
