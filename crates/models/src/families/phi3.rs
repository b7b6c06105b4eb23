//! Phi 3, 3.5 and 4 mini (arXiv:2404.14219): Llama with fused projections, LongRoPE and, in some sizes, a sliding window.
//! Defaults: `Phi3Config` of transformers 5.23.

use super::{Bias, FamilySpec, RopeRule, Window, llama::LLAMA};
use crate::config::Family;

pub(super) static SPEC: FamilySpec = FamilySpec {
    family: Family::Phi3,
    model_type: "phi3",
    architecture: "Phi3ForCausalLM",
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    eos_token_id: Some(32_000),
    pad_token_id: Some(32_000),
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    fused_projections: true,
    window: Window::EveryLayer(None),
    rope: RopeRule::Long { original_max_position_embeddings: 4096 },
    ..LLAMA
};
