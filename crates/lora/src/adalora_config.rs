//! The configuration of AdaLoRA, with PEFT's fields and defaults.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    Bias, InitLoraWeights, LoraConfig, LoraError, TargetModules, UnsupportedField,
    config::check_rank,
    config_json::{Fields, count, shown, written},
    target::Defaults,
};

/// PEFT's default `target_modules`, for fewer architectures than LoRA's (peft 0.21, src/peft/utils/constants.py).
pub(crate) const ADALORA_TARGETS: &Defaults = &[
    (
        &["gemma", "gemma2", "gemma3_text", "gpt_neo", "gptj", "llama", "llama4", "qwen2", "qwen3"],
        &["q_proj", "v_proj"],
    ),
    (&["opt"], &["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]),
    (&["bloom", "gpt_neox"], &["query_key_value"]),
    (&["gpt2", "gpt_bigcode"], &["c_attn"]),
];

/// The configuration of an AdaLoRA adapter: PEFT's `AdaLoraConfig` (Zhang et al. 2023, arXiv:2303.10512).
///
/// Every module starts with `init_r` triplets of a singular value and its two vectors. After `tinit` steps, the least
/// important of all modules are masked, every `delta_t` steps, until `target_r` are left for each module on average;
/// the last `tfinal` steps leave that choice as it is.
///
/// ```
/// use burnisher_lora::{AdaLoraConfig, TargetModules};
///
/// let config = AdaLoraConfig::new(1000)
///     .with_init_r(12)
///     .with_target_r(8)
///     .with_tinit(100)
///     .with_tfinal(200)
///     .with_target_modules(TargetModules::suffixes(["q_proj", "v_proj"]));
/// config.validate()?;
/// # Ok::<(), burnisher_lora::LoraError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AdaLoraConfig {
    /// What AdaLoRA shares with LoRA; its `r` is carried, not used.
    pub(crate) lora: LoraConfig,
    target_r: usize,
    init_r: usize,
    tinit: u64,
    tfinal: u64,
    delta_t: u64,
    beta1: f64,
    beta2: f64,
    orth_reg_weight: f64,
    total_step: u64,
    rank_pattern: Option<BTreeMap<String, Vec<bool>>>,
}

impl AdaLoraConfig {
    /// PEFT's defaults for a training of `total_step` steps: 12 triplets at first, 8 in the end, no warm-up, a choice
    /// in every step, `lora_alpha` 8.
    pub fn new(total_step: u64) -> Self {
        Self {
            lora: LoraConfig::new(8),
            target_r: 8,
            init_r: 12,
            tinit: 0,
            tfinal: 0,
            delta_t: 1,
            beta1: 0.85,
            beta2: 0.85,
            orth_reg_weight: 0.5,
            total_step,
            rank_pattern: None,
        }
    }

    /// The mean rank of the modules in the end.
    pub fn target_r(&self) -> usize {
        self.target_r
    }

    /// The rank of every module at first.
    pub fn init_r(&self) -> usize {
        self.init_r
    }

    /// Steps before the first choice.
    pub fn tinit(&self) -> u64 {
        self.tinit
    }

    /// Steps after the last choice.
    pub fn tfinal(&self) -> u64 {
        self.tfinal
    }

    /// Steps between two choices: PEFT's `deltaT`.
    pub fn delta_t(&self) -> u64 {
        self.delta_t
    }

    /// How much of the smoothed sensitivity is kept in a step.
    pub fn beta1(&self) -> f64 {
        self.beta1
    }

    /// How much of the smoothed uncertainty is kept in a step.
    pub fn beta2(&self) -> f64 {
        self.beta2
    }

    /// The weight in the loss of how far the singular vectors are from orthonormal ones.
    pub fn orth_reg_weight(&self) -> f64 {
        self.orth_reg_weight
    }

    /// Steps of the whole training.
    pub fn total_step(&self) -> u64 {
        self.total_step
    }

    /// Which of the `init_r` triplets are left, by the path of their module; `None` before the first choice.
    pub fn rank_pattern(&self) -> Option<&BTreeMap<String, Vec<bool>>> {
        self.rank_pattern.as_ref()
    }

    /// The numerator of the scaling.
    pub fn lora_alpha(&self) -> f64 {
        self.lora.lora_alpha
    }

    /// The probability, in `[0, 1)`, with which an element of the adapter's input is dropped in training.
    pub fn lora_dropout(&self) -> f64 {
        self.lora.lora_dropout
    }

    /// Which modules are adapted; `None` takes PEFT's default for the architecture.
    pub fn target_modules(&self) -> Option<&TargetModules> {
        self.lora.target_modules()
    }

    /// Fields of the file this was read from that PEFT 0.21 does not know.
    pub fn extra(&self) -> &Map<String, Value> {
        self.lora.extra()
    }

    /// Sets the mean rank of the modules in the end.
    pub fn with_target_r(mut self, target_r: usize) -> Self {
        self.target_r = target_r;
        self
    }

    /// Sets the rank of every module at first.
    pub fn with_init_r(mut self, init_r: usize) -> Self {
        self.init_r = init_r;
        self
    }

    /// Sets the steps before the first choice.
    pub fn with_tinit(mut self, tinit: u64) -> Self {
        self.tinit = tinit;
        self
    }

    /// Sets the steps after the last choice.
    pub fn with_tfinal(mut self, tfinal: u64) -> Self {
        self.tfinal = tfinal;
        self
    }

    /// Sets the steps between two choices.
    pub fn with_delta_t(mut self, delta_t: u64) -> Self {
        self.delta_t = delta_t;
        self
    }

    /// Sets how much of the smoothed sensitivity and of the smoothed uncertainty is kept in a step.
    pub fn with_betas(mut self, beta1: f64, beta2: f64) -> Self {
        (self.beta1, self.beta2) = (beta1, beta2);
        self
    }

    /// Sets the weight of the orthogonality term.
    pub fn with_orth_reg_weight(mut self, weight: f64) -> Self {
        self.orth_reg_weight = weight;
        self
    }

    /// Sets the steps of the whole training.
    pub fn with_total_step(mut self, total_step: u64) -> Self {
        self.total_step = total_step;
        self
    }

    /// Sets which triplets are left, by the path of their module.
    pub fn with_rank_pattern<S: Into<String>>(
        mut self,
        pattern: impl IntoIterator<Item = (S, Vec<bool>)>,
    ) -> Self {
        self.rank_pattern = Some(pattern.into_iter().map(|(path, kept)| (path.into(), kept)).collect());
        self
    }

    /// Sets the numerator of the scaling, which is divided by `init_r`.
    pub fn with_lora_alpha(self, alpha: f64) -> Self {
        self.map(|lora| lora.with_lora_alpha(alpha))
    }

    /// Sets the dropout probability of the adapter's input.
    pub fn with_lora_dropout(self, dropout: f64) -> Self {
        self.map(|lora| lora.with_lora_dropout(dropout))
    }

    /// Sets which modules are adapted.
    pub fn with_target_modules(self, targets: TargetModules) -> Self {
        self.map(|lora| lora.with_target_modules(targets))
    }

    /// Sets which modules are not adapted even if `target_modules` names them.
    pub fn with_exclude_modules(self, modules: TargetModules) -> Self {
        self.map(|lora| lora.with_exclude_modules(modules))
    }

    /// Sets which layers are adapted.
    pub fn with_layers_to_transform(self, layers: impl IntoIterator<Item = usize>) -> Self {
        self.map(|lora| lora.with_layers_to_transform(layers))
    }

    /// Sets which biases are trained.
    pub fn with_bias(self, bias: Bias) -> Self {
        self.map(|lora| lora.with_bias(bias))
    }

    /// Sets which modules are trained whole.
    pub fn with_modules_to_save<S: Into<String>>(self, modules: impl IntoIterator<Item = S>) -> Self {
        self.map(|lora| lora.with_modules_to_save(modules))
    }

    /// Sets PEFT's task type.
    pub fn with_task_type(self, task_type: impl Into<String>) -> Self {
        self.map(|lora| lora.with_task_type(task_type))
    }

    /// Sets where the base model came from.
    pub fn with_base_model_name_or_path(self, base: impl Into<String>) -> Self {
        self.map(|lora| lora.with_base_model_name_or_path(base))
    }

    fn map(mut self, change: impl FnOnce(LoraConfig) -> LoraConfig) -> Self {
        self.lora = change(self.lora);
        self
    }

    /// Rank, alpha and scale of the module at `path`: `lora_alpha / (init_r + 10⁻⁵)`, whatever is left of the rank
    /// (peft 0.21, src/peft/tuners/adalora/layer.py, where `ranknum` stays `init_r`).
    pub(crate) fn scaling_for(&self, path: &str) -> (usize, f64, f64) {
        let pattern = self.rank_pattern.as_ref().and_then(|pattern| pattern.get(path));
        let r = pattern.map_or(self.init_r, |kept| kept.iter().filter(|kept| **kept).count());
        let alpha = self.lora.lora_alpha;
        (r, alpha, alpha / f64::from(self.init_r as f32 + 1e-5))
    }

    /// Checks every field by itself and the rules between fields that PEFT 0.21 enforces.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        self.lora.validate()?;
        check_rank("init_r", self.init_r)?;
        check_rank("target_r", self.target_r)?;
        let fail = |field: &str, found: &dyn std::fmt::Display, wanted: &str| {
            Err(LoraError::config(field, found, wanted))
        };
        if self.target_r > self.init_r {
            return fail("target_r", &self.target_r, &format!("at most init_r, {}", self.init_r));
        }
        if self.lora.lora_alpha <= 0.0 {
            return fail("lora_alpha", &self.lora.lora_alpha, "a number above 0");
        }
        if self.delta_t == 0 {
            return fail("deltaT", &0, "1 or more");
        }
        for (field, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(beta > 0.0 && beta < 1.0) {
                return fail(field, &beta, "a number between 0 and 1");
            }
        }
        if !(self.orth_reg_weight >= 0.0 && self.orth_reg_weight.is_finite()) {
            return fail("orth_reg_weight", &self.orth_reg_weight, "a finite number, 0 or more");
        }
        if self.total_step.saturating_sub(self.tfinal) <= self.tinit {
            let wanted = format!(
                "more than tinit + tfinal, {} + {}: the ranks are chosen in between",
                self.tinit, self.tfinal
            );
            return fail("total_step", &self.total_step, &wanted);
        }
        let init_r = self.init_r;
        let mut pattern = self.rank_pattern.iter().flatten();
        match pattern.find(|(_, kept)| kept.len() > init_r) {
            Some((path, kept)) => {
                let found = format!("{} triplets of {path}", kept.len());
                fail("rank_pattern", &found, &format!("at most init_r, {init_r}"))
            }
            None => Ok(()),
        }
    }

    /// Takes a configuration from the parsed text of an adapter_config.json.
    ///
    /// # Errors
    /// [`LoraError::Unsupported`] listing every field that asks for something this crate does not implement or that
    /// AdaLoRA does not have; [`LoraError::Config`] for a field of the wrong type or value.
    pub fn from_json(value: Value) -> Result<Self, LoraError> {
        let Value::Object(map) = value else {
            return Err(LoraError::config("the file", shown(&value), "a JSON object"));
        };
        let mut fields = Fields(map);
        fields.check_type("ADALORA")?;
        let (rank, steps, real) = ("a rank above 0", "a number of steps", "a number");
        let Some(total_step) = fields.read("total_step", steps, Value::as_u64)? else {
            return Err(LoraError::config("total_step", "missing", "the steps of the training"));
        };
        let mut config = Self::new(total_step);
        let default = config.clone();
        config.target_r = fields.read("target_r", rank, count)?.unwrap_or(default.target_r);
        config.init_r = fields.read("init_r", rank, count)?.unwrap_or(default.init_r);
        config.tinit = fields.read("tinit", steps, Value::as_u64)?.unwrap_or(default.tinit);
        config.tfinal = fields.read("tfinal", steps, Value::as_u64)?.unwrap_or(default.tfinal);
        config.delta_t = fields.read("deltaT", steps, Value::as_u64)?.unwrap_or(default.delta_t);
        config.beta1 = fields.read("beta1", real, Value::as_f64)?.unwrap_or(default.beta1);
        config.beta2 = fields.read("beta2", real, Value::as_f64)?.unwrap_or(default.beta2);
        config.orth_reg_weight =
            fields.read("orth_reg_weight", real, Value::as_f64)?.unwrap_or(default.orth_reg_weight);
        let wanted = "an object of `PATH.lora_E` and lists of true and false";
        config.rank_pattern = fields.read("rank_pattern", wanted, pattern_from_json)?;
        fields.0.insert("peft_type".to_owned(), json!("LORA"));
        config.lora = LoraConfig::from_json(Value::Object(fields.0))?;
        config.check_others()?;
        config.validate()?;
        Ok(config)
    }

    /// LoRA's fields that AdaLoRA does not have; PEFT ignores some of them.
    fn check_others(&self) -> Result<(), LoraError> {
        let lora = &self.lora;
        let others = [
            ("alpha_pattern", !lora.alpha_pattern.is_empty()),
            ("init_lora_weights", lora.init_lora_weights != InitLoraWeights::Kaiming),
            ("lora_bias", lora.lora_bias),
            ("loftq_config", lora.loftq_config.is_some()),
            ("trainable_token_indices", lora.trainable_token_indices.is_some()),
            ("use_dora", lora.use_dora),
            ("use_rslora", lora.use_rslora),
        ];
        let found = "a value that AdaLoRA does not have";
        let unsupported = others.iter().filter(|(_, is_on)| *is_on);
        let fields: Vec<UnsupportedField> = unsupported
            .map(|(field, _)| UnsupportedField { field: (*field).into(), found: found.into() })
            .collect();
        if fields.is_empty() { Ok(()) } else { Err(LoraError::Unsupported { fields }) }
    }

    /// The text of adapter_config.json as PEFT writes it: every field of PEFT 0.21, keys sorted, two spaces of
    /// indentation, ASCII only, `inference_mode` true.
    pub fn to_json(&self) -> String {
        let mut fields = self.lora.json_fields();
        let pattern = self.rank_pattern.as_ref().map(|pattern| {
            pattern.iter().map(|(path, kept)| (format!("{path}.lora_E"), json!(kept))).collect::<Value>()
        });
        fields.extend([
            ("beta1", json!(self.beta1)),
            ("beta2", json!(self.beta2)),
            ("deltaT", json!(self.delta_t)),
            ("init_r", json!(self.init_r)),
            ("orth_reg_weight", json!(self.orth_reg_weight)),
            ("peft_type", json!("ADALORA")),
            ("rank_pattern", json!(pattern)),
            ("target_r", json!(self.target_r)),
            ("tfinal", json!(self.tfinal)),
            ("tinit", json!(self.tinit)),
            ("total_step", json!(self.total_step)),
        ]);
        written(fields)
    }
}

/// `PATH.lora_E`, perhaps with the adapter's name behind it, and a flag for each triplet.
fn pattern_from_json(value: &Value) -> Option<BTreeMap<String, Vec<bool>>> {
    let entry = |(key, kept): (&String, &Value)| {
        let (path, _) = key.split_once(".lora_E")?;
        let kept = kept.as_array()?.iter().map(Value::as_bool).collect::<Option<Vec<bool>>>()?;
        Some((path.to_owned(), kept))
    };
    value.as_object()?.iter().map(entry).collect()
}
