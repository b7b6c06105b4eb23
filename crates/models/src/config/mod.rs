mod fields;
mod generation;
mod layers;
mod quantization;
mod read;
mod rope;
mod write;

use std::fmt;
use std::fs;
use std::path::Path;

use burnisher_kernels::{Activation, NormWeight};
use serde_json::{Map, Value};

pub use self::generation::GenerationConfig;
pub use self::layers::LayerType;
pub use self::quantization::{QuantizationConfig, QuantizationMethod};
pub use self::rope::{RopeConfig, RopeScaling};
pub use self::write::LlamaShape;
use crate::checkpoint::CheckpointDtype;
use crate::error::ModelError;
use crate::families;

/// The configuration's file inside a model directory.
pub(crate) const CONFIG_FILE: &str = "config.json";

/// A decoder's architecture, as `config.json` describes it.
///
/// Both spellings are read: transformers 5's (`rope_parameters`, `dtype`) and that of most checkpoints, transformers
/// 4's (`rope_theta`, `rope_scaling`, `torch_dtype`). Keys that a file leaves out get the defaults that transformers
/// 5.23 gives them for the family; sizes have none and must be there. Keys that say nothing about the architecture are
/// kept, and written back by [`to_json`](Self::to_json). Change a configuration through its `with_` methods: they change
/// what is written, too.
///
/// ```
/// use burnisher_models::{LlamaShape, ModelConfig};
///
/// let config = ModelConfig::llama(LlamaShape {
///     vocab_size: 4096,
///     hidden_size: 192,
///     intermediate_size: 512,
///     num_hidden_layers: 4,
///     num_attention_heads: 6,
///     num_key_value_heads: 2,
///     tie_word_embeddings: true,
///     ..LlamaShape::default()
/// })?;
/// assert_eq!(config.head_dim, 32);
/// assert_eq!(ModelConfig::from_json(&config.to_json(), "config.json")?, config);
/// # Ok::<(), burnisher_models::ModelError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The family (`model_type`).
    pub family: Family,
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
    /// Width of one head; even. Need not be `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Added to the mean square inside RMSNorm.
    pub rms_norm_eps: f64,
    /// What the norms multiply by.
    pub norm_weight: NormWeight,
    /// The activation of the gated MLP.
    pub hidden_act: Activation,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// The rotary position embedding of layers with a sliding window, where it is another (Gemma 3).
    pub sliding_rope: Option<RopeConfig>,
    /// `Some(w)`: in layers with a sliding window, a token sees itself and the `w - 1` tokens before it.
    pub sliding_window: Option<usize>,
    /// What each layer is; one with a sliding window only if [`sliding_window`](Self::sliding_window) is given.
    pub layer_types: Vec<LayerType>,
    /// Factor on the scores: `1 / √head_dim`, or `1 / √query_pre_attn_scalar`.
    pub attention_scale: f64,
    /// Soft cap on the scores (Gemma 2).
    pub attn_logit_softcapping: Option<f64>,
    /// Soft cap on the logits (Gemma 2).
    pub final_logit_softcapping: Option<f64>,
    /// Whether each head of queries and keys goes through a norm of its own before it is turned (Qwen 3, Gemma 3).
    pub qk_norm: bool,
    /// The longest sequence the model was made for. No table has this size: longer ones can be run.
    pub max_position_embeddings: usize,
    /// Whether `q_proj`, `k_proj` and `v_proj` have a bias.
    pub attention_bias: bool,
    /// Whether `o_proj` has a bias.
    pub output_bias: bool,
    /// Whether `gate_proj`, `up_proj` and `down_proj` have a bias.
    pub mlp_bias: bool,
    /// Whether `qkv_proj` and `gate_up_proj` stand in place of the projections they are made of (Phi 3).
    pub fused_projections: bool,
    /// Whether the outputs of attention and MLP are normalised, too, before they are added (Gemma 2 and 3).
    pub output_norms: bool,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// What embeddings are multiplied with, before rounding to the compute dtype: `sqrt(hidden_size)` for Gemma.
    pub embed_scale: Option<f32>,
    /// The token a text begins with.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// The token that fills rows.
    pub pad_token_id: Option<u32>,
    /// What the weights are stored in, if the file says so.
    pub dtype: Option<CheckpointDtype>,
    /// How the weights are quantized, if they are.
    pub quantization: Option<QuantizationConfig>,
    /// The whole file.
    pub(crate) raw: Map<String, Value>,
}

impl ModelConfig {
    /// Reads `config.json` of a model directory.
    ///
    /// # Errors
    /// [`ModelError::Io`] where it cannot be read, and those of [`from_json`](Self::from_json).
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = dir.as_ref().join(CONFIG_FILE);
        let text = fs::read_to_string(&path).map_err(ModelError::io(&path))?;
        Self::from_json(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is what errors call it.
    ///
    /// # Errors
    /// [`ModelError::Json`] where it is no JSON object, and [`ModelError::Config`] with every field that is missing,
    /// has the wrong type, contradicts another or asks for something that is not built here.
    pub fn from_json(text: &str, path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let raw = serde_json::from_str(text)
            .map_err(|source| ModelError::Json { path: path.to_path_buf(), source })?;
        Self::from_map(raw, path)
    }

    fn from_map(raw: Map<String, Value>, path: &Path) -> Result<Self, ModelError> {
        read::read(raw).map_err(|problems| ModelError::Config { path: path.to_path_buf(), problems })
    }

    /// Query heads per key and value head.
    pub fn heads_per_group(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }

    /// With `Some(w)` a token in this layer sees itself and the `w - 1` tokens before it; with `None` all before it.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.filter(|_| self.layer_types[layer] == LayerType::Sliding)
    }

    /// `model_type` of the file.
    pub fn model_type(&self) -> &'static str {
        self.family.model_type()
    }
}

/// The architectures that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Llama 1, 2, 3 and what has the same shape.
    Llama,
    /// Mistral 7B and its descendants.
    Mistral,
    /// Gemma 1.
    Gemma,
    /// Gemma 2.
    Gemma2,
    /// The text model of Gemma 3, alone.
    Gemma3Text,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3.
    Qwen3,
    /// Phi 3, 3.5 and 4 mini.
    Phi3,
}

impl Family {
    /// The family's `model_type` in config.json; also what PEFT's default target modules go by.
    pub fn model_type(self) -> &'static str {
        families::spec(self).model_type
    }
}

/// Writes the `model_type`.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}
