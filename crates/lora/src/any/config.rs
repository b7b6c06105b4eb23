//! What of a configuration a foreign module can honour.

use serde_json::{Map, Value};

use crate::{LoraConfig, LoraError, UnsupportedField};

/// Fields that are honoured at any value, or that change nothing that is computed. A field that is not listed must
/// have PEFT's default, so that one added to the configuration later is refused until somebody lists it.
const HONOURED: [&str; 18] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "modules_to_save",
    "peft_version",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
    "init_lora_weights",
];

/// # Errors
/// [`LoraError::Unsupported`] with every field that a module with a `forward` of its own cannot honour: dropout sits
/// before `A`, where `Linear::forward` has no place for it (it is idle, hence allowed, unless the adapter
/// `is_trained`). [`LoraError::Config`] if the configuration is invalid or names no targets.
pub(super) fn check(config: &LoraConfig, is_trained: bool) -> Result<(), LoraError> {
    config.validate()?;
    let defaults = fields(&LoraConfig::new(config.r()));
    let unsupported: Vec<UnsupportedField> = fields(config)
        .into_iter()
        .filter(|(field, value)| match field.as_str() {
            "init_lora_weights" => !(value.is_boolean() || value == "gaussian"),
            "lora_dropout" => is_trained && value.as_f64() != Some(0.0),
            known if HONOURED.contains(&known) => false,
            other => !config.extra().contains_key(other) && Some(value) != defaults.get(other),
        })
        .map(|(field, value)| {
            let wanted = defaults.get(&field).unwrap_or(&Value::Null);
            let found = format!("{value} (on a foreign Burn module: {wanted})");
            UnsupportedField { field, found }
        })
        .collect();
    if !unsupported.is_empty() {
        return Err(LoraError::Unsupported { fields: unsupported });
    }
    if config.target_modules().is_none() {
        let wanted = "module names, a regular expression or all-linear: a foreign Burn module has no default";
        return Err(LoraError::config("target_modules", "not given", wanted));
    }
    Ok(())
}

fn fields(config: &LoraConfig) -> Map<String, Value> {
    serde_json::from_str(&config.to_json()).expect("to_json writes a JSON object")
}
