//! Which modules of a model an adapter changes: PEFT's matching rules, but strict.

use std::collections::BTreeSet;

use crate::{
    adapter_config::AdapterConfig,
    config::Bias,
    error::LoraError,
    ia3_config::{IA3_FEEDFORWARD, Ia3Config},
    matcher::{Hit, Layers, Matcher, ScalingRules, no_target},
    virtual_tokens,
};

/// Module names by `model_type`.
pub(crate) type Defaults = [(&'static [&'static str], &'static [&'static str])];

/// PEFT's default `target_modules` by `model_type` (peft 0.21, src/peft/utils/constants.py).
pub(crate) const LORA_TARGETS: &Defaults = &[
    (
        &[
            "bart",
            "gemma",
            "gemma2",
            "gemma3_text",
            "gpt_neo",
            "gptj",
            "llama",
            "llama4",
            "mistral",
            "mixtral",
            "opt",
            "qwen2",
            "qwen3",
            "stablelm",
        ],
        &["q_proj", "v_proj"],
    ),
    (&["phi"], &["q_proj", "v_proj", "fc1", "fc2"]),
    (&["bloom", "chatglm", "falcon", "gpt_neox"], &["query_key_value"]),
    (&["gpt2", "gpt_bigcode"], &["c_attn"]),
    (&["codegen"], &["qkv_proj"]),
    (&["mpt"], &["Wqkv"]),
    (&["mt5", "t5"], &["q", "v"]),
];

/// A choice of modules by their dotted paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// A module is chosen if its path is an entry or ends in a dot and an entry: `q_proj` chooses
    /// `model.layers.0.self_attn.q_proj`, not `my_q_proj`.
    Suffixes(Vec<String>),
    /// A module is chosen if the regular expression matches its whole path. Look-around and
    /// back-references, which Python has, are an error.
    Regex(String),
    /// Every projection but the output head.
    AllLinear,
}

impl TargetModules {
    /// A list of module names or path endings.
    pub fn suffixes<S: Into<String>>(entries: impl IntoIterator<Item = S>) -> Self {
        Self::Suffixes(entries.into_iter().map(Into::into).collect())
    }

    /// A regular expression over whole paths.
    pub fn regex(pattern: impl Into<String>) -> Self {
        Self::Regex(pattern.into())
    }
}

/// What a module of a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// A projection `[out, in]`.
    Linear,
    /// The projection to the vocabulary.
    Head,
    /// The token embedding `[vocab, dim]`.
    Embedding,
    /// A normalisation.
    Norm,
}

impl ModuleKind {
    /// Can it carry an adapter, of a method that takes embeddings or not? The others can be trained and saved whole.
    pub(crate) fn is_adaptable(self, takes_embedding: bool) -> bool {
        match self {
            Self::Linear | Self::Head => true,
            Self::Embedding => takes_embedding,
            Self::Norm => false,
        }
    }
}

/// A module of a model that has weights, by its path in the Hugging Face model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Such as `model.layers.0.self_attn.q_proj`, without `.weight`.
    pub path: String,
    /// What it is.
    pub kind: ModuleKind,
    /// Whether it has a bias.
    pub has_bias: bool,
}

/// How a configuration chooses modules, whatever its method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    /// PEFT's targets where none are given.
    pub(crate) defaults: &'static Defaults,
    pub(crate) target_modules: Option<&'a TargetModules>,
    pub(crate) exclude_modules: Option<&'a TargetModules>,
    pub(crate) layers_to_transform: &'a [usize],
    pub(crate) layers_pattern: &'a [String],
    pub(crate) modules_to_save: &'a [String],
    pub(crate) bias: Bias,
    /// Whether the token embedding can be a target.
    pub(crate) takes_embedding: bool,
}

/// A module that gets an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptedModule {
    /// Its path.
    pub path: String,
    /// The rank of its adapter; 0 for a method without one.
    pub r: usize,
    /// The numerator of its scaling; 1 for a method without one.
    pub alpha: f64,
    /// The factor of the adapter's output: `alpha / r`, or `alpha / √r`; 1 for a method without one.
    pub scaling: f64,
}

