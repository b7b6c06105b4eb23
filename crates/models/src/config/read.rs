//! From the JSON object of a `config.json` to a [`ModelConfig`].

use burnisher_kernels::Activation;
use serde_json::{Map, Value};

use super::fields::{Fields, describe};
use super::{Family, ModelConfig, QuantizationConfig, layers, rope};
use crate::error::ConfigProblem;
use crate::families::{self, ActivationKey, Bias, BlockNorms, EmbedScale, FamilySpec, ScoreScale, Softcap};

/// More layers than any model has: a lying file shall not make us name a billion tensors.
const MAX_LAYERS: usize = 10_000;

/// transformers' names of what is built here.
const ACTIVATIONS: [(&str, Activation); 3] =
    [("silu", Activation::Silu), ("swish", Activation::Silu), ("gelu_pytorch_tanh", Activation::GeluTanh)];

/// Reads every field before it reports, so that one run shows all problems.
pub(super) fn read(raw: Map<String, Value>) -> Result<ModelConfig, Vec<ConfigProblem>> {
    let model_type = raw.get("model_type");
    let Some(spec) = model_type.and_then(Value::as_str).and_then(families::find) else {
        let found = model_type.map_or_else(|| "nothing".to_owned(), describe);
        let wanted = match raw.contains_key("text_config") {
            true => format!("a text model alone, one of {}", families::model_types()),
            false => format!("one of {}", families::model_types()),
        };
        return Err(vec![ConfigProblem::new("model_type", found, wanted)]);
    };
    let mut problems = Vec::new();
    let config = config(&mut Fields::new(&raw, &mut problems), spec);
    match config {
        Some(config) if problems.is_empty() => Ok(ModelConfig { raw, ..config }),
        _ => Err(problems),
    }
}

fn config(fields: &mut Fields<'_>, spec: &FamilySpec) -> Option<ModelConfig> {
    let vocab_size = fields.size("vocab_size", None);
    let hidden_size = fields.size("hidden_size", None);
    let intermediate_size = fields.size("intermediate_size", None);
    let num_hidden_layers = hidden_layers(fields);
    let heads = heads(fields, spec, hidden_size);
    let rms_norm_eps = fields.positive("rms_norm_eps", Some(spec.rms_norm_eps));
    let hidden_act = activation(fields, spec);
    let max_position_embeddings = fields.size("max_position_embeddings", Some(spec.max_position_embeddings));
    let head_dim = heads.as_ref().map(|heads| heads.dim);
    let rope = rope::read(fields, spec.rope, head_dim, max_position_embeddings);
    let layers = num_hidden_layers.and_then(|layers| layers::read(fields, spec.window, layers));
    let attention_scale = attention_scale(fields, spec, head_dim);
    let attn_logit_softcapping = softcap(fields, "attn_logit_softcapping", spec.attn_logit_softcapping);
    let final_logit_softcapping = softcap(fields, "final_logit_softcapping", spec.final_logit_softcapping);
    let attention_bias = bias(fields, "attention_bias", spec.attention_bias);
    let mlp_bias = bias(fields, "mlp_bias", spec.mlp_bias);
    let tie_word_embeddings = fields.bool("tie_word_embeddings", spec.tie_word_embeddings);
    let bos_token_id = fields.token("bos_token_id", spec.bos_token_id);
    let eos_token_ids = fields.tokens("eos_token_id", spec.eos_token_id);
    let pad_token_id = fields.token("pad_token_id", spec.pad_token_id);
    let dtype = fields.dtype(if fields.is_set("dtype") { "dtype" } else { "torch_dtype" });
    let quantization = QuantizationConfig::read(fields);
    refuse(fields, spec);
    let heads = heads?;
    let (rope, sliding_rope) = rope?;
    let (sliding_window, layer_types) = layers?;
    let attention_bias = attention_bias?;
    Some(ModelConfig {
        family: spec.family,
        vocab_size: vocab_size?,
        hidden_size: hidden_size?,
        intermediate_size: intermediate_size?,
        num_hidden_layers: num_hidden_layers?,
        num_attention_heads: heads.queries,
        num_key_value_heads: heads.keys,
        head_dim: heads.dim,
        rms_norm_eps: rms_norm_eps?,
        norm_weight: spec.norm_weight,
        hidden_act: hidden_act?,
        rope,
        sliding_rope,
        sliding_window,
        layer_types,
        attention_scale: attention_scale?,
        attn_logit_softcapping: attn_logit_softcapping?,
        final_logit_softcapping: final_logit_softcapping?,
        qk_norm: spec.qk_norm,
        max_position_embeddings: max_position_embeddings?,
        attention_bias,
        output_bias: attention_bias && spec.attention_bias != Bias::QueryKeyValue,
        mlp_bias: mlp_bias?,
        fused_projections: spec.fused_projections,
        output_norms: spec.block_norms == BlockNorms::BeforeAndAfter,
        tie_word_embeddings: tie_word_embeddings?,
        embed_scale: match spec.embed_scale {
            EmbedScale::One => None,
            EmbedScale::SqrtHidden => Some((hidden_size? as f64).sqrt() as f32),
        },
        bos_token_id: bos_token_id?,
        eos_token_ids: eos_token_ids?,
        pad_token_id: pad_token_id?,
        dtype: dtype?,
        quantization: quantization?,
        raw: Map::new(),
    })
}

