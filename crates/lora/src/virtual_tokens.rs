//! Trained tokens before a text: the place that a model has for them, and what they start with.

use std::collections::BTreeMap;

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, FloatDType, Tensor},
};
use serde_json::{Value, json};

use crate::{
    Adaptable, AdapterConfig, AdapterPlan, LoraError, PromptTuningInit, Site, TargetModules,
    attach::matrix,
    config_json::{Fields, count},
    init::{generator, normal, unit},
    make::Start,
    peft::keys,
    peft_fields::check_off,
    projection::trainable,
};

/// What the trained values of virtual tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualTokenKind {
    /// Embeddings, `[n, hidden]`, which go through all layers (prompt tuning).
    Embeddings,
    /// Keys and values of every layer, `[n, layers·2·kv_heads·head_dim]` (prefix tuning). A row holds layer 0's keys,
    /// then its values, then layer 1's.
    KeysAndValues,
}

/// What a model's virtual tokens have to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualTokenShape {
    /// Width of an embedding.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Number of attention heads of queries, which PEFT notes for prompt tuning.
    pub num_attention_heads: usize,
    /// Number of attention heads of keys and values.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
}

/// A model's place for virtual tokens; it has none at first.
#[derive(Module, Debug)]
pub struct VirtualTokens {
    pub(crate) embeddings: Option<Param<Tensor<2>>>,
    #[module(skip)]
    pub(crate) kind: VirtualTokenKind,
    #[module(skip)]
    shape: VirtualTokenShape,
}

impl VirtualTokens {
    /// A place without tokens.
    pub fn none(shape: VirtualTokenShape) -> Self {
        Self { embeddings: None, kind: VirtualTokenKind::Embeddings, shape }
    }

    /// The number of virtual tokens.
    pub fn count(&self) -> usize {
        self.embeddings.as_ref().map_or(0, |embeddings| embeddings.lazy_shape().dims::<2>()[0])
    }

    /// The embeddings `[n, hidden]` that stand before those of the text, if there are any.
    pub fn prompt(&self) -> Option<&Param<Tensor<2>>> {
        self.embeddings.as_ref().filter(|_| self.kind == VirtualTokenKind::Embeddings)
    }

    /// The keys and values `[n, layers·2·kv_heads·head_dim]` that stand before those of the text, if there are any.
    pub fn prefix(&self) -> Option<&Param<Tensor<2>>> {
        self.embeddings.as_ref().filter(|_| self.kind == VirtualTokenKind::KeysAndValues)
    }
}

/// The fields that prompt tuning and prefix tuning share. PEFT takes the model's sizes where they are not given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VirtualTokenFields {
    pub(crate) num_virtual_tokens: usize,
    pub(crate) token_dim: Option<usize>,
    num_layers: Option<usize>,
    num_attention_heads: Option<usize>,
}

impl VirtualTokenFields {
    pub(crate) fn new(num_virtual_tokens: usize) -> Self {
        Self { num_virtual_tokens, token_dim: None, num_layers: None, num_attention_heads: None }
    }

    pub(crate) fn take(fields: &mut Fields) -> Result<Self, LoraError> {
        check_off(fields, &[("modules_to_save", Value::Null), ("num_transformer_submodules", json!(1))])?;
        let field = "num_virtual_tokens";
        let found = fields.read(field, "a number above 0", count)?;
        let found = found.ok_or_else(|| LoraError::config(field, "missing", "a number above 0"))?;
        let mut size = |field| fields.read(field, "a number above 0", count);
        Ok(Self {
            num_virtual_tokens: found,
            token_dim: size("token_dim")?,
            num_layers: size("num_layers")?,
            num_attention_heads: size("num_attention_heads")?,
        })
    }

    pub(crate) fn to_json(&self, fields: &mut BTreeMap<&str, Value>) {
        fields.extend([
            ("modules_to_save", Value::Null),
            ("num_attention_heads", json!(self.num_attention_heads)),
            ("num_layers", json!(self.num_layers)),
            ("num_transformer_submodules", json!(1)),
            ("num_virtual_tokens", json!(self.num_virtual_tokens)),
            ("token_dim", json!(self.token_dim)),
        ]);
    }

