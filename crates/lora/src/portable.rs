//! What other programs make of an adapter: the portable subset of PEFT's format.
//!
//! The table below was read from the programs' sources:
//!
//! - vLLM: vllm/lora/peft_helper.py (`_validate_features`, `validate_legal`), vllm/lora/utils.py
//!   (`parse_fine_tuned_lora_name`) and vllm/lora/lora_model.py of 2025 and 2026; vllm/config/lora.py of 0.11
//!   (`MaxLoRARanks`).
//! - mistral.rs: mistralrs-quant/src/lora (`validate_dynamic`, `site_load_spec`, `validate_consumption`)
//!   of 2026, after 0.9.
//! - llama.cpp: convert_lora_to_gguf.py and src/llama-adapter.cpp of 2026. What is said of scalings holds for
//!   that converter; `export_gguf_adapter` of burnisher-models puts them into B.

use std::fmt;

use serde_json::Value;

use crate::{PeftFiles, matcher::ScalingRules, peft::keys};

/// A program that runs adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runtime {
    /// vLLM.
    Vllm,
    /// mistral.rs, with adapters chosen per request.
    MistralRs,
    /// llama.cpp, through its converter.
    LlamaCpp,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vllm => "vLLM",
            Self::MistralRs => "mistral.rs",
            Self::LlamaCpp => "llama.cpp",
        })
    }
}

/// What a program does with a feature that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It refuses the adapter.
    Refused,
    /// It runs, and computes something else.
    Wrong,
    /// It refuses the adapter unless it is started with an option.
    NeedsOption,
}

/// A feature of an adapter that keeps a program from running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The program.
    pub runtime: Runtime,
    /// What it does.
    pub outcome: Outcome,
    /// The field or tensor, with its value.
    pub found: String,
    /// What is the matter, and what helps.
    pub advice: &'static str,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.runtime, self.found, self.advice)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    OtherMethod,
    Dora,
    ModulesToSave,
    Bias,
    LoraBias,
    TokenIndices,
    ChangedBase,
    RankAbove(usize),
    RankPattern,
    AlphaPattern,
    RsLora,
    Embedding,
    Head,
}

use Feature as F;
use Outcome::{NeedsOption, Refused, Wrong};
use Runtime::{LlamaCpp, MistralRs, Vllm};

/// The facts, one a row.
const TABLE: &[(Runtime, Feature, Outcome, &str)] = &[
    (Vllm, F::OtherMethod, Refused, "it knows LoRA only; merge the adapter into the base"),
    (Vllm, F::Dora, Refused, "it does not run DoRA; merge the adapter into the base"),
    (
        Vllm,
        F::ModulesToSave,
        Refused,
        "it takes no modules that were trained whole; merge the adapter into the base",
    ),
    (Vllm, F::Bias, Refused, "it takes no trained biases; merge the adapter into the base"),
    (Vllm, F::LoraBias, Refused, "it takes no bias of B; merge the adapter into the base"),
    (Vllm, F::TokenIndices, Refused, "it takes no trained tokens; merge the adapter into the base"),
    (
        Vllm,
        F::ChangedBase,
        Wrong,
        "it runs the factors beside the unchanged base; save the adapter converted",
    ),
    (
        Vllm,
        F::RankAbove(512),
        Refused,
        "its largest --max-lora-rank is 512; refactor with a smaller rank, or merge",
    ),
    (
        Vllm,
        F::RankAbove(16),
        NeedsOption,
        "its --max-lora-rank is 16 unless it is set (8, 16, 32, 64, 128, 256, 320 or 512)",
    ),
    (Vllm, F::RankPattern, Wrong, "it scales every module by lora_alpha / r; refactor to one rank, or merge"),
    (
        Vllm,
        F::AlphaPattern,
        Wrong,
        "it scales every module by lora_alpha / r; refactor to one scaling, or merge",
    ),
    (MistralRs, F::OtherMethod, Refused, "it knows LoRA only; merge the adapter into the base"),
    (MistralRs, F::Dora, Refused, "it does not run DoRA; merge the adapter into the base"),
    (
        MistralRs,
        F::ModulesToSave,
        Refused,
        "it takes no modules that were trained whole; merge the adapter into the base",
    ),
    (MistralRs, F::Bias, Refused, "it takes no trained biases; merge the adapter into the base"),
    (MistralRs, F::LoraBias, Refused, "it takes no bias of B; merge the adapter into the base"),
    (MistralRs, F::TokenIndices, Refused, "it takes no trained tokens; merge the adapter into the base"),
    (
        MistralRs,
        F::ChangedBase,
        Refused,
        "it does not change the base as the initialisation did; save the adapter converted",
    ),
    (
        MistralRs,
        F::Embedding,
        Refused,
        "it takes no adapter of the embedding; merge the adapter into the base",
    ),
    (MistralRs, F::Head, Refused, "it takes no adapter of lm_head; merge the adapter into the base"),
    (LlamaCpp, F::OtherMethod, Refused, "it knows LoRA only; merge the adapter into the base"),
    (LlamaCpp, F::Dora, Refused, "its converter stops at magnitudes; merge the adapter into the base"),
    (
        LlamaCpp,
        F::ModulesToSave,
        Refused,
        "its converter stops at whole weights; merge the adapter into the base",
    ),
    (LlamaCpp, F::Bias, Refused, "its converter stops at biases; merge the adapter into the base"),
    (LlamaCpp, F::LoraBias, Refused, "its converter stops at a bias of B; merge the adapter into the base"),
    (
        LlamaCpp,
        F::TokenIndices,
        Refused,
        "its converter stops at trained tokens; merge the adapter into the base",
    ),
    (
        LlamaCpp,
        F::ChangedBase,
        Wrong,
        "it runs the factors beside the unchanged base; save the adapter converted",
    ),
    (
        LlamaCpp,
        F::RsLora,
        Wrong,
        "it scales by lora_alpha / r; burnisher-models' export_gguf_adapter puts the scaling into B",
    ),
    (
        LlamaCpp,
        F::AlphaPattern,
        Wrong,
        "it has one lora_alpha; burnisher-models' export_gguf_adapter puts the scalings into B",
    ),
    (
        LlamaCpp,
        F::Head,
        Refused,
        "its converter refuses lm_head where it shares the embedding's weight; merge then",
    ),
];

