//! llama.cpp's architectures: which of them a family is, its tensors' names, and its metadata.

use burnisher_kernels::{Activation, NormWeight};

use super::GgufValue;
use crate::config::{ModelConfig, RopeScaling};
use crate::error::ModelError;
use crate::layout;

/// What llama.cpp does for one `model_type`.
#[derive(Debug)]
pub(super) struct Architecture {
    /// `model_type` in config.json.
    model_type: &'static str,
    /// `general.architecture`, and the beginning of its keys.
    pub(super) name: &'static str,
    /// Whether rotary pairs are neighbours, not halves of a head: rows of q and k change places.
    pub(super) pairs_are_neighbours: bool,
    /// The activation that is built in.
    activation: Activation,
    /// What the file's norms are multiplied with, always as it stands: 1 is added to weights that lack it.
    pub(super) norm_weight: NormWeight,
    /// Whether the head can differ from the embedding.
    pub(super) has_head: bool,
    /// Whether rotary frequencies can be scaled.
    has_rope_scaling: bool,
}

/// Sources: conversion/{llama,gemma,qwen}.py and src/models/{llama,gemma,qwen2}.cpp of llama.cpp.
static ARCHITECTURES: [Architecture; 4] = [
    Architecture {
        model_type: "llama",
        name: "llama",
        pairs_are_neighbours: true,
        activation: Activation::Silu,
        norm_weight: NormWeight::Plain,
        has_head: true,
        has_rope_scaling: true,
    },
    Architecture {
        model_type: "mistral",
        name: "llama",
        pairs_are_neighbours: true,
        activation: Activation::Silu,
        norm_weight: NormWeight::Plain,
        has_head: true,
        has_rope_scaling: true,
    },
    Architecture {
        model_type: "gemma",
        name: "gemma",
        pairs_are_neighbours: false,
        activation: Activation::GeluTanh,
        norm_weight: NormWeight::OnePlus,
        has_head: false,
        has_rope_scaling: false,
    },
    Architecture {
        model_type: "qwen2",
        name: "qwen2",
        pairs_are_neighbours: false,
        activation: Activation::Silu,
        norm_weight: NormWeight::Plain,
        has_head: true,
        has_rope_scaling: false,
    },
];

/// Names of a block's modules, in Hugging Face's files and in GGUF.
const BLOCK: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Names of the other modules.
const OUTSIDE: [(&str, &str); 3] =
    [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), (layout::HEAD, "output")];

impl Architecture {
    /// The architecture that computes what the configuration says.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] where there is none.
    pub(super) fn of(config: &ModelConfig) -> Result<&'static Self, ModelError> {
        let unsupported = |what: String, supported: &str| ModelError::Unsupported {
            what: format!("GGUF for {what}"),
            supported: supported.to_owned(),
        };
        let model_type = config.model_type();
        let Some(found) = ARCHITECTURES.iter().find(|row| row.model_type == model_type) else {
            let known: Vec<&str> = ARCHITECTURES.iter().map(|row| row.model_type).collect();
            return Err(unsupported(format!("the family {model_type}"), &known.join(", ")));
        };
        let what = |what: &str| format!("{what} in a {model_type}");
        if config.hidden_act != found.activation {
            return Err(unsupported(
                what(&format!("{:?}", config.hidden_act)),
                &format!("{:?}", found.activation),
            ));
        }
        if config.norm_weight != found.norm_weight {
            let supported = format!("{:?}", found.norm_weight);
            return Err(unsupported(
                what(&format!("norms of the kind {:?}", config.norm_weight)),
                &supported,
            ));
        }
        if !found.has_head && !config.tie_word_embeddings {
            return Err(unsupported(what("a head of its own"), "the embedding as the head"));
        }
        if !found.has_rope_scaling && config.rope.scaling != RopeScaling::None {
            return Err(unsupported(what("scaled rotary frequencies"), "unscaled ones"));
        }
        Ok(found)
    }

    /// What a reader of the file computes differently, in sentences.
    pub(super) fn differences(config: &ModelConfig) -> Vec<String> {
        let window = config.sliding_window.filter(|window| *window < config.max_position_embeddings);
        let note = window.map(|window| {
            format!(
                "llama.cpp has no sliding window for {}: texts of more than {window} tokens differ",
                config.family
            )
        });
        note.into_iter().collect()
    }

    /// Metadata on the shape of the model, with the keys' types. Values are those of llama.cpp's converter.
    pub(super) fn metadata(&self, config: &ModelConfig) -> Vec<(String, GgufValue)> {
        let key = |key: &str| format!("{}.{key}", self.name);
        let size = |value: usize| GgufValue::U32(u32::try_from(value).unwrap_or(u32::MAX));
        let float = |value: f64| GgufValue::F32(value as f32);
        let mut metadata = vec![
            (key("block_count"), size(config.num_hidden_layers)),
            (key("context_length"), size(config.max_position_embeddings)),
            (key("embedding_length"), size(config.hidden_size)),
            (key("feed_forward_length"), size(config.intermediate_size)),
            (key("attention.head_count"), size(config.num_attention_heads)),
            (key("attention.head_count_kv"), size(config.num_key_value_heads)),
            (key("rope.freq_base"), float(config.rope.theta)),
            (key("attention.layer_norm_rms_epsilon"), float(config.rms_norm_eps)),
            (key("attention.key_length"), size(config.head_dim)),
            (key("attention.value_length"), size(config.head_dim)),
            (key("vocab_size"), size(config.vocab_size)),
            (key("rope.dimension_count"), size(config.head_dim)),
        ];
        if let RopeScaling::Linear { factor } = config.rope.scaling {
            metadata.push((key("rope.scaling.type"), "linear".into()));
            metadata.push((key("rope.scaling.factor"), float(factor)));
        }
        metadata
    }
}

