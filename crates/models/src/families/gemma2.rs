//! Gemma 2 (arXiv:2408.00118): Gemma with norms before and after attention and MLP, capped scores and logits, and a
//! sliding window in every second layer. Defaults: `Gemma2Config` of transformers 5.23.

use super::{ActivationKey, BlockNorms, FamilySpec, ScoreScale, Softcap, Window, gemma::GEMMA};
use crate::config::Family;

/// The row that Gemma 3 differs from.
pub(super) const GEMMA2: FamilySpec = FamilySpec {
    family: Family::Gemma2,
    model_type: "gemma2",
    architecture: "Gemma2ForCausalLM",
    key_value_heads: Some(4),
    activation_key: ActivationKey::Activation,
    score_scale: ScoreScale::QueryPreAttnScalar(256.0),
    attn_logit_softcapping: Some(Softcap { default: Some(50.0) }),
    final_logit_softcapping: Some(Softcap { default: Some(30.0) }),
    window: Window::AllButEvery { nth: 2, key: None },
    block_norms: BlockNorms::BeforeAndAfter,
    ..GEMMA
};

pub(super) static SPEC: FamilySpec = GEMMA2;