/// Everything in an adapter that vLLM, mistral.rs or llama.cpp refuse or compute differently, program by program; nothing
/// for an adapter that all of them run. What to do about it is in each [`Obstacle::advice`].
///
/// ```
/// use burnisher_lora::{LoraConfig, PeftFiles, Runtime, TargetModules, obstacles};
///
/// let targets = TargetModules::suffixes(["q_proj"]);
/// let config = LoraConfig::new(8).with_target_modules(targets).with_modules_to_save(["lm_head"]);
/// let found = obstacles(&PeftFiles { config: config.into(), tensors: Default::default() });
/// assert_eq!(found.len(), 3);
/// assert_eq!(
///     found[0].to_string(),
///     "vLLM: modules_to_save = [\"lm_head\"]: it takes no modules that were trained whole; \
///      merge the adapter into the base"
/// );
/// ```
pub fn obstacles(files: &PeftFiles) -> Vec<Obstacle> {
    let config: Value = serde_json::from_str(&files.config.to_json()).unwrap_or_default();
    let mut obstacles = Vec::new();
    for &(runtime, feature, outcome, advice) in TABLE {
        // A rank above the hard limit is not also one above the default.
        let is_known = |other: &Obstacle| other.runtime == runtime && other.found.starts_with("rank ");
        if matches!(feature, F::RankAbove(_)) && obstacles.iter().any(is_known) {
            continue;
        }
        if let Some(found) = find(feature, files, &config) {
            obstacles.push(Obstacle { runtime, outcome, found, advice });
        }
    }
    obstacles
}

/// Where the adapter has the feature.
fn find(feature: Feature, files: &PeftFiles, config: &Value) -> Option<String> {
    let field = |name: &str, off: &[Value]| {
        let value = config.get(name)?;
        let is_off = value.is_null() || off.contains(value);
        (!is_off).then(|| format!("{name} = {value}"))
    };
    let tensor = |is_it: &dyn Fn(&str) -> bool| files.tensors.keys().find(|name| is_it(name)).cloned();
    let none = [Value::Bool(false), Value::Array(Vec::new()), Value::Object(serde_json::Map::new())];
    match feature {
        F::OtherMethod => field("peft_type", &["LORA".into()]),
        F::Dora => {
            field("use_dora", &none).or_else(|| tensor(&|name| name.contains(".lora_magnitude_vector")))
        }
        F::ModulesToSave => field("modules_to_save", &none),
        F::Bias => field("bias", &["none".into()]),
        F::LoraBias => field("lora_bias", &none).or_else(|| tensor(&|name| name.ends_with(".lora_B.bias"))),
        F::TokenIndices => field("trainable_token_indices", &none)
            .or_else(|| tensor(&|name| name.contains(".token_adapter."))),
        F::ChangedBase => {
            let init = files.config.as_lora()?.init_lora_weights();
            init.changes_the_base().then(|| format!("init_lora_weights = {}", init.shown()))
        }
        F::RankAbove(limit) => {
            let lora = files.config.as_lora()?;
            let patterns = lora.rank_pattern().iter().map(|(_, r)| *r);
            let largest = patterns.chain([lora.r()]).max().unwrap_or(0);
            (largest > limit).then(|| format!("rank {largest}"))
        }
        F::RankPattern => differing(files, |(r, _)| r as f64).then(|| field("rank_pattern", &none)).flatten(),
        F::AlphaPattern => {
            differing(files, |(_, scaling)| scaling).then(|| field("alpha_pattern", &none)).flatten()
        }
        F::RsLora => field("use_rslora", &none),
        F::Embedding => tensor(&|name| name.contains(".lora_embedding_")),
        F::Head => tensor(&|name| {
            name.strip_suffix(".lora_A.weight").is_some_and(|module| module.ends_with(".lm_head"))
        }),
    }
}

