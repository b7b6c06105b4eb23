//! Gemma 3's text model (arXiv:2503.19786): Gemma 2 with normalised queries and keys in place of capped scores, and five
//! layers with a sliding window and frequencies of their own for each one without. Defaults: `Gemma3TextConfig` of
//! transformers 5.23.

use super::{FamilySpec, RopeRule, Softcap, Window, gemma2::GEMMA2};
use crate::config::Family;

pub(super) static SPEC: FamilySpec = FamilySpec {
    family: Family::Gemma3Text,
    model_type: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    max_position_embeddings: 131_072,
    qk_norm: true,
    // `Gemma3Attention` reads a cap of the scores and does not apply it.
    attn_logit_softcapping: None,
    final_logit_softcapping: Some(Softcap { default: None }),
    window: Window::AllButEvery { nth: 6, key: Some("sliding_window_pattern") },
    rope: RopeRule::PerLayerType,
    ..GEMMA2
};
