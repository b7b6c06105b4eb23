//! What each family does in its own way. A family is one row of a table; the decoder is the same for all.

mod gemma;
mod llama;
mod mistral;

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
    pub(crate) tie_word_embeddings: bool,
    pub(crate) bos_token_id: Option<u32>,
    pub(crate) eos_token_id: Option<u32>,
    pub(crate) pad_token_id: Option<u32>,
    /// Default of the activation.
    pub(crate) hidden_act: &'static str,
    /// Whether v4 configurations name the activation in `hidden_activation`, and their `hidden_act` means nothing.
    pub(crate) hidden_activation: bool,
    pub(crate) attention_bias: Bias,
    pub(crate) mlp_bias: Bias,
    /// `None`: every layer sees everything before it. `Some(default)`: `sliding_window` is read.
    pub(crate) sliding_window: Option<usize>,
    pub(crate) norm_weight: NormWeight,
    pub(crate) embed_scale: EmbedScale,
}

/// Whether projections have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    /// The family has none, whatever its config.json says.
    Never,
    /// As config.json says; without, if it does not.
    FromConfig,
}

/// What embeddings are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmbedScale {
    /// Nothing.
    One,
    /// `sqrt(hidden_size)`.
    SqrtHidden,
}

static FAMILIES: [&FamilySpec; 3] = [&llama::SPEC, &mistral::SPEC, &gemma::SPEC];

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
        assert_eq!(model_types(), "llama, mistral, gemma");
    }
}
