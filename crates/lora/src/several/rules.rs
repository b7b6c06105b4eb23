//! What adapters must be for a model to have several, for several to be in use, and for rows to have their own.

use super::roster::Entry;
use crate::{Adaptable, AdapterConfig, Bias, LoraError, error::Problem};

/// PEFT's name for a row without an adapter.
pub(crate) const BASE: &str = "__base__";

/// Parts of the model itself that this adapter trains or has changed, which all others would see.
fn changes_the_model(config: &AdapterConfig) -> Option<String> {
    let choice = config.choice();
    let init = config.as_lora().map(|lora| lora.init_lora_weights());
    if !choice.modules_to_save.is_empty() {
        Some(format!("modules_to_save = {:?}", choice.modules_to_save))
    } else if choice.bias != Bias::None {
        Some("trained biases of the model (bias)".to_owned())
    } else if config.has_virtual_tokens() {
        Some(format!("{}, for which a model has one place", config.peft_type()))
    } else {
        init.filter(|init| init.changes_the_base())
            .map(|init| format!("init_lora_weights = {}, which changes the base", init.shown()))
    }
}

/// Why this adapter's contribution is not a sum beside another's.
fn is_no_sum(config: &AdapterConfig) -> Option<&'static str> {
    match config {
        AdapterConfig::Lora(lora) if lora.use_dora() => {
            Some("DoRA, which scales the rows of the whole weight")
        }
        AdapterConfig::Lora(lora) if lora.trainable_token_indices().is_some() => {
            Some("rows in the place of the embedding's (trainable_token_indices)")
        }
        AdapterConfig::Lora(_) => None,
        AdapterConfig::Ia3(_) => Some("IA3, which multiplies activations"),
        AdapterConfig::Vera(_) => Some("VERA, whose matrices belong to the adapter alone"),
        AdapterConfig::AdaLora(_) => Some("ADALORA, whose ranks change in training"),
        AdapterConfig::PromptTuning(_) => Some("PROMPT_TUNING, which makes every text longer"),
        AdapterConfig::PrefixTuning(_) => Some("PREFIX_TUNING, for which a model has one place"),
    }
}

/// Whether a model can hold these adapters by their names.
///
/// # Errors
/// [`LoraError::Several`] with every adapter that changes the model itself.
pub(super) fn check_together<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), LoraError> {
    let wanted = "an adapter that leaves the model as it is; attach or load this one alone";
    let problems = entries.into_iter().filter_map(|entry| {
        changes_the_model(&entry.config).map(|found| Problem::new(&entry.name, found, wanted))
    });
    refuse("hold the adapter by name", problems.collect())
}

/// Whether these adapters can be in use at once.
///
/// # Errors
/// [`LoraError::Several`] with every adapter that cannot stand beside another, and every name that is there twice.
pub(super) fn check_stack(entries: &[&Entry]) -> Result<(), LoraError> {
    if entries.len() < 2 {
        return Ok(());
    }
    let mut problems = not_sums(entries, "LoRA without these, or this adapter alone");
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].iter().any(|before| before.name == entry.name) {
            problems.push(Problem::new(&entry.name, "the name twice", "it once"));
        }
    }
    let names: Vec<String> = entries.iter().map(|entry| format!("`{}`", entry.name)).collect();
    refuse(&format!("use {} at once", names.join(" and ")), problems)
}

/// Whether rows of one batch can have these adapters.
///
/// # Errors
/// [`LoraError::Several`] with every adapter that cannot be that of some rows.
pub(super) fn check_rows_of(entries: &[&Entry]) -> Result<(), LoraError> {
    refuse("choose adapters by row", not_sums(entries, "LoRA without these"))
}

fn not_sums(entries: &[&Entry], wanted: &str) -> Vec<Problem> {
    let problems = entries
        .iter()
        .filter_map(|entry| is_no_sum(&entry.config).map(|found| Problem::new(&entry.name, found, wanted)));
    problems.collect()
}

/// Whether no adapter is merged.
///
/// # Errors
/// [`LoraError::Several`].
pub(super) fn check_unmerged<M: Adaptable>(model: &mut M, wanted: &str) -> Result<(), LoraError> {
    let mut merged = None;
    model.sites(&mut |path, site| {
        if site.is_merged() {
            merged.get_or_insert_with(|| path.to_owned());
        }
    });
    let problem = |path| Problem::new(path, "a merged adapter", "none: unmerge first");
    refuse(wanted, merged.map(problem).into_iter().collect())
}

/// An error, if there are problems.
pub(super) fn refuse(wanted: &str, problems: Vec<Problem>) -> Result<(), LoraError> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(LoraError::Several { wanted: wanted.to_owned(), problems }),
    }
}
