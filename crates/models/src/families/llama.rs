//! Llama 1, 2 and 3. Defaults: `LlamaConfig` of transformers 5.23.

use burnisher_kernels::NormWeight;

use super::{ActivationKey, Bias, BlockNorms, EmbedScale, FamilySpec, RopeRule, ScoreScale, Window};
use crate::config::Family;

/// The row that others differ from: every option of the decoder is off.
pub(super) const LLAMA: FamilySpec = FamilySpec {
    family: Family::Llama,
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    key_value_heads: None,
    head_dim: None,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: false,
    bos_token_id: Some(1),
    eos_token_id: Some(2),
    pad_token_id: None,
    hidden_act: "silu",
    activation_key: ActivationKey::Act,
    attention_bias: Bias::FromConfig,
    mlp_bias: Bias::FromConfig,
    fused_projections: false,
    qk_norm: false,
    score_scale: ScoreScale::HeadDim,
    attn_logit_softcapping: None,
    final_logit_softcapping: None,
    window: Window::Never,
    rope: RopeRule::Scaled,
    norm_weight: NormWeight::Plain,
    block_norms: BlockNorms::Before,
    embed_scale: EmbedScale::One,
};

pub(super) static SPEC: FamilySpec = LLAMA;
