//! The configuration of any adapter: PEFT's `peft_type` and the configuration that goes with it.

use std::path::Path;

use serde_json::Value;

use crate::{
    AdaLoraConfig, AdapterPlan, Bias, Ia3Config, LoraConfig, LoraError, PrefixTuningConfig,
    PromptTuningConfig, TargetModules, VeraConfig,
    adalora_config::ADALORA_TARGETS,
    config_json::read_json,
    ia3_config::IA3_TARGETS,
    target::{Choice, LORA_TARGETS},
    vera_config::VERA_TARGETS,
};

/// `peft_type` and the configurations of the methods.
const KNOWN: [&str; 6] = ["ADALORA", "IA3", "LORA", "PREFIX_TUNING", "PROMPT_TUNING", "VERA"];

/// The configuration of an adapter: one variant per `peft_type` of PEFT 0.21.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AdapterConfig {
    /// LORA: LoRA with its relatives (rsLoRA, DoRA, trained rows of the embedding).
    Lora(LoraConfig),
    /// IA3: (IA)³.
    Ia3(Ia3Config),
    /// VERA: VeRA.
    Vera(VeraConfig),
    /// ADALORA: AdaLoRA.
    AdaLora(AdaLoraConfig),
    /// PROMPT_TUNING: trained embeddings before every text.
    PromptTuning(PromptTuningConfig),
    /// PREFIX_TUNING: trained keys and values before every text.
    PrefixTuning(PrefixTuningConfig),
}

