//! From the sections of a run file to the types of the crates that do the work.

use std::collections::BTreeMap;

use burnisher_data::{Packing, Shape, TrainOn};
use burnisher_lora::{
    AdaLoraConfig, AdapterConfig, Bias, Ia3Config, InitLoraWeights, LoraConfig, PrefixTuningConfig,
    PromptTuningConfig, TargetModules, VeraConfig,
};

use super::{
    AdapterStart, BiasMode, ComputeDtype, LoraSection, LrSchedule, PackingMode, RecordShape, RunConfig,
    Targets, TrainConfig, TrainedPart, TrainingMethod,
};
use crate::schedule::{Schedule, ScheduleKind, Warmup};

/// The fields of LoRA and its relatives.
const LORA_FIELDS: &[&str] = &[
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "lora_fa",
    "init_lora_weights",
    "trainable_token_indices",
    "modules_to_save",
];

/// Sets on a configuration what is given.
macro_rules! with_given {
    ($config:ident, $($value:expr => $with:ident,)+) => {
        $(if let Some(value) = $value {
            $config = $config.$with(value);
        })+
    };
}

impl RunConfig {
    /// The type that the model computes in: what `train.fp16` or `train.bf16` says, else `model.dtype`.
    pub fn compute_dtype(&self) -> ComputeDtype {
        match (self.train.fp16, self.train.bf16) {
            (true, _) => ComputeDtype::F16,
            (false, true) => ComputeDtype::Bf16,
            (false, false) => self.model.dtype,
        }
    }

    /// The section `lora`, unless there is none or its method is `full`. Without it every parameter of
    /// the model is trained.
    pub fn adapter(&self) -> Option<&LoraSection> {
        self.lora.as_ref().filter(|lora| lora.method != TrainingMethod::Full)
    }

    /// The configuration of the adapter for a run of `total_steps` steps, with the base model's path in it; `None` in
    /// full-parameter mode.
    pub fn adapter_config(&self, total_steps: u64) -> Option<AdapterConfig> {
        let base = self.model.path.to_string_lossy();
        self.adapter()?.to_adapter_config(total_steps, &base)
    }

    /// [`RunConfig::adapter_config`] where the method is LoRA.
    pub fn lora_config(&self) -> Option<LoraConfig> {
        match self.adapter_config(1)? {
            AdapterConfig::Lora(config) => Some(config),
            _ => None,
        }
    }
}

impl LoraSection {
    /// The same adapter as the crate `burnisher-lora` configures it, for a run of `total_steps` steps on the model
    /// `base`; `None` if the method is `full`. The only place that knows both.
    pub fn to_adapter_config(&self, total_steps: u64, base: &str) -> Option<AdapterConfig> {
        match self.method {
            TrainingMethod::Lora => Some(self.to_lora_config().with_base_model_name_or_path(base).into()),
            TrainingMethod::Ia3 => Some(self.to_ia3_config().with_base_model_name_or_path(base).into()),
            TrainingMethod::Vera => Some(self.to_vera_config().with_base_model_name_or_path(base).into()),
            TrainingMethod::AdaLora => {
                Some(self.to_adalora_config(total_steps).with_base_model_name_or_path(base).into())
            }
            TrainingMethod::PromptTuning => {
                let config = PromptTuningConfig::new(self.num_virtual_tokens).with_task_type("CAUSAL_LM");
                Some(config.with_base_model_name_or_path(base).into())
            }
            TrainingMethod::PrefixTuning => {
                let config = PrefixTuningConfig::new(self.num_virtual_tokens).with_task_type("CAUSAL_LM");
                Some(config.with_base_model_name_or_path(base).into())
            }
            TrainingMethod::Full => None,
        }
    }

