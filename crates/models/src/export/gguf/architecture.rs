//! llama.cpp's architectures: which of them a family is, its tensors' names, and its metadata.

use burnisher_kernels::{Activation, NormWeight};

use super::GgufValue;
use crate::config::{LayerType, ModelConfig, RopeScaling};
use crate::error::ModelError;
use crate::layout;

/// What llama.cpp does for one `model_type`.
#[derive(Debug)]
pub(super) struct Architecture {
    /// `model_type` in config.json.
    model_type: &'static str,
    /// `general.architecture`, and the beginning of its keys.
    pub(super) name: &'static str,
    /// Names of a block's modules, in Hugging Face's files and in GGUF.
    block: &'static [(&'static str, &'static str)],
    /// Whether rotary pairs are neighbours, not halves of a head: rows of q and k change places.
    pub(super) pairs_are_neighbours: bool,
    /// The activation that is built in.
    activation: Activation,
    /// What the file's norms are multiplied with, always as it stands: 1 is added to weights that lack it.
    pub(super) norm_weight: NormWeight,
    /// Whether the head can differ from the embedding.
    has_head: bool,
    /// Whether projections can have biases.
    has_biases: bool,
    /// How rotary frequencies can be scaled.
    scaling: Scaling,
    /// Which layers have a window; `None`: no layer has.
    windows: Option<Windows>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scaling {
    Unscaled,
    Linear,
    /// Llama 3's, too.
    Llama3,
}

/// Layers with a window: all but every `period`th.
#[derive(Debug)]
struct Windows {
    period: usize,
    /// The number of layers of the one model whose scores are divided by `√(hidden_size / heads)`, not `√head_dim`.
    layers_of_27b: usize,
    /// Whether scores have a soft cap: always, or never.
    caps_scores: bool,
}

const PLAIN: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// With norms behind attention and MLP, too.
const NORMS_BEHIND: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

const LLAMA: Architecture = Architecture {
    model_type: "llama",
    name: "llama",
    block: PLAIN,
    pairs_are_neighbours: true,
    activation: Activation::Silu,
    norm_weight: NormWeight::Plain,
    has_head: true,
    has_biases: true,
    scaling: Scaling::Llama3,
    windows: None,
};

const QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    name: "qwen2",
    pairs_are_neighbours: false,
    scaling: Scaling::Unscaled,
    ..LLAMA
};

const GEMMA: Architecture = Architecture {
    model_type: "gemma",
    name: "gemma",
    block: PLAIN,
    pairs_are_neighbours: false,
    activation: Activation::GeluTanh,
    norm_weight: NormWeight::OnePlus,
    has_head: false,
    has_biases: false,
    scaling: Scaling::Unscaled,
    windows: None,
};

/// Sources: conversion/{llama,gemma,qwen}.py and src/models/{llama,gemma,gemma2,gemma3,qwen2,qwen3}.cpp of llama.cpp.
static ARCHITECTURES: [Architecture; 7] = [
    LLAMA,
    Architecture { model_type: "mistral", ..LLAMA },
    GEMMA,
    Architecture {
        model_type: "gemma2",
        name: "gemma2",
        block: NORMS_BEHIND,
        windows: Some(Windows { period: 2, layers_of_27b: 46, caps_scores: true }),
        ..GEMMA
    },
    Architecture {
        model_type: "gemma3_text",
        name: "gemma3",
        block: NORMS_BEHIND,
        scaling: Scaling::Linear,
        windows: Some(Windows { period: 6, layers_of_27b: 62, caps_scores: false }),
        ..GEMMA
    },
    QWEN2,
    Architecture { model_type: "qwen3", name: "qwen3", has_biases: false, ..QWEN2 },
];

