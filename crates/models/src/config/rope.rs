//! The rotary embedding's part of a configuration.

use super::fields::Fields;
use crate::families::RopeRule;

/// transformers' default, but for Gemma 3's layers without a window.
const DEFAULT_THETA: f64 = 10_000.0;

/// `default_theta["global"]` of `Gemma3TextConfig`.
const FULL_ATTENTION_THETA: f64 = 1_000_000.0;

/// Stands next to the scaling's other fields, or in old files beside them.
const ORIGINAL_LENGTH: &str = "original_max_position_embeddings";

/// The part of each head that is turned.
const PART: &str = "partial_rotary_factor";

/// Rotary position embedding: the base of its frequencies and how they are stretched for long contexts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RopeConfig {
    /// The base θ: pair `i` of the `d` values of a head that are turned turns by `θ^(-2i/d)` per position.
    pub theta: f64,
    /// What is done to the frequencies.
    pub scaling: RopeScaling,
    /// The part of a head that is turned, from its start; above 0, at most 1. The rest stays as it is.
    pub partial_rotary_factor: f64,
}

impl RopeConfig {
    fn new(theta: f64, scaling: RopeScaling) -> Self {
        Self { theta, scaling, partial_rotary_factor: 1.0 }
    }

    /// How many values of a head are turned; even.
    pub fn rotary_dim(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.partial_rotary_factor) as usize
    }
}

/// What is done to the frequencies of [`RopeConfig`].
#[derive(Clone, Debug, PartialEq)]
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
    /// LongRoPE (arXiv:2402.13753): each frequency has a divisor of its own, one for batches whose positions all lie
    /// within the original context and one for others.
    LongRope {
        /// Divisors within the original context, one per frequency.
        short_factor: Vec<f64>,
        /// Divisors beyond it, one per frequency.
        long_factor: Vec<f64>,
        /// Factor on the turned values of queries and keys.
        attention_factor: f64,
        /// The context length of pre-training.
        original_max_position_embeddings: usize,
    },
}

/// The embedding of layers without a sliding window, and that of layers with one where it is another.
pub(super) type Ropes = (RopeConfig, Option<RopeConfig>);

/// Reads `rope_parameters` (v5), or `rope_theta` and `rope_scaling` (v4).
pub(super) fn read(
    fields: &mut Fields<'_>,
    rule: RopeRule,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
) -> Option<Ropes> {
    match rule {
        RopeRule::Scaled => shared(fields).map(|rope| (rope, None)),
        RopeRule::Long { original_max_position_embeddings } => {
            long(fields, original_max_position_embeddings, head_dim?, max_position_embeddings?)
                .map(|rope| (rope, None))
        }
        RopeRule::PerLayerType => per_layer_type(fields),
    }
}

/// One embedding for all layers.
fn shared(fields: &mut Fields<'_>) -> Option<RopeConfig> {
    let outer_theta = fields.positive("rope_theta", Some(DEFAULT_THETA));
    let outer_original = match fields.is_set(ORIGINAL_LENGTH) {
        true => fields.size(ORIGINAL_LENGTH, None),
        false => None,
    };
    whole_heads(fields);
    let key = parameters(fields);
    if fields.is_nested(key) {
        return fields.problem(key, "one set of parameters for all layers");
    }
    match fields.object(key)? {
        Some(mut rope) => scaled(&mut rope, outer_theta.or(Some(DEFAULT_THETA)), outer_original),
        None => Some(RopeConfig::new(outer_theta?, RopeScaling::None)),
    }
}

