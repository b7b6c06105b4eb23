//! One adapter from several (peft 0.21, `add_weighted_adapter` of src/peft/tuners/lora/model.py).

mod config;
mod factors;
mod parts;
mod targets;
mod task;

pub use self::{
    config::{CombinationType, CombineArithmetic, CombineConfig},
    task::MajoritySign,
};
use crate::{AdapterTensor, InitLoraWeights, LoraError, PeftFiles, error::Problem};

/// Combines adapters with weights into one adapter of scaling 1.
///
/// All adapters must change the same modules. Ranks that differ from module to module become one: the smaller ones are
/// filled up with zeros.
///
/// # Errors
/// [`LoraError::Config`] for the options; [`LoraError::Combine`] with every obstacle: other tensors than factors (biases,
/// magnitudes, modules saved whole), shapes or targets that differ, adapters of a changed base (PiSSA, OLoRA, LoftQ),
/// weights or values that are not finite, a rank above a module's smaller dimension.
///
/// ```
/// use burnisher_lora::{
///     AdapterTensor, CombinationType, CombineConfig, LoraConfig, PeftFiles, TargetModules, combine,
/// };
///
/// let adapter = |a: f32, b: f32| PeftFiles {
///     config: LoraConfig::new(1)
///         .with_lora_alpha(2.0)
///         .with_target_modules(TargetModules::suffixes(["q"]))
///         .into(),
///     tensors: [
///         ("base_model.model.q.lora_A.weight".to_owned(), AdapterTensor::new([1, 2], vec![a, 1.0])),
///         ("base_model.model.q.lora_B.weight".to_owned(), AdapterTensor::new([1, 1], vec![b])),
///     ]
///     .into(),
/// };
/// let config = CombineConfig::new(CombinationType::Cat);
/// let sum = combine(&[(&adapter(1.0, 3.0), 0.5), (&adapter(4.0, 5.0), 0.25)], &config)?;
/// assert_eq!(sum.tensors["base_model.model.q.lora_A.weight"].values, [1.0, 1.0, 2.0, 0.5]);
/// assert_eq!(sum.config.lora()?.scaling_for("q")?, (2, 1.0));
/// # Ok::<(), burnisher_lora::LoraError>(())
/// ```
pub fn combine(adapters: &[(&PeftFiles, f64)], config: &CombineConfig) -> Result<PeftFiles, LoraError> {
    config.validate()?;
    let modules = parts::collect(adapters, config)?;
    // As in PEFT: a single adapter is only weighted.
    let mut config = config.clone();
    if adapters.len() == 1 && config.arithmetic == CombineArithmetic::Peft {
        config.combination = CombinationType::Linear;
    }
    let r = rank(&modules, &config)?;
    let mut tensors = std::collections::BTreeMap::new();
    for module in &modules {
        let (a, b) = factors::combined(module, r, &config);
        let [key_a, key_b] = module.keys.clone();
        tensors.insert(key_a, AdapterTensor::new([r, module.inn], a));
        tensors.insert(key_b, AdapterTensor::new([module.out, r], b));
    }
    let configs = adapters.iter().map(|(files, _)| files.config.lora()).collect::<Result<Vec<_>, _>>()?;
    let mut result = targets::joined(&configs, &modules, config.arithmetic)?;
    (result.r, result.lora_alpha) = (r, r as f64);
    (result.rank_pattern, result.alpha_pattern) = (Vec::new(), Vec::new());
    if config.arithmetic == CombineArithmetic::Exact {
        // PEFT leaves it on, and the scaling becomes √r.
        result.use_rslora = false;
        result.init_lora_weights = InitLoraWeights::Kaiming;
        (result.loftq_config, result.eva_config) = (None, None);
    }
    Ok(PeftFiles { config: result.into(), tensors })
}

/// The rank of the result.
fn rank(modules: &[parts::Module], config: &CombineConfig) -> Result<usize, LoraError> {
    let adapters = modules.iter().map(|module| module.parts.len()).max().unwrap_or(0);
    let ranks = (0..adapters).map(|index| {
        modules.iter().filter_map(|module| module.parts.get(index)).map(|part| part.r).max().unwrap_or(0)
    });
    let ranks: Vec<usize> = ranks.collect();
    let largest = ranks.iter().copied().max().unwrap_or(0);
    if !config.decomposes() {
        let concatenates =
            config.arithmetic == CombineArithmetic::Exact || config.combination == CombinationType::Cat;
        if concatenates {
            return Ok(ranks.iter().sum());
        }
        let other = ranks.iter().find(|rank| **rank != largest);
        if let Some(other) = other {
            let name = config.combination.as_str();
            let problem = Problem::new(
                "ranks",
                format_args!("{other} and {largest}"),
                format_args!("equal ones for {name}"),
            );
            return Err(LoraError::Combine { problems: vec![problem] });
        }
        return Ok(largest);
    }
    let r = config.svd_rank.unwrap_or(largest);
    let too_small = modules.iter().filter(|module| r > module.out.min(module.inn));
    let problems: Vec<Problem> = too_small
        .map(|module| {
            let least = module.out.min(module.inn);
            Problem::new(
                &module.path,
                format_args!("rank {r}"),
                format_args!("at most {least}, its smaller dimension"),
            )
        })
        .collect();
    if problems.is_empty() { Ok(r) } else { Err(LoraError::Combine { problems }) }
}