    /// # Errors
    /// [`LoraError::Config`] for a number that is 0.
    pub(crate) fn validate(&self) -> Result<(), LoraError> {
        let numbers = [
            ("num_virtual_tokens", Some(self.num_virtual_tokens)),
            ("token_dim", self.token_dim),
            ("num_layers", self.num_layers),
            ("num_attention_heads", self.num_attention_heads),
        ];
        match numbers.into_iter().find(|(_, number)| *number == Some(0)) {
            Some((field, _)) => Err(LoraError::config(field, 0, "a number above 0")),
            None => Ok(()),
        }
    }

    /// The same with the sizes of the model.
    ///
    /// # Errors
    /// [`LoraError::Config`] for a size that is given and is another.
    fn of_model(&mut self, kind: VirtualTokenKind, shape: VirtualTokenShape) -> Result<(), LoraError> {
        let (heads, width) = match kind {
            VirtualTokenKind::Embeddings => (shape.num_attention_heads, shape.hidden_size),
            VirtualTokenKind::KeysAndValues => {
                (shape.num_key_value_heads, shape.num_key_value_heads * shape.head_dim)
            }
        };
        let sizes = [
            ("token_dim", &mut self.token_dim, width),
            ("num_layers", &mut self.num_layers, shape.num_layers),
            ("num_attention_heads", &mut self.num_attention_heads, heads),
        ];
        for (field, size, of_model) in sizes {
            if let Some(found) = size.filter(|size| *size != of_model) {
                return Err(LoraError::config(field, found, &format!("{of_model}, as the model has it")));
            }
            *size = Some(of_model);
        }
        Ok(())
    }
}

/// The fields of a method with virtual tokens, and what it trains.
fn fields_of(config: &mut AdapterConfig) -> Option<(&mut VirtualTokenFields, VirtualTokenKind)> {
    match config {
        AdapterConfig::PromptTuning(config) => Some((&mut config.tokens, VirtualTokenKind::Embeddings)),
        AdapterConfig::PrefixTuning(config) => Some((&mut config.tokens, VirtualTokenKind::KeysAndValues)),
        _ => None,
    }
}

/// Whether a model's virtual tokens are those that `config` describes.
pub(crate) fn are_of(config: &AdapterConfig, tokens: &VirtualTokens) -> bool {
    fields_of(&mut config.clone())
        .is_some_and(|(fields, kind)| kind == tokens.kind && fields.num_virtual_tokens == tokens.count())
}

/// The plan of a method with virtual tokens, which adapts no module.
pub(crate) fn plan() -> AdapterPlan {
    AdapterPlan {
        adapted: Vec::new(),
        saved: Vec::new(),
        feedforward: Vec::new(),
        biases: Vec::new(),
        target_modules: TargetModules::Suffixes(Vec::new()),
        trains_tokens: false,
        feedforward_modules: None,
    }
}

/// The same with the model's sizes, if the method has virtual tokens.
///
/// # Errors
/// [`LoraError::Config`] if the model has no place for virtual tokens, or other sizes.
pub(crate) fn for_model<M: Adaptable>(
    mut config: AdapterConfig,
    model: &M,
) -> Result<AdapterConfig, LoraError> {
    let peft_type = config.peft_type();
    if let Some((fields, kind)) = fields_of(&mut config) {
        let mut shape = None;
        model.clone().sites(&mut |_, site| {
            if let Site::VirtualTokens(tokens) = site {
                shape = Some(tokens.shape);
            }
        });
        let wanted = "a method for the model's modules: it has no place for virtual tokens";
        let shape = shape.ok_or_else(|| LoraError::config("peft_type", peft_type, wanted))?;
        fields.of_model(kind, shape)?;
    }
    Ok(config)
}