/// The key of the parameters, in the new or in the old spelling.
fn parameters(fields: &Fields<'_>) -> &'static str {
    if fields.is_set("rope_parameters") { "rope_parameters" } else { "rope_scaling" }
}

/// One set of parameters over whole heads.
fn scaled(
    rope: &mut Fields<'_>,
    default_theta: Option<f64>,
    outer_original: Option<usize>,
) -> Option<RopeConfig> {
    let theta = rope.positive("rope_theta", default_theta);
    whole_heads(rope);
    let type_key = type_key(rope);
    let scaling = match rope.text(type_key, "default")?.as_str() {
        "default" => Some(RopeScaling::None),
        "linear" => rope.positive("factor", None).map(|factor| RopeScaling::Linear { factor }),
        "llama3" => llama3(rope, outer_original),
        _ => rope.problem(type_key, "default, linear or llama3"),
    };
    Some(RopeConfig::new(theta?, scaling?))
}

fn type_key(rope: &Fields<'_>) -> &'static str {
    if rope.is_set("rope_type") { "rope_type" } else { "type" }
}

/// Some families turn only a part of each head; most do not.
fn whole_heads(fields: &mut Fields<'_>) {
    if fields.positive(PART, Some(1.0)).is_some_and(|part| part != 1.0) {
        fields.problem::<()>(PART, "1.0");
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

/// Layers with a sliding window have an embedding of their own, which only v5 files can scale.
fn per_layer_type(fields: &mut Fields<'_>) -> Option<Ropes> {
    let full = fields.positive("rope_theta", Some(FULL_ATTENTION_THETA));
    let sliding = fields.positive("rope_local_base_freq", Some(DEFAULT_THETA));
    whole_heads(fields);
    if fields.is_set("rope_parameters") && fields.is_set("rope_scaling") {
        return fields.problem("rope_scaling", "null beside rope_parameters");
    }
    let Some(mut ropes) = fields.object("rope_parameters")? else {
        let full = match fields.object("rope_scaling")? {
            None => RopeConfig::new(full?, RopeScaling::None),
            Some(mut rope) if rope.is_set("type") && !rope.is_set("rope_type") => {
                return rope
                    .problem("rope_type", "what `type` says, which transformers 5 does not read here");
            }
            Some(mut rope) => scaled(&mut rope, full.or(Some(FULL_ATTENTION_THETA)), None)?,
        };
        return Some((full, Some(RopeConfig::new(sliding?, RopeScaling::None))));
    };
    let layer_types = ["full_attention", "sliding_attention"];
    let others: Vec<String> =
        ropes.keys().filter(|key| !layer_types.contains(key)).map(str::to_owned).collect();
    for other in others {
        ropes.problem::<()>(&other, "nothing: parameters stand under full_attention and sliding_attention");
    }
    let mut of = |layer_type, default| match ropes.object(layer_type)? {
        Some(mut rope) => scaled(&mut rope, default, None),
        None => Some(RopeConfig::new(default?, RopeScaling::None)),
    };
    let (full, sliding) = (of("full_attention", full), of("sliding_attention", sliding));
    Some((full?, Some(sliding?)))
}

/// Unscaled or LongRoPE, over a part of each head.
fn long(
    fields: &mut Fields<'_>,
    default_original: usize,
    head_dim: usize,
    max_position_embeddings: usize,
) -> Option<RopeConfig> {
    let theta = fields.positive("rope_theta", Some(DEFAULT_THETA));
    // `Phi3Config` always has a length of its own, which goes before the parameters'.
    let original = fields.size(ORIGINAL_LENGTH, Some(default_original));
    let part = fields.positive(PART, Some(1.0));
    let key = parameters(fields);
    let Some(mut rope) = fields.object(key)? else {
        let rope = RopeConfig { theta: theta?, scaling: RopeScaling::None, partial_rotary_factor: part? };
        return even_part(fields, rope, head_dim);
    };
    let theta = rope.positive("rope_theta", theta.or(Some(DEFAULT_THETA)));
    let part = rope.positive(PART, part.or(Some(1.0)));
    let type_key = type_key(&rope);
    let kind = rope.text(type_key, "default")?;
    let unscaled = RopeConfig { theta: theta?, scaling: RopeScaling::None, partial_rotary_factor: part? };
    let unscaled = even_part(&mut rope, unscaled, head_dim)?;
    match kind.as_str() {
        "default" => Some(unscaled),
        // Names that early Phi 3 files have for it.
        "longrope" | "su" | "yarn" => {
            let count = unscaled.rotary_dim(head_dim) / 2;
            let scaling = long_rope(&mut rope, count, original?, max_position_embeddings)?;
            Some(RopeConfig { scaling, ..unscaled })
        }
        _ => rope.problem(type_key, "default or longrope"),
    }
}

fn even_part(fields: &mut Fields<'_>, rope: RopeConfig, head_dim: usize) -> Option<RopeConfig> {
    let turned = rope.rotary_dim(head_dim);
    if rope.partial_rotary_factor > 1.0 || turned == 0 || !turned.is_multiple_of(2) {
        let wanted = format!("a part of the head's {head_dim} values that is an even number of them");
        return fields.problem(PART, wanted);
    }
    Some(rope)
}

/// `_compute_longrope_parameters` of transformers 5.23.
fn long_rope(
    rope: &mut Fields<'_>,
    count: usize,
    original: usize,
    max_position_embeddings: usize,
) -> Option<RopeScaling> {
    let short_factor = rope.positives("short_factor", count);
    let long_factor = rope.positives("long_factor", count);
    let implied = max_position_embeddings as f64 / original as f64;
    let factor = rope.positive("factor", Some(implied))?;
    let recommended = match factor <= 1.0 {
        true => 1.0,
        false => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    // An original length of 1 has no logarithm to divide by.
    let attention_factor = rope.positive("attention_factor", Some(recommended).filter(|it| it.is_finite()));
    Some(RopeScaling::LongRope {
        short_factor: short_factor?,
        long_factor: long_factor?,
        attention_factor: attention_factor?,
        original_max_position_embeddings: original,
    })
}
