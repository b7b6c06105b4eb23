//! The rotary embedding's part of a configuration.

use super::fields::Fields;

/// transformers' default for every family here.
const DEFAULT_THETA: f64 = 10_000.0;

/// Stands next to the scaling's other fields, or in old files beside them.
const ORIGINAL_LENGTH: &str = "original_max_position_embeddings";

/// Rotary position embedding: the base of its frequencies and how they are stretched for long contexts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RopeConfig {
    /// The base θ: pair `i` of a head of width `d` turns by `θ^(-2i/d)` per position.
    pub theta: f64,
    /// What is done to the frequencies.
    pub scaling: RopeScaling,
}

/// What is done to the frequencies of [`RopeConfig`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Nothing.
    None,
    /// All are divided by `factor` (position interpolation, Chen et al. 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1's: waves longer than `original_max_position_embeddings / low_freq_factor` are divided by `factor`,
    /// those shorter than `original_max_position_embeddings / high_freq_factor` stay, between them it is a mixture.
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Turns within the original context below which a frequency is divided.
        low_freq_factor: f64,
        /// Turns within the original context above which a frequency stays.
        high_freq_factor: f64,
        /// The context length of pre-training.
        original_max_position_embeddings: usize,
    },
}

/// Reads `rope_parameters` (v5), or `rope_theta` and `rope_scaling` (v4).
pub(super) fn read(fields: &mut Fields<'_>) -> Option<RopeConfig> {
    let outer_theta = fields.positive("rope_theta", Some(DEFAULT_THETA));
    let outer_original = match fields.is_set(ORIGINAL_LENGTH) {
        true => fields.size(ORIGINAL_LENGTH, None),
        false => None,
    };
    whole_heads(fields);
    let key = if fields.is_set("rope_parameters") { "rope_parameters" } else { "rope_scaling" };
    if fields.is_nested(key) {
        return fields.problem(key, "one set of parameters for all layers");
    }
    let Some(mut rope) = fields.object(key)? else {
        return Some(RopeConfig { theta: outer_theta?, scaling: RopeScaling::None });
    };
    let theta = rope.positive("rope_theta", outer_theta.or(Some(DEFAULT_THETA)));
    whole_heads(&mut rope);
    let type_key = if rope.is_set("rope_type") { "rope_type" } else { "type" };
    let scaling = match rope.text(type_key, "default")?.as_str() {
        "default" => Some(RopeScaling::None),
        "linear" => rope.positive("factor", None).map(|factor| RopeScaling::Linear { factor }),
        "llama3" => llama3(&mut rope, outer_original),
        _ => rope.problem(type_key, "default, linear or llama3"),
    };
    Some(RopeConfig { theta: theta?, scaling: scaling? })
}

/// Some families turn only a part of each head; none that is built here does.
fn whole_heads(fields: &mut Fields<'_>) {
    let key = "partial_rotary_factor";
    if fields.positive(key, Some(1.0)).is_some_and(|part| part != 1.0) {
        fields.problem::<()>(key, "1.0");
    }
}

fn llama3(rope: &mut Fields<'_>, outer_original: Option<usize>) -> Option<RopeScaling> {
    let factor = rope.positive("factor", None);
    let low = rope.positive("low_freq_factor", None);
    let high = rope.positive("high_freq_factor", None);
    let original = rope.size(ORIGINAL_LENGTH, outer_original);
    let (low_freq_factor, high_freq_factor) = (low?, high?);
    if low_freq_factor >= high_freq_factor {
        return rope.problem("high_freq_factor", format!("more than low_freq_factor, {low_freq_factor}"));
    }
    Some(RopeScaling::Llama3 {
        factor: factor?,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings: original?,
    })
}