/// Whether new virtual tokens can start as `config` says, and be trained.
///
/// # Errors
/// [`LoraError::Config`] naming the field.
pub(crate) fn check_fresh<M: Adaptable>(config: &AdapterConfig, model: &mut M) -> Result<(), LoraError> {
    check_trainable(config)?;
    let AdapterConfig::PromptTuning(config) = config else { return Ok(()) };
    let PromptTuningInit::Text { tokens, .. } = &config.init else { return Ok(()) };
    let field = "prompt_tuning_init_text";
    if tokens.is_empty() {
        return Err(LoraError::config(field, "without token ids", "a text with the ids of its tokens"));
    }
    let vocab = table(model).map_or(0, |embedding| embedding.weight().dims()[0]);
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(token) => {
            Err(LoraError::config(field, format_args!("token {token}"), &format!("ids below {vocab}")))
        }
        None => Ok(()),
    }
}

/// # Errors
/// [`LoraError::Config`] for keys and values that a projection makes, which nothing can be trained of.
pub(crate) fn check_trainable(config: &AdapterConfig) -> Result<(), LoraError> {
    match config {
        AdapterConfig::PrefixTuning(config) if config.prefix_projection => {
            let wanted = "false: training with the projection is not supported, only running what it made";
            Err(LoraError::config("prefix_projection", true, wanted))
        }
        _ => Ok(()),
    }
}

fn table<M: Adaptable>(model: &mut M) -> Option<crate::Embedding> {
    let mut table = None;
    model.sites(&mut |_, site| {
        if let Site::Embedding(embedding) = site {
            table = Some(embedding.clone());
        }
    });
    table
}

/// Adds the virtual tokens that `config` describes, if it does, in f32.
pub(crate) fn install<M: Adaptable>(
    config: &AdapterConfig,
    model: &mut M,
    start: Start<'_>,
    device: &Device,
) {
    let mut config = config.clone();
    let Some((fields, kind)) = fields_of(&mut config) else { return };
    let count = fields.num_virtual_tokens;
    let embedding = table(model);
    model.sites(&mut |_, site| {
        let Site::VirtualTokens(tokens) = site else { return };
        let shape = tokens.shape;
        let width = match kind {
            VirtualTokenKind::Embeddings => shape.hidden_size,
            VirtualTokenKind::KeysAndValues => {
                shape.num_layers * 2 * shape.num_key_value_heads * shape.head_dim
            }
        };
        let zeros = || Tensor::zeros([count, width], (device, DType::F32));
        let random = |seed| {
            let values = normal(&mut generator(seed, keys::PROMPT, 0), count * width, 1.0);
            matrix(values, [count, width], device)
        };
        let values = match (start, &config, &embedding) {
            (Start::Empty, _, _) => zeros(),
            (Start::Fresh { .. }, AdapterConfig::PrefixTuning(config), _) if config.zero_init => zeros(),
            (Start::Fresh { seed, .. }, AdapterConfig::PromptTuning(config), Some(embedding)) => {
                match &config.init {
                    PromptTuningInit::Random => random(seed),
                    PromptTuningInit::SampleVocab => {
                        let vocab = embedding.weight().dims()[0];
                        let mut drawn = generator(seed, keys::PROMPT, 0);
                        let ids = (0..count).map(|_| (unit(&mut drawn) * vocab as f64) as u32).collect();
                        rows(embedding, ids, device)
                    }
                    PromptTuningInit::Text { tokens, .. } => {
                        let ids = tokens.iter().copied().cycle().take(count).collect();
                        rows(embedding, ids, device)
                    }
                }
            }
            (Start::Fresh { seed, .. }, ..) => random(seed),
        };
        tokens.kind = kind;
        tokens.embeddings = Some(trainable(values));
    });
}

/// What the embedding makes of tokens, `[n, hidden]`.
fn rows(embedding: &crate::Embedding, ids: Vec<u32>, device: &Device) -> Tensor<2> {
    let found = embedding.forward(&ids, 1).without_autodiff();
    let [_, count, width] = found.dims();
    found.reshape([count, width]).cast(FloatDType::F32).to_device(device)
}
