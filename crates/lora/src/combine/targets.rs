//! The configuration of a combined adapter.

use crate::{
    LoraConfig, LoraError, TargetModules,
    combine::{CombineArithmetic, parts::Module},
    error::Problem,
};

/// The first configuration, with targets that choose the modules of all. If the configurations choose differently,
/// exact arithmetic names every module; PEFT joins lists, and regular expressions by `|`.
pub(crate) fn joined(
    configs: &[&LoraConfig],
    modules: &[Module],
    arithmetic: CombineArithmetic,
) -> Result<LoraConfig, LoraError> {
    let mut config = (*configs[0]).clone();
    let same = configs.iter().all(|other| {
        other.target_modules == config.target_modules
            && other.exclude_modules == config.exclude_modules
            && other.layers_to_transform == config.layers_to_transform
            && other.layers_pattern == config.layers_pattern
    });
    if same && config.target_modules.is_some() {
        return Ok(config);
    }
    if arithmetic == CombineArithmetic::Peft {
        config.target_modules = Some(joined_as_peft(configs)?);
        return Ok(config);
    }
    config.target_modules =
        Some(TargetModules::Suffixes(modules.iter().map(|module| module.path.clone()).collect()));
    (config.exclude_modules, config.layers_to_transform, config.layers_pattern) = (None, None, None);
    Ok(config)
}

fn joined_as_peft(configs: &[&LoraConfig]) -> Result<TargetModules, LoraError> {
    let (mut entries, mut patterns): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut others = 0;
    for config in configs {
        match &config.target_modules {
            Some(TargetModules::Suffixes(names)) => {
                entries
                    .extend(names.iter().filter(|name| !entries.contains(name)).cloned().collect::<Vec<_>>());
            }
            Some(TargetModules::Regex(pattern)) => patterns.push(format!("({pattern})")),
            Some(TargetModules::AllLinear) | None => others += 1,
        }
    }
    match (entries.is_empty(), patterns.is_empty(), others) {
        (false, true, 0) => Ok(TargetModules::Suffixes(entries)),
        (true, false, 0) => Ok(TargetModules::Regex(patterns.join("|"))),
        _ => {
            let found = "lists, regular expressions or neither, mixed";
            let problem =
                Problem::new("target_modules", found, "lists in all adapters, or regular expressions in all");
            Err(LoraError::Combine { problems: vec![problem] })
        }
    }
}
