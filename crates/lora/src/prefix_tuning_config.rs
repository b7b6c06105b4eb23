//! The configuration of prefix tuning, with PEFT's fields and defaults.

use serde_json::{Value, json};

use crate::{
    LoraError,
    config_json::{Fields, count, shown, text, written},
    peft_fields::{PeftFields, peft_fields},
    virtual_tokens::VirtualTokenFields,
};

/// The configuration of prefix tuning: PEFT's `PrefixTuningConfig` (Li and Liang 2021, arXiv:2101.00190).
///
/// Every layer gets trained keys and values before those of the text; nothing else is trained. Files of an adapter that
/// was trained with `prefix_projection` hold what the projection made: they can be loaded, not trained further.
///
/// ```
/// use burnisher_lora::PrefixTuningConfig;
///
/// let config = PrefixTuningConfig::new(20).with_zero_init(true);
/// config.validate()?;
/// # Ok::<(), burnisher_lora::LoraError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PrefixTuningConfig {
    pub(crate) tokens: VirtualTokenFields,
    pub(crate) zero_init: bool,
    pub(crate) prefix_projection: bool,
    pub(crate) encoder_hidden_size: Option<usize>,
    pub(crate) fields: PeftFields,
}

impl PrefixTuningConfig {
    /// So many virtual tokens, whose keys and values start as `N(0, 1)`.
    pub fn new(num_virtual_tokens: usize) -> Self {
        Self {
            tokens: VirtualTokenFields::new(num_virtual_tokens),
            zero_init: false,
            prefix_projection: false,
            encoder_hidden_size: None,
            fields: PeftFields::default(),
        }
    }

    /// The number of virtual tokens.
    pub fn num_virtual_tokens(&self) -> usize {
        self.tokens.num_virtual_tokens
    }

    /// Whether keys and values start as zeros (`init_weights` is `"zero"`).
    pub fn zero_init(&self) -> bool {
        self.zero_init
    }

    /// Whether a projection made the keys and values while they were trained.
    pub fn prefix_projection(&self) -> bool {
        self.prefix_projection
    }

    /// Sets whether keys and values start as zeros.
    pub fn with_zero_init(mut self, zero_init: bool) -> Self {
        self.zero_init = zero_init;
        self
    }

    peft_fields!();

    /// Checks every field by itself.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        self.tokens.validate()?;
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
        fields.check_type("PREFIX_TUNING")?;
        let tokens = VirtualTokenFields::take(&mut fields)?;
        let zero_init = match fields.read("init_weights", "\"zero\" or null", text)?.as_deref() {
            None => false,
            Some("zero") => true,
            Some(other) => {
                return Err(LoraError::config("init_weights", format_args!("{other:?}"), "\"zero\" or null"));
            }
        };
        let config = Self {
            tokens,
            zero_init,
            prefix_projection: fields
                .read("prefix_projection", "true or false", Value::as_bool)?
                .unwrap_or_default(),
            encoder_hidden_size: fields.read("encoder_hidden_size", "a width above 0", count)?,
            fields: PeftFields::take(fields)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The text of adapter_config.json as PEFT writes it: every field of PEFT 0.21, keys sorted, two spaces of
    /// indentation, ASCII only, `inference_mode` true.
    pub fn to_json(&self) -> String {
        let mut fields = self.fields.to_json();
        self.tokens.to_json(&mut fields);
        fields.extend([
            ("encoder_hidden_size", json!(self.encoder_hidden_size.or(self.tokens.token_dim))),
            ("init_weights", json!(self.zero_init.then_some("zero"))),
            ("peft_type", json!("PREFIX_TUNING")),
            ("prefix_projection", json!(self.prefix_projection)),
        ]);
        written(fields)
    }
}
