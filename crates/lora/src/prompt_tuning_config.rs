//! The configuration of prompt tuning, with PEFT's fields and defaults.

use serde_json::{Value, json};

use crate::{
    LoraError,
    config_json::{Fields, shown, text, written},
    peft_fields::{PeftFields, peft_fields},
    virtual_tokens::VirtualTokenFields,
};

/// What the embeddings of the virtual tokens start with.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PromptTuningInit {
    /// RANDOM: `N(0, 1)`, as `torch.nn.Embedding` starts.
    #[default]
    Random,
    /// SAMPLE_VOCAB: the embeddings of tokens that are drawn from the vocabulary.
    SampleVocab,
    /// TEXT: the embeddings of a text's tokens, repeated or cut to the number of virtual tokens.
    Text {
        /// `prompt_tuning_init_text`.
        text: String,
        /// `tokenizer_name_or_path`, as the files note it.
        tokenizer: String,
        /// The token ids of `text` by that tokenizer, special tokens included. Files do not hold them, and only
        /// [`attach`](crate::attach) needs them.
        tokens: Vec<u32>,
    },
}

impl PromptTuningInit {
    fn name(&self) -> &'static str {
        match self {
            Self::Random => "RANDOM",
            Self::SampleVocab => "SAMPLE_VOCAB",
            Self::Text { .. } => "TEXT",
        }
    }
}

/// The configuration of prompt tuning: PEFT's `PromptTuningConfig` (Lester et al. 2021, arXiv:2104.08691).
///
/// Trained embeddings stand before the embeddings of every text; nothing else is trained.
///
/// ```
/// use burnisher_lora::{PromptTuningConfig, PromptTuningInit};
///
/// let config = PromptTuningConfig::new(20).with_init(PromptTuningInit::SampleVocab);
/// config.validate()?;
/// # Ok::<(), burnisher_lora::LoraError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PromptTuningConfig {
    pub(crate) tokens: VirtualTokenFields,
    pub(crate) init: PromptTuningInit,
    tokenizer_kwargs: Option<Value>,
    pub(crate) fields: PeftFields,
}

impl PromptTuningConfig {
    /// So many virtual tokens, which start as [`PromptTuningInit::Random`].
    pub fn new(num_virtual_tokens: usize) -> Self {
        Self {
            tokens: VirtualTokenFields::new(num_virtual_tokens),
            init: PromptTuningInit::default(),
            tokenizer_kwargs: None,
            fields: PeftFields::default(),
        }
    }

    /// The number of virtual tokens.
    pub fn num_virtual_tokens(&self) -> usize {
        self.tokens.num_virtual_tokens
    }

    /// What they start with.
    pub fn init(&self) -> &PromptTuningInit {
        &self.init
    }

    /// Sets what the virtual tokens start with.
    pub fn with_init(mut self, init: PromptTuningInit) -> Self {
        self.init = init;
        self
    }

    peft_fields!();

    /// Checks every field by itself and the rules between fields that PEFT 0.21 enforces.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        self.tokens.validate()?;
        match &self.init {
            PromptTuningInit::Text { tokenizer, .. } if tokenizer.is_empty() => {
                let wanted = "the tokenizer's name or path, because prompt_tuning_init is TEXT";
                return Err(LoraError::config("tokenizer_name_or_path", "empty", wanted));
            }
            PromptTuningInit::Text { .. } => {}
            init if self.tokenizer_kwargs.is_some() => {
                let wanted = "TEXT, because there are tokenizer_kwargs";
                return Err(LoraError::config("prompt_tuning_init", init.name(), wanted));
            }
            _ => {}
        }
        self.fields.validate()
    }

    /// Takes a configuration from the parsed text of an adapter_config.json.
    ///
    /// # Errors
    /// [`LoraError::Unsupported`] listing every field that asks for something this crate does not implement;
    /// [`LoraError::Config`] for a field of the wrong type or value.
    pub fn from_json(value: Value) -> Result<Self, LoraError> {
        let Value::Object(map) = value else {
            return Err(LoraError::config("the file", shown(&value), "a JSON object"));
        };
        let mut fields = Fields(map);
        fields.check_type("PROMPT_TUNING")?;
        let tokens = VirtualTokenFields::take(&mut fields)?;
        let kind = fields.read("prompt_tuning_init", "a string", text)?;
        let init_text = fields.read("prompt_tuning_init_text", "a string", text)?;
        let tokenizer = fields.read("tokenizer_name_or_path", "a string", text)?;
        let object = |value: &Value| value.is_object().then(|| value.clone());
        let tokenizer_kwargs = fields.read("tokenizer_kwargs", "an object", object)?;
        let init = match (kind.as_deref(), init_text) {
            (Some("TEXT"), Some(text)) => {
                PromptTuningInit::Text { text, tokenizer: tokenizer.unwrap_or_default(), tokens: Vec::new() }
            }
            (Some("TEXT"), None) => {
                let wanted = "a text, because prompt_tuning_init is TEXT";
                return Err(LoraError::config("prompt_tuning_init_text", "null", wanted));
            }
            (Some("RANDOM") | None, _) => PromptTuningInit::Random,
            (Some("SAMPLE_VOCAB"), _) => PromptTuningInit::SampleVocab,
            (Some(other), _) => {
                let wanted = "\"RANDOM\", \"SAMPLE_VOCAB\" or \"TEXT\"";
                return Err(LoraError::config("prompt_tuning_init", format_args!("{other:?}"), wanted));
            }
        };
        let config = Self { tokens, init, tokenizer_kwargs, fields: PeftFields::take(fields)? };
        config.validate()?;
        Ok(config)
    }

    /// The text of adapter_config.json as PEFT writes it: every field of PEFT 0.21, keys sorted, two spaces of
    /// indentation, ASCII only, `inference_mode` true.
    pub fn to_json(&self) -> String {
        let mut fields = self.fields.to_json();
        self.tokens.to_json(&mut fields);
        let (text, tokenizer) = match &self.init {
            PromptTuningInit::Text { text, tokenizer, .. } => (Some(text), Some(tokenizer)),
            _ => (None, None),
        };
        fields.extend([
            ("peft_type", json!("PROMPT_TUNING")),
            ("prompt_tuning_init", json!(self.init.name())),
            ("prompt_tuning_init_text", json!(text)),
            ("tokenizer_kwargs", json!(self.tokenizer_kwargs)),
            ("tokenizer_name_or_path", json!(tokenizer)),
        ]);
        written(fields)
    }
}
