//! Gemma 1: wide heads, tied and scaled embeddings, norms that multiply by `1 + weight`, a tanh-approximated GELU.
//! Defaults: `GemmaConfig` of transformers 5.23.

use burnisher_kernels::NormWeight;

use super::{ActivationKey, Bias, EmbedScale, FamilySpec, llama::LLAMA};
use crate::config::Family;

/// The row that the later Gemmas differ from.
pub(super) const GEMMA: FamilySpec = FamilySpec {
    family: Family::Gemma,
    model_type: "gemma",
    architecture: "GemmaForCausalLM",
    key_value_heads: Some(16),
    head_dim: Some(256),
    max_position_embeddings: 8192,
    tie_word_embeddings: true,
    bos_token_id: Some(2),
    eos_token_id: Some(1),
    pad_token_id: Some(0),
    hidden_act: "gelu_pytorch_tanh",
    activation_key: ActivationKey::ActivationInOldFiles,
    mlp_bias: Bias::Never,
    norm_weight: NormWeight::OnePlus,
    embed_scale: EmbedScale::SqrtHidden,
    ..LLAMA
};

pub(super) static SPEC: FamilySpec = GEMMA;