    /// The fields that the method has, besides `method`.
    pub(crate) fn own_fields(&self) -> &'static [&'static str] {
        match self.method {
            TrainingMethod::Lora => LORA_FIELDS,
            TrainingMethod::Ia3 => {
                &["target_modules", "exclude_modules", "modules_to_save", "feedforward_modules"]
            }
            TrainingMethod::Vera => &[
                "r",
                "lora_dropout",
                "target_modules",
                "layers_to_transform",
                "bias",
                "modules_to_save",
                "d_initial",
                "projection_prng_key",
                "save_projection",
            ],
            TrainingMethod::AdaLora => &[
                "lora_alpha",
                "lora_dropout",
                "target_modules",
                "exclude_modules",
                "layers_to_transform",
                "bias",
                "modules_to_save",
                "init_r",
                "target_r",
                "tinit",
                "tfinal",
                "deltaT",
                "beta1",
                "beta2",
                "orth_reg_weight",
            ],
            TrainingMethod::PromptTuning | TrainingMethod::PrefixTuning => &["num_virtual_tokens"],
            TrainingMethod::Full => &[],
        }
    }

    fn to_ia3_config(&self) -> Ia3Config {
        let mut config = Ia3Config::new().with_task_type("CAUSAL_LM");
        with_given!(config,
            targets(&self.target_modules) => with_target_modules,
            targets(&self.exclude_modules) => with_exclude_modules,
            targets(&self.feedforward_modules) => with_feedforward_modules,
            self.modules_to_save.clone() => with_modules_to_save,
        );
        config
    }

    fn to_vera_config(&self) -> VeraConfig {
        let mut config = VeraConfig::new(self.r)
            .with_vera_dropout(self.lora_dropout)
            .with_d_initial(self.d_initial)
            .with_projection_prng_key(self.projection_prng_key)
            .with_save_projection(self.save_projection)
            .with_bias(self.bias.into())
            .with_task_type("CAUSAL_LM");
        with_given!(config,
            targets(&self.target_modules) => with_target_modules,
            self.layers_to_transform.clone() => with_layers_to_transform,
            self.modules_to_save.clone() => with_modules_to_save,
        );
        config
    }

    fn to_adalora_config(&self, total_steps: u64) -> AdaLoraConfig {
        let mut config = AdaLoraConfig::new(total_steps)
            .with_lora_alpha(self.lora_alpha)
            .with_lora_dropout(self.lora_dropout)
            .with_bias(self.bias.into())
            .with_init_r(self.init_r)
            .with_target_r(self.target_r)
            .with_tinit(self.tinit)
            .with_tfinal(self.tfinal)
            .with_delta_t(self.delta_t)
            .with_betas(self.beta1, self.beta2)
            .with_orth_reg_weight(self.orth_reg_weight)
            .with_task_type("CAUSAL_LM");
        with_given!(config,
            targets(&self.target_modules) => with_target_modules,
            targets(&self.exclude_modules) => with_exclude_modules,
            self.layers_to_transform.clone() => with_layers_to_transform,
            self.modules_to_save.clone() => with_modules_to_save,
        );
        config
    }

    /// The same adapter where the method is LoRA.
    pub fn to_lora_config(&self) -> LoraConfig {
        let mut config = LoraConfig::new(self.r)
            .with_lora_alpha(self.lora_alpha)
            .with_lora_dropout(self.lora_dropout)
            .with_rank_pattern(self.rank_pattern.clone())
            .with_alpha_pattern(self.alpha_pattern.clone())
            .with_bias(self.bias.into())
            .with_use_rslora(self.use_rslora)
            .with_use_dora(self.use_dora)
            .with_lora_bias(self.lora_bias)
            .with_lora_fa(self.lora_fa)
            .with_init_lora_weights(self.init_lora_weights.into())
            .with_task_type("CAUSAL_LM");
        with_given!(config,
            targets(&self.target_modules) => with_target_modules,
            targets(&self.exclude_modules) => with_exclude_modules,
            self.layers_to_transform.clone() => with_layers_to_transform,
            self.trainable_token_indices.clone() => with_trainable_token_indices,
            self.modules_to_save.clone() => with_modules_to_save,
        );
        config
    }
}

impl From<AdapterStart> for InitLoraWeights {
    fn from(start: AdapterStart) -> Self {
        match start {
            AdapterStart::Kaiming => Self::Kaiming,
            AdapterStart::Gaussian => Self::Gaussian,
            AdapterStart::Orthogonal => Self::Orthogonal,
            AdapterStart::Pissa => Self::Pissa,
            AdapterStart::PissaNiter4 => Self::PissaNiter(4),
            AdapterStart::PissaNiter16 => Self::PissaNiter(16),
            AdapterStart::Olora => Self::Olora,
            AdapterStart::Loftq => Self::Loftq,
        }
    }
}

impl From<BiasMode> for Bias {
    fn from(bias: BiasMode) -> Self {
        match bias {
            BiasMode::None => Self::None,
            BiasMode::All => Self::All,
            BiasMode::LoraOnly => Self::LoraOnly,
        }
    }
}

impl Targets {
    /// Whether this is `"all-linear"`, in any case.
    pub fn is_all_linear(&self) -> bool {
        matches!(self, Self::Pattern(text) if text.eq_ignore_ascii_case("all-linear"))
    }
}

fn targets(given: &Option<Targets>) -> Option<TargetModules> {
    given.as_ref().map(Into::into)
}

