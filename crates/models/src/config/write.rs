//! New configurations, changes to read ones, and the text of a `config.json`.

use std::path::Path;

use serde_json::{Value, json};

use super::{CONFIG_FILE, Family, ModelConfig, QuantizationConfig};
use crate::checkpoint::CheckpointDtype;
use crate::error::ModelError;
use crate::families;

/// The transformers version whose layout new files follow; readers use it to tell old files from new ones.
const LAYOUT: &str = "5.23.0";

/// The sizes of a Llama made from nothing, for pre-training.
///
/// [`Default`] is transformers' `LlamaConfig()`, which is Llama 2 7B: a new model sets its own sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaShape {
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the gated MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the number of query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; `None`: `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    /// The longest sequence to be trained on.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square inside RMSNorm.
    pub rms_norm_eps: f64,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// The token a text begins with.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// The token that fills rows.
    pub pad_token_id: Option<u32>,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// What the weights will be stored in: f32, f16 or bf16.
    pub dtype: CheckpointDtype,
}

impl Default for LlamaShape {
    fn default() -> Self {
        Self {
            vocab_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 11_008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 32,
            head_dim: None,
            max_position_embeddings: 2048,
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            bos_token_id: Some(1),
            eos_token_ids: vec![2],
            pad_token_id: None,
            initializer_range: 0.02,
            dtype: CheckpointDtype::F32,
        }
    }
}

impl ModelConfig {
    /// A new Llama, with the `config.json` that transformers 5 reads.
    ///
    /// # Errors
    /// [`ModelError::Config`] with every size that is zero or does not fit the others.
    pub fn llama(shape: LlamaShape) -> Result<Self, ModelError> {
        let family = families::spec(Family::Llama);
        let Value::Object(raw) = json!({
            "architectures": [family.architecture],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": shape.bos_token_id,
            "dtype": shape.dtype.config_name().map_or_else(|| shape.dtype.to_string(), str::to_owned),
            "eos_token_id": tokens(&shape.eos_token_ids),
            "head_dim": shape.head_dim,
            "hidden_act": family.hidden_act,
            "hidden_size": shape.hidden_size,
            "initializer_range": shape.initializer_range,
            "intermediate_size": shape.intermediate_size,
            "max_position_embeddings": shape.max_position_embeddings,
            "mlp_bias": false,
            "model_type": family.model_type,
            "num_attention_heads": shape.num_attention_heads,
            "num_hidden_layers": shape.num_hidden_layers,
            "num_key_value_heads": shape.num_key_value_heads,
            "pad_token_id": shape.pad_token_id,
            "pretraining_tp": 1,
            "rms_norm_eps": shape.rms_norm_eps,
            "rope_parameters": { "rope_theta": shape.rope_theta, "rope_type": "default" },
            "tie_word_embeddings": shape.tie_word_embeddings,
            "transformers_version": LAYOUT,
            "use_cache": true,
            "vocab_size": shape.vocab_size,
        }) else {
            unreachable!("the literal above is an object");
        };
        let mut config = Self::from_map(raw, Path::new(CONFIG_FILE))?;
        config.raw.insert("head_dim".to_owned(), config.head_dim.into());
        Ok(config)
    }

    /// Standard deviation of fresh weights: what the file says, or transformers' default of 0.02.
    pub fn initializer_range(&self) -> f64 {
        self.raw.get("initializer_range").and_then(Value::as_f64).unwrap_or(0.02)
    }

    /// Says what the weights will be stored in. A file in the old spelling keeps it.
    ///
    /// # Panics
    /// Where `dtype` is not f32, f16 or bf16.
    #[must_use]
    pub fn with_dtype(mut self, dtype: CheckpointDtype) -> Self {
        let Some(name) = dtype.config_name() else {
            panic!("dtype of weights: found {dtype}, wanted F32, F16 or BF16");
        };
        let old = self.raw.contains_key("torch_dtype") && !self.raw.contains_key("dtype");
        self.raw.insert(if old { "torch_dtype" } else { "dtype" }.to_owned(), name.into());
        self.dtype = Some(dtype);
        self
    }

    /// Says how the weights will be quantized; `None` for weights that are stored as they are.
    #[must_use]
    pub fn with_quantization(mut self, quantization: Option<QuantizationConfig>) -> Self {
        let key = "quantization_config";
        match &quantization {
            Some(quantization) => self.raw.insert(key.to_owned(), quantization.to_value()),
            None => self.raw.shift_remove(key),
        };
        self.quantization = quantization;
        self
    }

    /// The text of a `config.json`: the keys that were read, in their order, with the changes made since.
    pub fn to_json(&self) -> String {
        // An object with string keys always serializes.
        format!("{:#}\n", Value::Object(self.raw.clone()))
    }
}

/// Token ids as transformers writes them: null, one number, or a list.
fn tokens(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [id] => (*id).into(),
        _ => ids.into(),
    }
}
