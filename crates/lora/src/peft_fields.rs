//! The fields that every adapter_config.json has, whatever its method.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    LoraError, TargetModules,
    config::{TASK_TYPES, one_of},
    config_json::{Fields, PEFT_VERSION, shown, text},
    error::UnsupportedField,
    matcher::full_regex,
};

/// PEFT's note on where an adapter comes from, and fields that this crate does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PeftFields {
    pub(crate) task_type: Option<String>,
    pub(crate) base_model_name_or_path: Option<String>,
    revision: Option<String>,
    auto_mapping: Option<Value>,
    peft_version: Option<String>,
    pub(crate) extra: Map<String, Value>,
}

impl PeftFields {
    /// Takes what is left of a file after the method's own fields.
    pub(crate) fn take(mut fields: Fields) -> Result<Self, LoraError> {
        let task_type = fields.read("task_type", "a string", text)?;
        let base_model_name_or_path = fields.read("base_model_name_or_path", "a string", text)?;
        let revision = fields.read("revision", "a string", text)?;
        let object = |value: &Value| value.is_object().then(|| value.clone());
        let auto_mapping = fields.read("auto_mapping", "an object", object)?;
        let peft_version = fields.read("peft_version", "a string", text)?;
        fields.read("inference_mode", "true or false", Value::as_bool)?;
        // PEFT never writes this one, and ignores it when it reads.
        fields.take("runtime_config");
        Ok(Self { task_type, base_model_name_or_path, revision, auto_mapping, peft_version, extra: fields.0 })
    }

    /// The fields as they are written; those of the method come on top.
    pub(crate) fn to_json(&self) -> BTreeMap<&str, Value> {
        let mut fields: BTreeMap<&str, Value> =
            self.extra.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        fields.extend([
            ("auto_mapping", self.auto_mapping.clone().unwrap_or(Value::Null)),
            ("base_model_name_or_path", json!(self.base_model_name_or_path)),
            ("inference_mode", json!(true)),
            ("peft_version", json!(self.peft_version.as_deref().unwrap_or(PEFT_VERSION))),
            ("revision", json!(self.revision)),
            ("task_type", json!(self.task_type)),
        ]);
        fields
    }

    /// # Errors
    /// [`LoraError::Config`] for a task type that PEFT does not know.
    pub(crate) fn validate(&self) -> Result<(), LoraError> {
        match &self.task_type {
            Some(task) if !TASK_TYPES.contains(&task.as_str()) => {
                Err(LoraError::config("task_type", format_args!("{task:?}"), &one_of(&TASK_TYPES)))
            }
            _ => Ok(()),
        }
    }
}

/// What every configuration with `fields: PeftFields` lets read and set of them.
macro_rules! peft_fields {
    () => {
        /// Fields of the file this was read from that PEFT 0.21 does not know.
        pub fn extra(&self) -> &serde_json::Map<String, serde_json::Value> {
            &self.fields.extra
        }

        /// Sets PEFT's task type.
        pub fn with_task_type(mut self, task_type: impl Into<String>) -> Self {
            self.fields.task_type = Some(task_type.into());
            self
        }

        /// Sets where the base model came from.
        pub fn with_base_model_name_or_path(mut self, base: impl Into<String>) -> Self {
            self.fields.base_model_name_or_path = Some(base.into());
            self
        }
    };
}
pub(crate) use peft_fields;

/// # Errors
/// [`LoraError::Config`] for an empty list or a text that is no regular expression.
pub(crate) fn check_modules(field: &str, modules: Option<&TargetModules>) -> Result<(), LoraError> {
    match modules {
        Some(TargetModules::Suffixes(entries)) if entries.is_empty() && field == "target_modules" => {
            let wanted = "at least one module name (or nothing, for the default)";
            Err(LoraError::config(field, "an empty list", wanted))
        }
        Some(TargetModules::AllLinear) if field != "target_modules" => {
            let wanted = "a list of module names or a regular expression";
            Err(LoraError::config(field, "all-linear", wanted))
        }
        Some(TargetModules::Regex(pattern)) => full_regex(field, pattern).map(|_| ()),
        _ => Ok(()),
    }
}

/// Removes fields that have to have one value.
///
/// # Errors
/// [`LoraError::Unsupported`] listing those that have another.
pub(crate) fn check_off(fields: &mut Fields, wanted: &[(&str, Value)]) -> Result<(), LoraError> {
    let mut unsupported = Vec::new();
    for (field, off) in wanted {
        let found = fields.take(field);
        if !found.is_null() && found != *off {
            unsupported.push(UnsupportedField { field: (*field).into(), found: shown(&found) });
        }
    }
    if unsupported.is_empty() { Ok(()) } else { Err(LoraError::Unsupported { fields: unsupported }) }
}