impl From<&Targets> for TargetModules {
    fn from(targets: &Targets) -> Self {
        match targets {
            all if all.is_all_linear() => Self::AllLinear,
            Targets::Pattern(pattern) => Self::regex(pattern),
            Targets::Names(names) => Self::suffixes(names),
        }
    }
}

impl TrainConfig {
    /// Optimizer steps of the whole run, which has `steps_per_epoch` of them in an epoch.
    pub fn total_steps(&self, steps_per_epoch: u64) -> u64 {
        self.max_steps.unwrap_or(self.epochs.saturating_mul(steps_per_epoch))
    }

    /// Optimizer steps between two validations: `eval_every`, or an epoch. At least 1.
    pub fn eval_every(&self, steps_per_epoch: u64) -> u64 {
        self.eval_every.unwrap_or(steps_per_epoch).max(1)
    }

    /// Optimizer steps between two checkpoints: `save_every`, or an epoch. At least 1.
    pub fn save_every(&self, steps_per_epoch: u64) -> u64 {
        self.save_every.unwrap_or(steps_per_epoch).max(1)
    }

    /// The learning rates of a run of `total_steps` optimizer steps.
    pub fn schedule(&self, total_steps: u64) -> Schedule {
        let kind = match self.schedule {
            LrSchedule::Linear => ScheduleKind::Linear,
            LrSchedule::Cosine => ScheduleKind::COSINE,
            LrSchedule::Constant => ScheduleKind::Constant,
        };
        let warmup = match self.warmup_ratio {
            Some(ratio) => Warmup::Ratio(ratio),
            None => Warmup::Steps(self.warmup_steps.unwrap_or(0)),
        };
        Schedule::new(kind, warmup, total_steps)
    }

    /// The fields that the trained parameters depend on, by their names in the run file, as text; seed, rows of a
    /// step and number of steps stand in [`RunIdentity`](crate::RunIdentity) by themselves.
    pub(crate) fn settings_of_result(&self) -> BTreeMap<String, String> {
        let or_unset = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
        let schedule = match self.schedule {
            LrSchedule::Linear => "linear",
            LrSchedule::Cosine => "cosine",
            LrSchedule::Constant => "constant",
        };
        let fields = [
            ("train.learning_rate", self.learning_rate.to_string()),
            ("train.schedule", schedule.to_owned()),
            ("train.warmup_steps", or_unset(self.warmup_steps.map(|steps| steps.to_string()))),
            ("train.warmup_ratio", or_unset(self.warmup_ratio.map(|ratio| ratio.to_string()))),
            // Paged or not, the values are the same.
            ("train.optim", self.rule().name().to_owned()),
            ("train.momentum", self.momentum.unwrap_or(Self::MOMENTUM).to_string()),
            ("train.scale_parameter", self.scale_parameter.to_string()),
            ("train.relative_step", self.relative_step.to_string()),
            ("train.warmup_init", self.warmup_init.to_string()),
            ("train.loraplus_lr_ratio", or_unset(self.loraplus_lr_ratio.map(|ratio| ratio.to_string()))),
            (
                "train.loraplus_lr_embedding",
                or_unset(self.loraplus_lr_embedding.map(|rate| rate.to_string())),
            ),
            ("train.fp16", self.fp16.to_string()),
            ("train.weight_decay", self.weight_decay.to_string()),
            ("train.beta1", self.beta1.to_string()),
            ("train.beta2", self.beta2.to_string()),
            ("train.epsilon", self.epsilon.to_string()),
            ("train.max_grad_norm", self.max_grad_norm.to_string()),
        ];
        fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
    }

    /// The largest norm of all gradients together; `None` if they are not clipped.
    pub fn max_grad_norm(&self) -> Option<f64> {
        (self.max_grad_norm > 0.0).then_some(self.max_grad_norm)
    }
}

impl From<RecordShape> for Shape {
    fn from(shape: RecordShape) -> Self {
        match shape {
            RecordShape::Text => Self::Text,
            RecordShape::Completion => Self::Completion,
            RecordShape::Messages => Self::Messages,
            RecordShape::Alpaca => Self::Alpaca,
            RecordShape::Question => Self::Question,
        }
    }
}

impl From<PackingMode> for Packing {
    fn from(packing: PackingMode) -> Self {
        match packing {
            PackingMode::None => Self::None,
            PackingMode::BestFit => Self::BestFit,
            PackingMode::Wrapped => Self::Wrapped,
        }
    }
}

impl From<TrainedPart> for TrainOn {
    fn from(part: TrainedPart) -> Self {
        match part {
            TrainedPart::Completions => Self::Completions,
            TrainedPart::Everything => Self::Everything,
        }
    }
}