impl AdapterConfig {
    /// PEFT's name of the method.
    pub fn peft_type(&self) -> &'static str {
        match self {
            Self::Lora(_) => "LORA",
            Self::Ia3(_) => "IA3",
            Self::Vera(_) => "VERA",
            Self::AdaLora(_) => "ADALORA",
            Self::PromptTuning(_) => "PROMPT_TUNING",
            Self::PrefixTuning(_) => "PREFIX_TUNING",
        }
    }

    /// LoRA's configuration, if the method is LoRA.
    pub fn as_lora(&self) -> Option<&LoraConfig> {
        match self {
            Self::Lora(config) => Some(config),
            _ => None,
        }
    }

    /// LoRA's configuration.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the method, if it is another.
    pub fn lora(&self) -> Result<&LoraConfig, LoraError> {
        self.as_lora().ok_or_else(|| LoraError::config("peft_type", self.peft_type(), "LORA"))
    }

    /// Whether the adapter's training changed parameters of the base itself: `modules_to_save`, biases, or an
    /// initialisation that took something out of the weights (PiSSA, OLoRA, LoftQ).
    pub fn changes_the_base(&self) -> bool {
        let choice = self.choice();
        !choice.modules_to_save.is_empty()
            || choice.bias != Bias::None
            || self.as_lora().is_some_and(|lora| lora.init_lora_weights().changes_the_base())
    }

    /// The rank of every module without a pattern of its own; 0 for a method without ranks.
    pub(crate) fn rank(&self) -> usize {
        match self {
            Self::Lora(config) => config.r,
            Self::Ia3(_) => 0,
            Self::Vera(config) => config.r,
            Self::AdaLora(config) => config.init_r(),
            Self::PromptTuning(_) | Self::PrefixTuning(_) => 0,
        }
    }

    /// How modules are chosen.
    pub(crate) fn choice(&self) -> Choice<'_> {
        match self {
            Self::AdaLora(config) => Choice {
                defaults: ADALORA_TARGETS,
                takes_embedding: false,
                ..Self::choice_of_lora(&config.lora)
            },
            Self::Lora(config) => Self::choice_of_lora(config),
            Self::Ia3(config) => Choice {
                defaults: IA3_TARGETS,
                target_modules: config.target_modules.as_ref(),
                exclude_modules: config.exclude_modules.as_ref(),
                layers_to_transform: &[],
                layers_pattern: &[],
                modules_to_save: config.modules_to_save.as_deref().unwrap_or_default(),
                bias: Bias::None,
                takes_embedding: false,
            },
            Self::PromptTuning(_) | Self::PrefixTuning(_) => Choice {
                defaults: &[],
                target_modules: None,
                exclude_modules: None,
                layers_to_transform: &[],
                layers_pattern: &[],
                modules_to_save: &[],
                bias: Bias::None,
                takes_embedding: false,
            },
            Self::Vera(config) => Choice {
                defaults: VERA_TARGETS,
                target_modules: config.target_modules.as_ref(),
                exclude_modules: None,
                layers_to_transform: config.layers_to_transform.as_deref().unwrap_or_default(),
                layers_pattern: config.layers_pattern.as_deref().unwrap_or_default(),
                modules_to_save: config.modules_to_save.as_deref().unwrap_or_default(),
                bias: config.bias,
                takes_embedding: false,
            },
        }
    }

    fn choice_of_lora(config: &LoraConfig) -> Choice<'_> {
        Choice {
            defaults: LORA_TARGETS,
            target_modules: config.target_modules.as_ref(),
            exclude_modules: config.exclude_modules.as_ref(),
            layers_to_transform: config.layers_to_transform.as_deref().unwrap_or_default(),
            layers_pattern: config.layers_pattern.as_deref().unwrap_or_default(),
            modules_to_save: config.modules_to_save.as_deref().unwrap_or_default(),
            bias: config.bias,
            takes_embedding: true,
        }
    }

    /// Whether an entry of the targets is `path`.
    pub(crate) fn targets(&self, path: &str) -> bool {
        match self.choice().target_modules {
            Some(TargetModules::Suffixes(entries)) => entries.iter().any(|entry| entry == path),
            _ => false,
        }
    }

    /// Whether an entry of the modules to save is `path`.
    pub(crate) fn saves(&self, path: &str) -> bool {
        self.choice().modules_to_save.iter().any(|entry| entry == path)
    }

    /// The same with `other` among the modules to save in the place of `path`.
    pub(crate) fn with_saved_instead(mut self, path: &str, other: &str) -> Self {
        let modules = match &mut self {
            Self::Lora(config) => &mut config.modules_to_save,
            Self::Ia3(config) => &mut config.modules_to_save,
            Self::Vera(config) => &mut config.modules_to_save,
            Self::AdaLora(config) => &mut config.lora.modules_to_save,
            Self::PromptTuning(_) | Self::PrefixTuning(_) => return self,
        };
        for module in modules.iter_mut().flatten().filter(|module| *module == path) {
            other.clone_into(module);
        }
        self
    }

    /// Whether the method trains virtual tokens, and adapts no module.
    pub(crate) fn has_virtual_tokens(&self) -> bool {
        matches!(self, Self::PromptTuning(_) | Self::PrefixTuning(_))
    }

    /// The same with the modules that `plan` found spelled out.
    pub(crate) fn with_plan(self, plan: &AdapterPlan) -> Self {
        let targets = plan.target_modules.clone();
        match self {
            Self::Lora(config) => Self::Lora(config.with_target_modules(targets)),
            Self::Ia3(config) => Self::Ia3(Ia3Config {
                target_modules: Some(targets),
                feedforward_modules: plan.feedforward_modules.clone(),
                ..config
            }),
            Self::Vera(config) => Self::Vera(config.with_target_modules(targets)),
            Self::AdaLora(config) => Self::AdaLora(config.with_target_modules(targets)),
            whole @ (Self::PromptTuning(_) | Self::PrefixTuning(_)) => whole,
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
            Some("ADALORA") => AdaLoraConfig::from_json(value).map(Self::AdaLora),
            Some("IA3") => Ia3Config::from_json(value).map(Self::Ia3),
            Some("VERA") => VeraConfig::from_json(value).map(Self::Vera),
            Some("PROMPT_TUNING") => PromptTuningConfig::from_json(value).map(Self::PromptTuning),
            Some("PREFIX_TUNING") => PrefixTuningConfig::from_json(value).map(Self::PrefixTuning),
            Some(found) => Err(LoraError::UnknownPeftType { found: found.to_owned(), known: KNOWN.to_vec() }),
        }
    }

    /// The text of adapter_config.json as PEFT writes it: every field, keys sorted, two spaces of indentation.
    pub fn to_json(&self) -> String {
        match self {
            Self::Lora(config) => config.to_json(),
            Self::Ia3(config) => config.to_json(),
            Self::Vera(config) => config.to_json(),
            Self::AdaLora(config) => config.to_json(),
            Self::PromptTuning(config) => config.to_json(),
            Self::PrefixTuning(config) => config.to_json(),
        }
    }

    /// Checks every field by itself and the rules between fields that PEFT enforces.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        match self {
            Self::Lora(config) => config.validate(),
            Self::Ia3(config) => config.validate(),
            Self::Vera(config) => config.validate(),
            Self::AdaLora(config) => config.validate(),
            Self::PromptTuning(config) => config.validate(),
            Self::PrefixTuning(config) => config.validate(),
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
from_config!(Ia3Config, Ia3);
from_config!(VeraConfig, Vera);
from_config!(AdaLoraConfig, AdaLora);
from_config!(PromptTuningConfig, PromptTuning);
from_config!(PrefixTuningConfig, PrefixTuning);

impl From<&AdapterConfig> for AdapterConfig {
    fn from(config: &AdapterConfig) -> Self {
        config.clone()
    }
}