/// GGUF's name of a parameter (`model.layers.0.mlp.up_proj.weight` to `blk.0.ffn_up.weight`), or of a module without
/// the last part.
pub(super) fn name_of(parameter: &str) -> Option<String> {
    if let Some(block) = parameter.strip_prefix("model.layers.") {
        let (number, rest) = block.split_once('.')?;
        let (module, end) = renamed(rest, &BLOCK)?;
        return Some(format!("blk.{number}.{module}{end}"));
    }
    let (module, end) = renamed(parameter, &OUTSIDE)?;
    Some(format!("{module}{end}"))
}

/// The new name of the module that `path` begins with, and what follows it: nothing, or a point and one more part.
fn renamed<'a>(path: &'a str, names: &[(&str, &'static str)]) -> Option<(&'static str, &'a str)> {
    names.iter().find_map(|(from, to)| {
        let end = path.strip_prefix(from)?;
        (end.is_empty() || end.starts_with('.')).then_some((*to, end))
    })
}

/// What the rotary frequencies are divided by, `[head_dim / 2]`, for Llama 3's scaling; `None` for any other, which
/// needs no tensor. `LlamaModel.generate_extra_tensors` of the converter.
pub(super) fn rope_factors(config: &ModelConfig) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } =
        config.rope.scaling
    else {
        return None;
    };
    let original = original_max_position_embeddings as f64;
    let factors = (0..config.head_dim / 2).map(|pair| {
        let frequency = config.rope.theta.powf(-2.0 * pair as f64 / config.head_dim as f64);
        let turns = original * frequency / std::f64::consts::TAU;
        let factor = if turns > high_freq_factor {
            1.0
        } else if turns < low_freq_factor {
            factor
        } else {
            let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
            1.0 / ((1.0 - smooth) / factor + smooth)
        };
        factor as f32
    });
    Some(factors.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reference: `rope_factors` of docs/parity/check_gguf.py with numpy 2.4.6, the shape of Llama 3.2 1B.
    #[test]
    fn rope_factors_are_those_of_the_converter() {
        let config = |rope: serde_json::Value| {
            let text = json!({
                "model_type": "llama", "vocab_size": 8, "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 1, "head_dim": 64, "rope_parameters": rope,
            });
            ModelConfig::from_json(&text.to_string(), "config.json").unwrap_or_else(|error| panic!("{error}"))
        };
        let scaled = config(json!({
            "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        }));
        let factors = rope_factors(&scaled).unwrap_or_default();
        assert_eq!(factors.len(), 32);
        assert!(
            factors[..15].iter().all(|factor| *factor == 1.0)
                && factors[18..].iter().all(|factor| *factor == 32.0)
        );
        for (found, wanted) in factors[15..18].iter().zip([1.651_329_3, 3.292_262_8, 9.666_731]) {
            assert!((found - wanted).abs() <= 1e-5 * wanted, "{found} {wanted}");
        }
        assert_eq!(rope_factors(&config(json!({"rope_type": "default", "rope_theta": 10_000.0}))), None);
    }

    #[test]
    fn names_are_those_of_llama_cpp() {
        let cases = [
            ("model.embed_tokens.weight", Some("token_embd.weight")),
            ("model.norm.weight", Some("output_norm.weight")),
            ("lm_head.weight", Some("output.weight")),
            ("lm_head", Some("output")),
            ("model.layers.0.input_layernorm.weight", Some("blk.0.attn_norm.weight")),
            ("model.layers.11.post_attention_layernorm.weight", Some("blk.11.ffn_norm.weight")),
            ("model.layers.3.self_attn.q_proj.bias", Some("blk.3.attn_q.bias")),
            ("model.layers.3.self_attn.o_proj.weight", Some("blk.3.attn_output.weight")),
            ("model.layers.3.mlp.down_proj", Some("blk.3.ffn_down")),
            ("model.layers.3.mlp.down_projection", None),
            ("model.normal.weight", None),
            ("model.layers", None),
        ];
        for (from, to) in cases {
            assert_eq!(name_of(from).as_deref(), to, "{from}");
        }
    }
}