/// What a configuration means for one model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdapterPlan {
    /// The modules that get an adapter, in the model's order; at least one, but none for prompt and prefix tuning.
    pub adapted: Vec<AdaptedModule>,
    /// The paths of the modules that are trained and saved whole, in the model's order.
    pub saved: Vec<String>,
    /// The paths of the adapted modules whose input (IA)³ multiplies.
    pub feedforward: Vec<String>,
    /// The paths of the modules whose bias is trained. Biases of `saved` are not repeated.
    pub biases: Vec<String>,
    /// `target_modules` as PEFT writes it: the default spelled out, all-linear as the list of the
    /// projections, anything else as it is.
    pub target_modules: TargetModules,
    /// Whether rows of the embedding are trained.
    pub(crate) trains_tokens: bool,
    /// (IA)³'s `feedforward_modules` as PEFT writes them.
    pub(crate) feedforward_modules: Option<TargetModules>,
}

/// Chooses the modules of a model that `config` adapts, trains whole, or trains the bias of.
///
/// The rules are those of peft 0.21, src/peft/tuners/tuners_utils.py
/// `check_target_module_exists`: `exclude_modules` and `modules_to_save` first, then
/// `target_modules`, then the layer numbers, which do not touch a target named by its whole path.
/// Unlike PEFT, nothing is allowed to match nothing.
///
/// # Errors
/// [`LoraError::Config`] if `config` is not valid; [`LoraError::NoTarget`] for entries of
/// `target_modules`, `exclude_modules`, `modules_to_save`, `layers_to_transform`,
/// `layers_pattern`, `rank_pattern` or `alpha_pattern` that match no module of the model;
/// [`LoraError::NothingLeft`] if every target is left out; [`LoraError::NotAdaptable`] if a target
/// can carry no adapter of the method; [`LoraError::UnknownArchitecture`] if `target_modules` is not given and PEFT has no
/// default for `model_type`.
pub fn plan(
    config: impl Into<AdapterConfig>,
    modules: &[ModuleInfo],
    model_type: &str,
) -> Result<AdapterPlan, LoraError> {
    let config = config.into();
    config.validate()?;
    if config.has_virtual_tokens() {
        return Ok(virtual_tokens::plan());
    }
    let choice = config.choice();
    let targets = match choice.target_modules {
        Some(targets) => targets.clone(),
        None => TargetModules::suffixes(default_modules(choice.defaults, model_type)?.iter().copied()),
    };
    let target = Matcher::new("target_modules", &targets)?;
    let exclude = match choice.exclude_modules {
        Some(exclude) => Matcher::new("exclude_modules", exclude)?,
        None => Matcher::Entries(Vec::new()),
    };
    let save = Matcher::Entries(choice.modules_to_save.to_vec());
    target.check_used("target_modules", modules)?;
    exclude.check_used("exclude_modules", modules)?;
    save.check_used("modules_to_save", modules)?;
    let layers = Layers::new(choice.layers_to_transform, choice.layers_pattern, modules)?;
    let rules = config.as_lora().map(ScalingRules::new).transpose()?;
    let paths: Vec<&str> = modules.iter().map(|module| module.path.as_str()).collect();
    for (field, unused) in rules.iter().flat_map(|rules| rules.unused(&paths)) {
        if !unused.is_empty() {
            return Err(no_target(field, unused, modules));
        }
    }

    let chosen: Vec<&ModuleInfo> = modules
        .iter()
        .filter(|module| exclude.hit(module).is_none() && save.hit(module).is_none())
        .filter(|module| match target.hit(module) {
            Some(Hit::WholePath) => true,
            Some(Hit::Pattern) => layers.contain(&module.path),
            None => false,
        })
        .collect();
    if chosen.is_empty() {
        let matched = modules.iter().filter(|module| target.hit(module).is_some());
        let matched = matched.map(|module| module.path.clone()).collect();
        return Err(LoraError::NothingLeft { matched });
    }
    let others: Vec<String> =
        paths_of(chosen.iter().copied().filter(|module| !module.kind.is_adaptable(choice.takes_embedding)));
    if !others.is_empty() {
        return Err(LoraError::NotAdaptable { modules: others });
    }

    if let AdapterConfig::AdaLora(adalora) = &config {
        let named = adalora.rank_pattern().into_iter().flat_map(|pattern| pattern.keys());
        let unused: Vec<String> =
            named.filter(|path| !chosen.iter().any(|module| module.path == **path)).cloned().collect();
        if !unused.is_empty() {
            return Err(no_target("rank_pattern", unused, modules));
        }
    }

    let (feedforward, feedforward_modules) = match &config {
        AdapterConfig::Ia3(config) => {
            let (paths, named) = feedforward(config, &targets, &chosen, model_type)?;
            (paths, Some(named))
        }
        _ => (Vec::new(), None),
    };
    let biases = modules.iter().filter(|module| {
        module.has_bias
            && match choice.bias {
                Bias::None => false,
                Bias::All => save.hit(module).is_none(),
                Bias::LoraOnly => chosen.iter().any(|chosen| chosen.path == module.path),
            }
    });
    Ok(AdapterPlan {
        saved: paths_of(modules.iter().filter(|module| save.hit(module).is_some())),
        biases: paths_of(biases),
        trains_tokens: config.as_lora().is_some_and(|lora| lora.trainable_token_indices.is_some()),
        feedforward,
        feedforward_modules,
        target_modules: match targets {
            TargetModules::AllLinear => TargetModules::Suffixes(paths_of(
                modules.iter().filter(|module| target.hit(module).is_some()),
            )),
            named => named,
        },
        adapted: chosen
            .into_iter()
            .map(|module| {
                let (r, alpha, scaling) = match (&rules, &config) {
                    (Some(rules), _) => rules.of(&module.path),
                    (None, AdapterConfig::AdaLora(adalora)) => adalora.scaling_for(&module.path),
                    (None, _) => (config.rank(), 1.0, 1.0),
                };
                AdaptedModule { path: module.path.clone(), r, alpha, scaling }
            })
            .collect(),
    })
}

