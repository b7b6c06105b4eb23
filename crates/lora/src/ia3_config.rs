//! The configuration of (IA)³, with PEFT's fields and defaults.

use serde_json::{Value, json};

use crate::{
    LoraError, TargetModules,
    config_json::{Fields, exclude_from_json, shown, target_from_json, target_to_json, texts, written},
    peft_fields::{PeftFields, check_modules, check_off, peft_fields},
    target::Defaults,
};

/// PEFT's default `target_modules` by `model_type` (peft 0.21, src/peft/utils/constants.py).
pub(crate) const IA3_TARGETS: &Defaults = &[
    (&["llama", "mistral"], &["k_proj", "v_proj", "down_proj"]),
    (&["gemma", "gemma2", "gemma3_text", "llama4", "qwen2", "qwen3"], &["q_proj", "v_proj", "down_proj"]),
    (&["mixtral"], &["k_proj", "v_proj", "w2"]),
    (&["phi"], &["q_proj", "v_proj", "fc2"]),
];

/// PEFT's default `feedforward_modules` by `model_type`.
pub(crate) const IA3_FEEDFORWARD: &Defaults = &[
    (&["gemma", "gemma2", "gemma3_text", "llama", "llama4", "mistral", "qwen2", "qwen3"], &["down_proj"]),
    (&["mixtral"], &["w2"]),
    (&["phi"], &["fc2"]),
];

/// The configuration of an (IA)³ adapter: PEFT's `IA3Config` (Liu et al. 2022, arXiv:2205.05638).
///
/// The output of every target is multiplied by a trained vector, or, for a target that is one of the
/// `feedforward_modules`, its input.
///
/// ```
/// use burnisher_lora::{Ia3Config, TargetModules};
///
/// let config = Ia3Config::new()
///     .with_target_modules(TargetModules::suffixes(["k_proj", "v_proj", "down_proj"]))
///     .with_feedforward_modules(TargetModules::suffixes(["down_proj"]));
/// config.validate()?;
/// # Ok::<(), burnisher_lora::LoraError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ia3Config {
    pub(crate) target_modules: Option<TargetModules>,
    pub(crate) exclude_modules: Option<TargetModules>,
    pub(crate) feedforward_modules: Option<TargetModules>,
    pub(crate) modules_to_save: Option<Vec<String>>,
    pub(crate) fields: PeftFields,
}

impl Ia3Config {
    /// The architecture's default targets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which modules are adapted; `None` takes PEFT's default for the architecture.
    pub fn target_modules(&self) -> Option<&TargetModules> {
        self.target_modules.as_ref()
    }

    /// Modules that are not adapted even if `target_modules` names them.
    pub fn exclude_modules(&self) -> Option<&TargetModules> {
        self.exclude_modules.as_ref()
    }

    /// The targets whose input is multiplied; `None` takes PEFT's default for the architecture.
    pub fn feedforward_modules(&self) -> Option<&TargetModules> {
        self.feedforward_modules.as_ref()
    }

    /// Modules that are trained and saved whole.
    pub fn modules_to_save(&self) -> Option<&[String]> {
        self.modules_to_save.as_deref()
    }

    /// Sets which modules are adapted.
    pub fn with_target_modules(mut self, target_modules: TargetModules) -> Self {
        self.target_modules = Some(target_modules);
        self
    }

    /// Sets which modules are left alone even if they are targets.
    pub fn with_exclude_modules(mut self, exclude_modules: TargetModules) -> Self {
        self.exclude_modules = Some(exclude_modules);
        self
    }

    /// Sets the targets whose input is multiplied. As in PEFT, an entry of a list is compared with the end of a path,
    /// letter by letter.
    pub fn with_feedforward_modules(mut self, feedforward_modules: TargetModules) -> Self {
        self.feedforward_modules = Some(feedforward_modules);
        self
    }

    /// Sets which modules are trained whole.
    pub fn with_modules_to_save<S: Into<String>>(mut self, modules: impl IntoIterator<Item = S>) -> Self {
        self.modules_to_save = Some(modules.into_iter().map(Into::into).collect());
        self
    }

    peft_fields!();

    /// Checks every field by itself and the rules between fields that PEFT 0.21 enforces.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        check_modules("target_modules", self.target_modules.as_ref())?;
        check_modules("exclude_modules", self.exclude_modules.as_ref())?;
        check_modules("feedforward_modules", self.feedforward_modules.as_ref())?;
        if let (Some(TargetModules::Suffixes(targets)), Some(TargetModules::Suffixes(entries))) =
            (&self.target_modules, &self.feedforward_modules)
            && let Some(other) = entries.iter().find(|entry| !targets.contains(entry))
        {
            let wanted = "entries of target_modules";
            return Err(LoraError::config("feedforward_modules", format_args!("{other:?}"), wanted));
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
        fields.check_type("IA3")?;
        check_off(&mut fields, &[("fan_in_fan_out", json!(false)), ("init_ia3_weights", json!(true))])?;
        let names = "a list of module names or a string";
        let config = Self {
            target_modules: fields.read("target_modules", names, target_from_json)?,
            exclude_modules: fields.read("exclude_modules", names, exclude_from_json)?,
            feedforward_modules: fields.read("feedforward_modules", names, exclude_from_json)?,
            modules_to_save: fields.read("modules_to_save", "a list of module names", texts)?,
            fields: PeftFields::take(fields)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The text of adapter_config.json as PEFT writes it: every field of PEFT 0.21, keys sorted, two spaces of
    /// indentation, ASCII only, `inference_mode` true.
    pub fn to_json(&self) -> String {
        let mut fields = self.fields.to_json();
        fields.extend([
            ("exclude_modules", json!(self.exclude_modules.as_ref().map(target_to_json))),
            ("fan_in_fan_out", json!(false)),
            ("feedforward_modules", json!(self.feedforward_modules.as_ref().map(target_to_json))),
            ("init_ia3_weights", json!(true)),
            ("modules_to_save", json!(self.modules_to_save)),
            ("peft_type", json!("IA3")),
            ("target_modules", json!(self.target_modules.as_ref().map(target_to_json))),
        ]);
        written(fields)
    }
}