/// Whether some module's rank or scaling is another than the configuration's; without tensors, whether it may be.
fn differing(files: &PeftFiles, part: impl Fn((usize, f64)) -> f64) -> bool {
    let Some(lora) = files.config.as_lora() else { return false };
    let Ok(rules) = ScalingRules::new(lora) else { return true };
    let plain = {
        let mut config = lora.clone();
        (config.rank_pattern, config.alpha_pattern) = (Vec::new(), Vec::new());
        config.scaling_for("").map(&part).ok()
    };
    let mut modules = files.tensors.keys().filter_map(|name| name.strip_suffix(".lora_A.weight")).peekable();
    if modules.peek().is_none() {
        return true;
    }
    modules.any(|module| {
        let (r, _, scaling) = rules.of(keys::module_path(module));
        Some(part((r, scaling))) != plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdapterTensor, InitLoraWeights, LoraConfig, TargetModules};

    fn plain() -> PeftFiles {
        let config = LoraConfig::new(8).with_target_modules(TargetModules::suffixes(["q_proj"]));
        let key = |part: &str| format!("base_model.model.model.layers.0.self_attn.q_proj.{part}.weight");
        let tensor = |shape: [usize; 2]| AdapterTensor::new(shape, vec![1.0; shape[0] * shape[1]]);
        let tensors = [(key("lora_A"), tensor([8, 4])), (key("lora_B"), tensor([4, 8]))];
        PeftFiles { config: config.into(), tensors: tensors.into() }
    }

    fn runtimes(files: &PeftFiles) -> Vec<(Runtime, Outcome)> {
        obstacles(files).iter().map(|obstacle| (obstacle.runtime, obstacle.outcome)).collect()
    }

    #[test]
    fn a_plain_adapter_runs_everywhere() {
        assert_eq!(obstacles(&plain()), []);
    }

    #[test]
    fn each_feature_is_found() {
        let with = |change: fn(LoraConfig) -> LoraConfig| {
            let PeftFiles { config, tensors } = plain();
            let lora = config.lora().expect("a LoRA adapter").clone();
            runtimes(&PeftFiles { config: change(lora).into(), tensors })
        };
        let all = [(Vllm, Refused), (MistralRs, Refused), (LlamaCpp, Refused)];
        assert_eq!(with(|config| config.with_bias(crate::Bias::All)), all);
        assert_eq!(with(|config| config.with_modules_to_save(["lm_head"])), all);
        let changed = [(Vllm, Wrong), (MistralRs, Refused), (LlamaCpp, Wrong)];
        assert_eq!(with(|config| config.with_init_lora_weights(InitLoraWeights::PissaNiter(4))), changed);
        assert_eq!(with(|config| config.with_use_rslora(true)), [(LlamaCpp, Wrong)]);
        assert_eq!(
            with(|config| config.with_alpha_pattern([("q_proj", 4.0)])),
            [(Vllm, Wrong), (LlamaCpp, Wrong)]
        );
        // A pattern that changes nothing is no obstacle.
        assert_eq!(with(|config| config.with_alpha_pattern([("q_proj", 8.0)])), []);
        assert_eq!(with(|config| config.with_rank_pattern([("k_proj", 4)])), []);

        let mut wide = plain();
        wide.config = LoraConfig::new(64).with_lora_alpha(64.0).into();
        assert_eq!(runtimes(&wide), [(Vllm, NeedsOption)]);
        wide.config = LoraConfig::new(1024).with_lora_alpha(1024.0).into();
        assert_eq!(runtimes(&wide), [(Vllm, Refused)]);

        let mut dora = plain();
        let key = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";
        dora.tensors.insert(key.to_owned(), AdapterTensor::new([4], vec![1.0; 4]));
        assert_eq!(runtimes(&dora), all);
        let mut head = plain();
        let key = "base_model.model.lm_head.lora_A.weight";
        head.tensors.insert(key.to_owned(), AdapterTensor::new([8, 4], vec![1.0; 32]));
        assert_eq!(runtimes(&head), [(MistralRs, Refused), (LlamaCpp, Refused)]);
    }
}
