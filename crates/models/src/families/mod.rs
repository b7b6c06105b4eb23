//! What each family does in its own way. A family is one row of a table; the decoder is the same for all.

mod gemma;
mod gemma2;
mod gemma3;
mod llama;
mod mistral;
mod phi3;
mod qwen2;
mod qwen3;

use burnisher_kernels::NormWeight;

use crate::config::Family;

/// One family: the name it has in config.json, transformers' defaults for keys that a config.json leaves out, and
/// which of the decoder's options it uses.
#[derive(Debug)]
pub(crate) struct FamilySpec {
    pub(crate) family: Family,
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// The entry of `architectures` in config.json.
    pub(crate) architecture: &'static str,
    /// Default of `num_key_value_heads`; `None`: as many as query heads.
    pub(crate) key_value_heads: Option<usize>,
    /// Default of `head_dim`; `None`: `hidden_size / num_attention_heads`.
    pub(crate) head_dim: Option<usize>,
    pub(crate) max_position_embeddings: usize,
    pub(crate) rms_norm_eps: f64,
    pub(crate) tie_word_embeddings: bool,
    pub(crate) bos_token_id: Option<u32>,
    pub(crate) eos_token_id: Option<u32>,
    pub(crate) pad_token_id: Option<u32>,
    /// Default of the activation.
    pub(crate) hidden_act: &'static str,
    pub(crate) activation_key: ActivationKey,
    pub(crate) attention_bias: Bias,
    pub(crate) mlp_bias: Bias,
    /// Whether `qkv_proj` and `gate_up_proj` stand in place of the projections they are made of.
    pub(crate) fused_projections: bool,
    /// Whether queries and keys are normalised head by head.
    pub(crate) qk_norm: bool,
    pub(crate) score_scale: ScoreScale,
    /// Whether `attn_logit_softcapping` is read.
    pub(crate) attn_logit_softcapping: Option<Softcap>,
    /// Whether `final_logit_softcapping` is read.
    pub(crate) final_logit_softcapping: Option<Softcap>,
    pub(crate) window: Window,
    pub(crate) rope: RopeRule,
    pub(crate) norm_weight: NormWeight,
    pub(crate) block_norms: BlockNorms,
    pub(crate) embed_scale: EmbedScale,
}

/// The key that names the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivationKey {
    /// `hidden_act`.
    Act,
    /// `hidden_act`, but in v4 files `hidden_activation`, whose `hidden_act` means nothing.
    ActivationInOldFiles,
    /// `hidden_activation`; a `hidden_act` means nothing.
    Activation,
}

/// Whether projections have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    /// The family has none, whatever its config.json says.
    Never,
    /// As config.json says; without, if it does not.
    FromConfig,
    /// Queries, keys and values have one, the output of attention has none, whatever its config.json says.
    QueryKeyValue,
}

/// What attention scores are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ScoreScale {
    /// `1 / √head_dim`.
    HeadDim,
    /// `1 / √query_pre_attn_scalar`, with that key's default.
    QueryPreAttnScalar(f64),
}

/// A soft cap that config.json gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Softcap {
    /// Where the key is missing; null is no cap.
    pub(crate) default: Option<f64>,
}

/// Which layers have a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// None: each sees everything before it.
    Never,
    /// All, if `sliding_window` is a number; with that key's default.
    EveryLayer(Option<usize>),
    /// If `use_sliding_window` says so, those from `max_window_layers` on, or what `layer_types` says.
    UpperLayers,
    /// All but every n-th, or what `layer_types` says.
    AllButEvery {
        /// The n, or its default.
        nth: usize,
        /// The key that may hold the n.
        key: Option<&'static str>,
    },
}

/// How config.json describes the rotary embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RopeRule {
    /// One for all layers: unscaled, linear or Llama 3's.
    Scaled,
    /// One for all layers, perhaps over a part of each head: unscaled or LongRoPE.
    Long {
        /// Default of the key of that name.
        original_max_position_embeddings: usize,
    },
    /// As `Scaled`, one for the layers with a window and one for those without.
    PerLayerType,
}

/// Where a block normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockNorms {
    /// The inputs of attention and MLP.
    Before,
    /// Their outputs, too, before these are added to the residual stream.
    BeforeAndAfter,
}

/// What embeddings are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmbedScale {
    /// Nothing.
    One,
    /// `sqrt(hidden_size)`.
    SqrtHidden,
}

static FAMILIES: [&FamilySpec; 8] = [
    &llama::SPEC,
    &mistral::SPEC,
    &gemma::SPEC,
    &gemma2::SPEC,
    &gemma3::SPEC,
    &qwen2::SPEC,
    &qwen3::SPEC,
    &phi3::SPEC,
];

/// The family of a `model_type`.
pub(crate) fn find(model_type: &str) -> Option<&'static FamilySpec> {
    FAMILIES.into_iter().find(|spec| spec.model_type == model_type)
}

/// The row of a family.
pub(crate) fn spec(family: Family) -> &'static FamilySpec {
    match family {
        Family::Llama => &llama::SPEC,
        Family::Mistral => &mistral::SPEC,
        Family::Gemma => &gemma::SPEC,
        Family::Gemma2 => &gemma2::SPEC,
        Family::Gemma3Text => &gemma3::SPEC,
        Family::Qwen2 => &qwen2::SPEC,
        Family::Qwen3 => &qwen3::SPEC,
        Family::Phi3 => &phi3::SPEC,
    }
}

/// Every `model_type`, for messages.
pub(crate) fn model_types() -> String {
    FAMILIES.map(|spec| spec.model_type).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_its_own_name() {
        for row in FAMILIES {
            assert!(std::ptr::eq(spec(row.family), row));
            assert!(find(row.model_type).is_some_and(|found| std::ptr::eq(found, row)));
        }
        assert!(find("llama4").is_none());
        assert_eq!(model_types(), "llama, mistral, gemma, gemma2, gemma3_text, qwen2, qwen3, phi3");
    }
}
