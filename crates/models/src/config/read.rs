//! From the JSON object of a `config.json` to a [`ModelConfig`].

use burnisher_kernels::Activation;
use serde_json::{Map, Value};

use super::fields::{Fields, describe};
use super::{ModelConfig, QuantizationConfig, rope};
use crate::error::ConfigProblem;
use crate::families::{self, Bias, EmbedScale, FamilySpec};

/// More layers than any model has: a lying file shall not make us name a billion tensors.
const MAX_LAYERS: usize = 10_000;

/// transformers' default for every family here.
const DEFAULT_EPS: f64 = 1e-6;

/// transformers' names of what is built here.
const ACTIVATIONS: [(&str, Activation); 3] =
    [("silu", Activation::Silu), ("swish", Activation::Silu), ("gelu_pytorch_tanh", Activation::GeluTanh)];

/// Reads every field before it reports, so that one run shows all problems.
pub(super) fn read(raw: Map<String, Value>) -> Result<ModelConfig, Vec<ConfigProblem>> {
    let model_type = raw.get("model_type");
    let Some(spec) = model_type.and_then(Value::as_str).and_then(families::find) else {
        let found = model_type.map_or_else(|| "nothing".to_owned(), describe);
        let wanted = format!("one of {}", families::model_types());
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
    let num_hidden_layers = layers(fields);
    let heads = heads(fields, spec, hidden_size);
    let rms_norm_eps = fields.positive("rms_norm_eps", Some(DEFAULT_EPS));
    let hidden_act = activation(fields, spec);
    let rope = rope::read(fields);
    let sliding_window = sliding_window(fields, spec);
    let max_position_embeddings = fields.size("max_position_embeddings", Some(spec.max_position_embeddings));
    let attention_bias = bias(fields, "attention_bias", spec.attention_bias);
    let mlp_bias = bias(fields, "mlp_bias", spec.mlp_bias);
    let tie_word_embeddings = fields.bool("tie_word_embeddings", spec.tie_word_embeddings);
    let bos_token_id = fields.token("bos_token_id", spec.bos_token_id);
    let eos_token_ids = fields.tokens("eos_token_id", spec.eos_token_id);
    let pad_token_id = fields.token("pad_token_id", spec.pad_token_id);
    let dtype = fields.dtype(if fields.is_set("dtype") { "dtype" } else { "torch_dtype" });
    let quantization = QuantizationConfig::read(fields);
    refuse(fields);
    let heads = heads?;
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
        rope: rope?,
        sliding_window: sliding_window?,
        max_position_embeddings: max_position_embeddings?,
        attention_bias: attention_bias?,
        mlp_bias: mlp_bias?,
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

fn layers(fields: &mut Fields<'_>) -> Option<usize> {
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
    let old = spec.hidden_activation && !fields.is_set("rope_parameters");
    let key = if old && fields.is_set("hidden_activation") { "hidden_activation" } else { "hidden_act" };
    let name = fields.text(key, spec.hidden_act)?;
    let name = if old && key == "hidden_act" && name == "gelu" { spec.hidden_act } else { name.as_str() };
    match ACTIVATIONS.iter().find(|(known, _)| *known == name) {
        Some((_, activation)) => Some(*activation),
        None => fields.problem(key, "\"silu\" or \"gelu_pytorch_tanh\""),
    }
}

/// Missing is the family's default, null is no window.
fn sliding_window(fields: &mut Fields<'_>, spec: &FamilySpec) -> Option<Option<usize>> {
    let key = "sliding_window";
    match spec.sliding_window {
        None => Some(None),
        Some(_) if fields.has_null(key) => Some(None),
        Some(default) => fields.size(key, Some(default)).map(Some),
    }
}

fn bias(fields: &mut Fields<'_>, key: &str, rule: Bias) -> Option<bool> {
    match rule {
        Bias::Never => Some(false),
        Bias::FromConfig => fields.bool(key, false),
    }
}

/// Options that would change the outputs and that no family here is built with.
fn refuse(fields: &mut Fields<'_>) {
    let zero = |value: &Value| value.as_f64().filter(|number| *number == 0.0);
    fields.read("attention_dropout", Some(0.0), "0.0: attention weights are not dropped", zero);
    if fields.bool("use_bidirectional_attention", false) == Some(true) {
        fields.problem::<()>("use_bidirectional_attention", "false or null");
    }
}
