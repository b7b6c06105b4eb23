//! The configuration of any adapter: PEFT's `peft_type` and the configuration that goes with it.

use std::path::Path;

use serde_json::Value;

use crate::{
    AdapterPlan, LoraConfig, LoraError, TargetModules,
    config_json::read_json,
    target::{Choice, LORA_TARGETS},
};

/// `peft_type` and the configurations of the methods.
const KNOWN: [&str; 1] = ["LORA"];

/// The configuration of an adapter: one variant per `peft_type` of PEFT 0.21.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AdapterConfig {
    /// LORA: LoRA with its relatives (rsLoRA, DoRA, trained rows of the embedding).
    Lora(LoraConfig),
}

impl AdapterConfig {
    /// PEFT's name of the method.
    pub fn peft_type(&self) -> &'static str {
        match self {
            Self::Lora(_) => "LORA",
        }
    }

    /// LoRA's configuration, if the method is LoRA.
    pub fn as_lora(&self) -> Option<&LoraConfig> {
        match self {
            Self::Lora(config) => Some(config),
        }
    }

    /// The rank of every module without a pattern of its own; 0 for a method without ranks.
    pub(crate) fn rank(&self) -> usize {
        match self {
            Self::Lora(config) => config.r,
        }
    }

    /// How modules are chosen.
    pub(crate) fn choice(&self) -> Choice<'_> {
        match self {
            Self::Lora(config) => Choice {
                defaults: LORA_TARGETS,
                target_modules: config.target_modules.as_ref(),
                exclude_modules: config.exclude_modules.as_ref(),
                layers_to_transform: config.layers_to_transform.as_deref().unwrap_or_default(),
                layers_pattern: config.layers_pattern.as_deref().unwrap_or_default(),
                modules_to_save: config.modules_to_save.as_deref().unwrap_or_default(),
                bias: config.bias,
            },
        }
    }

    /// Whether a target or a module to save is named as the output projection is.
    pub(crate) fn names_head(&self) -> bool {
        let Choice { target_modules, modules_to_save, .. } = self.choice();
        let targets = match target_modules {
            Some(TargetModules::Suffixes(entries)) => entries.as_slice(),
            _ => &[],
        };
        targets.iter().chain(modules_to_save).any(|name| name == "lm_head")
    }

    /// The same with the modules that `plan` found spelled out.
    pub(crate) fn with_plan(self, plan: &AdapterPlan) -> Self {
        let targets = plan.target_modules.clone();
        match self {
            Self::Lora(config) => Self::Lora(config.with_target_modules(targets)),
        }
    }

    /// Reads and checks an adapter_config.json.
    ///
    /// # Errors
    /// [`LoraError::Read`] and [`LoraError::Json`] with the path; [`LoraError::InFile`] around what
    /// [`AdapterConfig::from_json`] reports.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, LoraError> {
        let path = path.as_ref();
        Self::from_json(read_json(path)?).map_err(|error| error.in_file(path))
    }

    /// Takes a configuration from the parsed text of an adapter_config.json.
    ///
    /// # Errors
    /// [`LoraError::UnknownPeftType`] naming a method that this crate does not have, and those it has; what the
    /// method's configuration reports.
    pub fn from_json(value: Value) -> Result<Self, LoraError> {
        match value.get("peft_type").and_then(Value::as_str) {
            Some("LORA") | None => LoraConfig::from_json(value).map(Self::Lora),
            Some(found) => Err(LoraError::UnknownPeftType { found: found.to_owned(), known: KNOWN.to_vec() }),
        }
    }

    /// The text of adapter_config.json as PEFT writes it: every field, keys sorted, two spaces of indentation.
    pub fn to_json(&self) -> String {
        match self {
            Self::Lora(config) => config.to_json(),
        }
    }

    /// Checks every field by itself and the rules between fields that PEFT enforces.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        match self {
            Self::Lora(config) => config.validate(),
        }
    }
}

/// A configuration of one method stands for itself, borrowed or not.
macro_rules! from_config {
    ($config:ty, $variant:ident) => {
        impl From<$config> for AdapterConfig {
            fn from(config: $config) -> Self {
                Self::$variant(config)
            }
        }

        impl From<&$config> for AdapterConfig {
            fn from(config: &$config) -> Self {
                Self::$variant(config.clone())
            }
        }
    };
}

from_config!(LoraConfig, Lora);

impl From<&AdapterConfig> for AdapterConfig {
    fn from(config: &AdapterConfig) -> Self {
        config.clone()
    }
}