/// The line PEFT's `print_trainable_parameters` prints: parameters that are trained, all
/// parameters with the adapter's, and the percentage.
///
/// ```
/// assert_eq!(
///     burnisher_lora::trainable_summary(8192, 93248),
///     "trainable params: 8,192 || all params: 93,248 || trainable%: 8.7852"
/// );
/// ```
pub fn trainable_summary(trainable: usize, total: usize) -> String {
    let percent = if total == 0 { 0.0 } else { 100.0 * trainable as f64 / total as f64 };
    let (trainable, total) = (with_commas(trainable), with_commas(total));
    format!("trainable params: {trainable} || all params: {total} || trainable%: {percent:.4}")
}

fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Which of the chosen modules are `feedforward_modules`, and those as PEFT writes them beside `targets`: an entry of a
/// list is compared with the end of a path, whatever stands before it (peft 0.21, src/peft/tuners/ia3/model.py).
fn feedforward(
    config: &Ia3Config,
    targets: &TargetModules,
    chosen: &[&ModuleInfo],
    model_type: &str,
) -> Result<(Vec<String>, TargetModules), LoraError> {
    let chosen = || chosen.iter().copied();
    let named = match &config.feedforward_modules {
        Some(named) => named.clone(),
        // The targets may leave the feed-forward layer out.
        None => {
            let names = default_modules(IA3_FEEDFORWARD, model_type)?.iter().copied();
            let used = |name: &&str| chosen().any(|module| module.path.ends_with(*name));
            TargetModules::suffixes(names.filter(used))
        }
    };
    let all = || chosen().cloned().collect::<Vec<_>>();
    let paths = match &named {
        TargetModules::Suffixes(entries) => {
            let unused = entries.iter().filter(|entry| !chosen().any(|module| module.path.ends_with(*entry)));
            let unused: Vec<String> = unused.cloned().collect();
            if !unused.is_empty() {
                return Err(no_target("feedforward_modules", unused, &all()));
            }
            paths_of(chosen().filter(|module| entries.iter().any(|entry| module.path.ends_with(entry))))
        }
        TargetModules::Regex(_) | TargetModules::AllLinear => {
            let matcher = Matcher::new("feedforward_modules", &named)?;
            matcher.check_used("feedforward_modules", &all())?;
            paths_of(chosen().filter(|module| matcher.hit(module).is_some()))
        }
    };
    // PEFT wants them to be entries of the targets, which are whole paths now.
    let named = match (targets, &named) {
        (TargetModules::AllLinear, TargetModules::Suffixes(_)) => TargetModules::Suffixes(paths.clone()),
        _ => named,
    };
    Ok((paths, named))
}

/// The names that PEFT takes for an architecture.
pub(crate) fn default_modules(
    defaults: &'static Defaults,
    model_type: &str,
) -> Result<&'static [&'static str], LoraError> {
    let row = defaults.iter().find(|(types, _)| types.contains(&model_type));
    row.map(|(_, names)| *names).ok_or_else(|| {
        let known: BTreeSet<&str> = defaults.iter().flat_map(|(types, _)| types.iter().copied()).collect();
        LoraError::UnknownArchitecture {
            model_type: model_type.into(),
            known: known.into_iter().map(String::from).collect(),
        }
    })
}

fn paths_of<'a>(modules: impl Iterator<Item = &'a ModuleInfo>) -> Vec<String> {
    modules.map(|module| module.path.clone()).collect()
}
