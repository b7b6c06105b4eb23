//! What a configuration may hold, by itself and together.

use std::collections::BTreeSet;

use super::{InitLoraWeights, LoraConfig, TASK_TYPES};
use crate::{
    error::LoraError,
    matcher::{ScalingRules, full_regex, layer_regex},
    target::TargetModules,
};

impl LoraConfig {
    /// Checks every field by itself and the rules between fields that PEFT 0.21 enforces.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        check_rank("r", self.r)?;
        check_alpha("lora_alpha", self.lora_alpha)?;
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(LoraError::config("lora_dropout", self.lora_dropout, "a number in [0, 1)"));
        }
        for (key, r) in &self.rank_pattern {
            check_rank(&format!("rank_pattern[{key:?}]"), *r)?;
        }
        for (key, alpha) in &self.alpha_pattern {
            check_alpha(&format!("alpha_pattern[{key:?}]"), *alpha)?;
        }
        if self.lora_bias && self.use_dora {
            return Err(LoraError::config("lora_bias", true, "false, because use_dora is true"));
        }
        let is_plain = matches!(self.init_lora_weights, InitLoraWeights::Kaiming | InitLoraWeights::Random);
        if self.lora_bias && !is_plain {
            let wanted = "false, because init_lora_weights is neither true nor false";
            return Err(LoraError::config("lora_bias", true, wanted));
        }
        if let Some(tokens) = &self.trainable_token_indices {
            let mut seen = BTreeSet::new();
            if let Some(twice) = tokens.iter().find(|token| !seen.insert(**token)) {
                let found = format_args!("a list with {twice} twice");
                return Err(LoraError::config("trainable_token_indices", found, "every token once"));
            }
            if tokens.is_empty() {
                let wanted = "at least one token (or nothing)";
                return Err(LoraError::config("trainable_token_indices", "an empty list", wanted));
            }
        }
        ScalingRules::new(self)?;
        self.validate_targets()?;
        self.validate_layers()?;
        self.validate_init()?;
        match &self.task_type {
            Some(task) if !TASK_TYPES.contains(&task.as_str()) => {
                Err(LoraError::config("task_type", format_args!("{task:?}"), &one_of(&TASK_TYPES)))
            }
            _ => Ok(()),
        }
    }

    fn validate_init(&self) -> Result<(), LoraError> {
        if let Some(loftq) = &self.loftq_config {
            if self.init_lora_weights != InitLoraWeights::Loftq {
                let wanted = "nothing, because init_lora_weights is not \"loftq\"";
                return Err(LoraError::config("loftq_config", "given", wanted));
            }
            loftq.validate()?;
        }
        if let Some(eva) = &self.eva_config {
            eva.validate()?;
        }
        if self.init_lora_weights == InitLoraWeights::Orthogonal {
            let ranks = self.rank_pattern.iter().map(|(_, r)| *r).chain([self.r]);
            if let Some(odd) = ranks.into_iter().find(|r| r % 2 != 0) {
                let wanted = "an even rank, because init_lora_weights is \"orthogonal\"";
                return Err(LoraError::config("r", odd, wanted));
            }
        }
        Ok(())
    }

    fn validate_targets(&self) -> Result<(), LoraError> {
        match &self.target_modules {
            Some(TargetModules::Suffixes(entries)) if entries.is_empty() => {
                let wanted = "at least one module name (or nothing, for the default)";
                return Err(LoraError::config("target_modules", "an empty list", wanted));
            }
            Some(TargetModules::Regex(pattern)) => {
                full_regex("target_modules", pattern)?;
            }
            _ => {}
        }
        match &self.exclude_modules {
            Some(TargetModules::AllLinear) => {
                let wanted = "a list of module names or a regular expression";
                Err(LoraError::config("exclude_modules", "all-linear", wanted))
            }
            Some(TargetModules::Regex(pattern)) => full_regex("exclude_modules", pattern).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn validate_layers(&self) -> Result<(), LoraError> {
        let not_a_list =
            matches!(self.target_modules, Some(TargetModules::Regex(_) | TargetModules::AllLinear));
        let pattern = self.layers_pattern.as_deref().unwrap_or_default();
        for (field, given) in [
            ("layers_to_transform", self.layers_to_transform.is_some()),
            ("layers_pattern", !pattern.is_empty()),
        ] {
            if not_a_list && given {
                let wanted = "nothing, because target_modules is not a list of module names";
                return Err(LoraError::config(field, "given", wanted));
            }
        }
        if !pattern.is_empty() && self.layers_to_transform.as_deref().unwrap_or_default().is_empty() {
            let wanted = "layer numbers, because layers_pattern is given";
            return Err(LoraError::config("layers_to_transform", "empty", wanted));
        }
        pattern.iter().try_for_each(|pattern| layer_regex(pattern).map(|_| ()))
    }
}

pub(crate) fn check_rank(field: &str, r: usize) -> Result<(), LoraError> {
    if r == 0 {
        return Err(LoraError::config(field, r, "a rank above 0"));
    }
    Ok(())
}

/// Zero is refused: the adapter would be dead and get no gradient.
fn check_alpha(field: &str, alpha: f64) -> Result<(), LoraError> {
    if !alpha.is_finite() || alpha == 0.0 {
        return Err(LoraError::config(field, alpha, "a finite number other than 0"));
    }
    Ok(())
}

pub(crate) fn one_of(names: &[&str]) -> String {
    format!("one of {}", names.join(", "))
}