/// The rotary base of Gemma 3's layers with a window, which llama.cpp has built in.
const LOCAL_THETA: f64 = 10_000.0;

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
        let has_biases = config.attention_bias || config.output_bias || config.mlp_bias;
        if has_biases && !found.has_biases {
            return Err(unsupported(what("biases of projections"), "projections without them"));
        }
        let fits = match config.rope.scaling {
            RopeScaling::None => true,
            RopeScaling::Linear { .. } => found.scaling != Scaling::Unscaled,
            _ => found.scaling == Scaling::Llama3,
        };
        if !fits {
            return Err(unsupported(what("scaled rotary frequencies"), "unscaled ones"));
        }
        if let Some(windows) = &found.windows
            && let Some((found, wanted)) = windows.misfit(config)
        {
            return Err(unsupported(what(&found), &wanted));
        }
        Ok(found)
    }

    /// What a reader of the file computes differently, in sentences.
    pub(super) fn differences(config: &ModelConfig) -> Vec<String> {
        let has_none = Self::of(config).is_ok_and(|found| found.windows.is_none());
        let window =
            config.sliding_window.filter(|window| has_none && *window < config.max_position_embeddings);
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
        if self.windows.is_some() {
            metadata
                .extend(config.sliding_window.map(|window| (key("attention.sliding_window"), size(window))));
            let caps = [
                ("attn_logit_softcapping", config.attn_logit_softcapping),
                ("final_logit_softcapping", config.final_logit_softcapping),
            ];
            metadata.extend(caps.into_iter().filter_map(|(name, cap)| Some((key(name), float(cap?)))));
        }
        metadata
    }

    /// GGUF's name of a parameter (`model.layers.0.mlp.up_proj.weight` to `blk.0.ffn_up.weight`), or of a module without
    /// the last part.
    pub(super) fn name_of(&self, parameter: &str) -> Option<String> {
        if let Some(block) = parameter.strip_prefix("model.layers.") {
            let (number, rest) = block.split_once('.')?;
            let (module, end) = renamed(rest, self.block)?;
            return Some(format!("blk.{number}.{module}{end}"));
        }
        let (module, end) = renamed(parameter, &OUTSIDE)?;
        Some(format!("{module}{end}"))
    }
}

impl Windows {
    /// What of the configuration llama.cpp has built in otherwise, and what it has.
    fn misfit(&self, config: &ModelConfig) -> Option<(String, String)> {
        let layers = config.num_hidden_layers;
        let is_full = |layer: usize| (layer + 1).is_multiple_of(self.period);
        let same = (0..layers).all(|layer| (config.layer_types[layer] == LayerType::Full) == is_full(layer));
        if !same || config.sliding_window.is_none() {
            let wanted = format!("a window in all layers but every {}th", self.period);
            return Some((format!("the layers {:?}", config.layer_types), wanted));
        }
        let width = match layers == self.layers_of_27b {
            true => config.hidden_size / config.num_attention_heads,
            false => config.head_dim,
        };
        let scale = (width as f64).sqrt().recip();
        if (config.attention_scale - scale).abs() > 1e-6 * scale {
            let found = format!("scores that are multiplied with {}", config.attention_scale);
            return Some((found, format!("{scale}, of query_pre_attn_scalar = {width}")));
        }
        if config.attn_logit_softcapping.is_some() != self.caps_scores {
            let found = format!("attn_logit_softcapping = {:?}", config.attn_logit_softcapping);
            return Some((found, if self.caps_scores { "a number" } else { "none" }.to_owned()));
        }
        if self.caps_scores && config.final_logit_softcapping.is_none() {
            return Some(("no final_logit_softcapping".to_owned(), "a number".to_owned()));
        }
        let local = config.sliding_rope.as_ref();
        if local.is_some_and(|rope| rope.theta != LOCAL_THETA || rope.scaling != RopeScaling::None) {
            return Some((
                format!("{local:?} in layers with a window"),
                format!("theta {LOCAL_THETA}, unscaled"),
            ));
        }
        None
    }
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
            assert_eq!(LLAMA.name_of(from).as_deref(), to, "{from}");
        }
        let gemma2 = ARCHITECTURES.iter().find(|row| row.model_type == "gemma2");
        let behind = "model.layers.0.post_attention_layernorm.weight";
        assert_eq!(
            gemma2.and_then(|row| row.name_of(behind)).as_deref(),
            Some("blk.0.post_attention_norm.weight")
        );
    }
}