fn hidden_layers(fields: &mut Fields<'_>) -> Option<usize> {
    let key = "num_hidden_layers";
    match fields.size(key, None)? {
        layers if layers <= MAX_LAYERS => Some(layers),
        _ => fields.problem(key, format!("at most {MAX_LAYERS}")),
    }
}

struct Heads {
    queries: usize,
    keys: usize,
    dim: usize,
}

fn heads(fields: &mut Fields<'_>, spec: &FamilySpec, hidden_size: Option<usize>) -> Option<Heads> {
    let queries = fields.size("num_attention_heads", None);
    // A null means what Llama's default means, in every family.
    let keys_default = match fields.has_null("num_key_value_heads") {
        true => queries,
        false => spec.key_value_heads.or(queries),
    };
    let keys = fields.size("num_key_value_heads", keys_default.or(queries.is_none().then_some(1)));
    let dim = match spec.head_dim {
        _ if fields.is_set("head_dim") => fields.size("head_dim", None),
        Some(dim) => Some(dim),
        None => match (hidden_size, queries) {
            (Some(hidden), Some(queries)) if !hidden.is_multiple_of(queries) => fields.problem(
                "hidden_size",
                format!("a multiple of num_attention_heads, {queries}, or a head_dim"),
            ),
            (Some(hidden), Some(queries)) => Some(hidden / queries),
            _ => None,
        },
    };
    if let Some(dim) = dim
        && !dim.is_multiple_of(2)
    {
        fields.note("head_dim", dim.to_string(), "an even number: RoPE turns pairs");
    }
    let (queries, keys) = (queries?, keys?);
    if !queries.is_multiple_of(keys) {
        fields.note(
            "num_key_value_heads",
            keys.to_string(),
            format!("a divisor of num_attention_heads, {queries}"),
        );
    }
    Some(Heads { queries, keys, dim: dim? })
}

/// v4 Gemma files say `gelu` in `hidden_act`, which v4 ignored in favour of `hidden_activation` and its tanh default.
fn activation(fields: &mut Fields<'_>, spec: &FamilySpec) -> Option<Activation> {
    let (old_key, is_old) = ("hidden_activation", !fields.is_set("rope_parameters"));
    let old = spec.activation_key == ActivationKey::ActivationInOldFiles && is_old;
    let key = match spec.activation_key {
        ActivationKey::Activation => old_key,
        _ if old && fields.is_set(old_key) => old_key,
        _ => "hidden_act",
    };
    let name = fields.text(key, spec.hidden_act)?;
    let name = if old && key == "hidden_act" && name == "gelu" { spec.hidden_act } else { name.as_str() };
    match ACTIVATIONS.iter().find(|(known, _)| *known == name) {
        Some((_, activation)) => Some(*activation),
        None => fields.problem(key, "\"silu\" or \"gelu_pytorch_tanh\""),
    }
}

fn attention_scale(fields: &mut Fields<'_>, spec: &FamilySpec, head_dim: Option<usize>) -> Option<f64> {
    let divided = match spec.score_scale {
        ScoreScale::HeadDim => head_dim? as f64,
        ScoreScale::QueryPreAttnScalar(default) => fields.positive("query_pre_attn_scalar", Some(default))?,
    };
    Some(divided.powf(-0.5))
}

fn softcap(fields: &mut Fields<'_>, key: &str, rule: Option<Softcap>) -> Option<Option<f64>> {
    match rule {
        Some(Softcap { default }) => fields.positive_or_null(key, default),
        None => Some(None),
    }
}

fn bias(fields: &mut Fields<'_>, key: &str, rule: Bias) -> Option<bool> {
    match rule {
        Bias::Never => Some(false),
        Bias::QueryKeyValue => Some(true),
        Bias::FromConfig => fields.bool(key, false),
    }
}

/// Options that would change the outputs and that no family here is built with.
fn refuse(fields: &mut Fields<'_>, spec: &FamilySpec) {
    let zero = |value: &Value| value.as_f64().filter(|number| *number == 0.0);
    fields.read("attention_dropout", Some(0.0), "0.0: attention weights are not dropped", zero);
    if spec.family == Family::Phi3 {
        for key in ["resid_pdrop", "embd_pdrop"] {
            fields.read(key, Some(0.0), "0.0: only adapters' inputs are dropped", zero);
        }
    }
    if fields.bool("use_bidirectional_attention", false) == Some(true) {
        fields.problem::<()>("use_bidirectional_attention", "false or null");
    }
    if spec.attn_logit_softcapping.is_none() && fields.is_set("attn_logit_softcapping") {
        let wanted = format!("null: transformers applies none in a {}", spec.model_type);
        fields.problem::<()>("attn_logit_softcapping", wanted);
    }
}
