//! Values that no run can use, all at once.

use std::fmt::Display;
use std::path::Path;

use burnisher_eval::Metric;
use burnisher_lora::{InitLoraWeights, LoraError};
use serde_json::json;

use super::{
    AdapterStart, BaseQuant, ComputeDtype, DataSection, LoraSection, ModelSection, Optim, PackingMode,
    RunConfig, Targets, TrainConfig, TrainingMethod,
};
use crate::error::{ConfigProblem, TrainError};

impl RunConfig {
    /// Checks every value, and values that depend on each other. Opens no file.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with all problems, in the order of the fields.
    pub fn validate(&self) -> Result<(), TrainError> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(TrainError::Config(problems)) }
    }

    pub(crate) fn problems(&self) -> Vec<ConfigProblem> {
        let mut found = Problems(Vec::new());
        self.model.check(&mut found);
        if self.model.quant != BaseQuant::None && self.adapter().is_none() {
            found.add(
                "model.quant",
                "a quantized base in full-parameter mode",
                "\"none\", or the section lora: quantized weights cannot be trained",
            );
        }
        self.data.check(&mut found);
        if let Some(lora) = self.adapter() {
            // How many steps there are, the data tell; before that, any number that tinit and tfinal fit into.
            let fewest = lora.tinit.saturating_add(lora.tfinal).saturating_add(1);
            let before = found.0.len();
            lora.check(&mut found);
            // The adapter's own check reports one problem only; ask it where ours found nothing.
            if found.0.len() == before
                && let Some(config) = lora.to_adapter_config(self.train.max_steps.unwrap_or(fewest), "")
                && let Err(error) = config.validate()
            {
                found.add_lora(&error);
            }
        }
        if let Some(method @ (TrainingMethod::PromptTuning | TrainingMethod::PrefixTuning)) =
            self.adapter().map(|lora| lora.method)
        {
            let packs = self.data.packing != PackingMode::None;
            let found_there = format!("packed rows with lora.method = {}", json!(method));
            found.require(!packs, "data.packing", found_there, "\"none\": a row of one document");
        }
        let init = self.adapter().map(|lora| lora.init_lora_weights);
        let leaves_rest = init.is_some_and(|init| {
            InitLoraWeights::from(init).changes_the_base() && init != AdapterStart::Olora
        });
        if leaves_rest && self.model.quant != BaseQuant::None {
            let found_there = format!("{} with model.quant = {}", json!(init), json!(self.model.quant));
            found.add(
                "lora.init_lora_weights",
                found_there,
                "\"olora\", one that leaves the weights, or an unquantized base",
            );
        }
        self.train.check(&mut found);
        for (field, is_on, dtype) in [
            ("train.fp16", self.train.fp16, ComputeDtype::F16),
            ("train.bf16", self.train.bf16, ComputeDtype::Bf16),
        ] {
            // The default of model.dtype is f32: it cannot be told from one that was given.
            let fits = [ComputeDtype::F32, dtype].contains(&self.model.dtype);
            found.require(!is_on || fits, field, "true, and another model.dtype", "only one of them");
        }
        if self.train.loraplus_lr_ratio.is_some() && self.adapter().is_none() {
            found.add("train.loraplus_lr_ratio", "a ratio in full-parameter mode", "the section lora");
        }
        let validates = self.data.validation.is_some() || self.data.validation_fraction > 0.0;
        let needs = [
            (!self.train.eval_metrics.is_empty(), "train.eval_metrics"),
            (self.train.early_stopping.is_some(), "train.early_stopping"),
        ];
        for (_, field) in needs.into_iter().filter(|(is_set, _)| *is_set && !validates) {
            let wanted = "data.validation, or a data.validation_fraction above 0";
            found.add(field, "no validation records", wanted);
        }
        if !self.model.path.as_os_str().is_empty() && self.train.output_dir == self.model.path {
            found.add("train.output_dir", "the directory of model.path", "a directory of its own");
        }
        found.0
    }
}

impl TrainConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with all problems, in the order of the fields.
    pub fn validate(&self) -> Result<(), TrainError> {
        let mut found = Problems(Vec::new());
        self.check(&mut found);
        if found.0.is_empty() { Ok(()) } else { Err(TrainError::Config(found.0)) }
    }

    fn check(&self, found: &mut Problems) {
        found.path("train.output_dir", &self.output_dir);
        found.positive("train.epochs", self.epochs);
        found.positive_if_given("train.max_steps", self.max_steps);
        found.positive("train.batch_size", self.batch_size as u64);
        found.positive("train.gradient_accumulation_steps", self.gradient_accumulation_steps as u64);
        found.above_zero("train.learning_rate", self.learning_rate);
        if let Some(ratio) = self.warmup_ratio {
            let fits = (0.0..=1.0).contains(&ratio);
            found.require(fits, "train.warmup_ratio", ratio, "a number in [0, 1]");
            if let Some(steps) = self.warmup_steps {
                found.add(
                    "train.warmup_steps",
                    format!("{steps}, and train.warmup_ratio too"),
                    "only one of them",
                );
            }
        }
        self.check_optimizer(found);
        found.not_negative("train.weight_decay", self.weight_decay);
        found.below_one("train.beta1", self.beta1);
        found.below_one("train.beta2", self.beta2);
        found.above_zero("train.epsilon", self.epsilon);
        found.not_negative("train.max_grad_norm", self.max_grad_norm);
        found.positive("train.log_every", self.log_every);
        found.positive_if_given("train.eval_every", self.eval_every);
        found.positive("train.eval_examples", self.eval_examples as u64);
        found.positive("train.eval_max_new_tokens", self.eval_max_new_tokens as u64);
        if self.eval_metrics.contains(&Metric::Perplexity) {
            let wanted = "metrics of answers; the validation loss is always measured";
            found.add("train.eval_metrics", "perplexity", wanted);
        }
        if let Some(metric) = self.metric_for_best_model
            && !self.eval_metrics.contains(&metric)
        {
            let wanted = "one of train.eval_metrics";
            found.add("train.metric_for_best_model", json!(metric.name()), wanted);
        }
        found.positive_if_given("train.save_every", self.save_every);
        found.positive("train.keep_checkpoints", self.keep_checkpoints as u64);
        if let Some(early) = &self.early_stopping {
            found.positive("train.early_stopping.patience", early.patience);
            found.not_negative("train.early_stopping.min_delta", early.min_delta);
        }
    }
}

impl TrainConfig {
    /// The optimizer's own fields: one that another optimizer would ignore is a problem.
    fn check_optimizer(&self, found: &mut Problems) {
        if let Some(path) = &self.optim_page_file {
            found.path("train.optim_page_file", path);
            let is_paged = self.optim.is_paged();
            found.require(
                is_paged,
                "train.optim_page_file",
                "a file without a paged train.optim",
                "a paged one",
            );
        }
        if let Some(momentum) = self.momentum {
            found.below_one("train.momentum", momentum);
            let fits = self.optim == Optim::Sgd;
            found.require(fits, "train.momentum", "a momentum for another train.optim", "\"sgd\"");
        }
        let is_adafactor = self.optim == Optim::Adafactor;
        for (field, is_on) in
            [("train.scale_parameter", self.scale_parameter), ("train.relative_step", self.relative_step)]
        {
            found.require(!is_on || is_adafactor, field, "true for another train.optim", "\"adafactor\"");
        }
        let fits = !self.warmup_init || self.relative_step;
        found.require(fits, "train.warmup_init", "true without train.relative_step", "both, or neither");
        if let Some(ratio) = self.loraplus_lr_ratio {
            found.above_zero("train.loraplus_lr_ratio", ratio);
            let wanted = "a rate that it can be a ratio of, or no such field";
            found.require(!self.relative_step, "train.loraplus_lr_ratio", "train.relative_step too", wanted);
        }
        if let Some(rate) = self.loraplus_lr_embedding {
            found.not_negative("train.loraplus_lr_embedding", rate);
            let has_ratio = self.loraplus_lr_ratio.is_some();
            let field = "train.loraplus_lr_embedding";
            found.require(has_ratio, field, "a rate without train.loraplus_lr_ratio", "both, or neither");
        }
        found.require(
            !(self.fp16 && self.bf16),
            "train.bf16",
            "true, and train.fp16 too",
            "only one of them",
        );
    }
}

impl ModelSection {
    fn check(&self, found: &mut Problems) {
        found.path("model.path", &self.path);
    }
}

impl DataSection {
    fn check(&self, found: &mut Problems) {
        found.path("data.train", &self.train);
        let others =
            [("data.validation", &self.validation), ("data.test", &self.test), ("data.replay", &self.replay)];
        for (field, path) in others {
            if let Some(path) = path {
                found.path(field, path);
                found.require(*path != self.train, field, "the file of data.train", "another file");
            }
        }
        found.below_one("data.validation_fraction", self.validation_fraction);
        let share = self.replay_fraction;
        let fits = share > 0.0 && share < 1.0;
        found.require(fits, "data.replay_fraction", share, "a number above 0 and below 1");
        let fits = (0.0..=1.0).contains(&self.near_duplicates);
        found.require(fits, "data.near_duplicates", self.near_duplicates, "a number in [0, 1]");
        for (name, path) in &self.benchmarks {
            found.path(&format!("data.benchmarks.{name}"), path);
        }
        let fits = self.max_length >= 2;
        found.require(
            fits,
            "data.max_length",
            self.max_length,
            "at least 2: a token and the one it predicts",
        );
    }
}

impl LoraSection {
    fn check(&self, found: &mut Problems) {
        let (given, defaults) = (json!(self), json!(Self::default()));
        for (field, value) in given.as_object().into_iter().flatten() {
            let has = field == "method" || self.own_fields().contains(&field.as_str());
            if !has && Some(value) != defaults.get(field) {
                let method = &given["method"];
                found.add(&format!("lora.{field}"), value, &format!("no such field: the method is {method}"));
            }
        }
        found.positive("lora.r", self.r as u64);
        found.positive("lora.num_virtual_tokens", self.num_virtual_tokens as u64);
        found.above_zero("lora.lora_alpha", self.lora_alpha);
        found.below_one("lora.lora_dropout", self.lora_dropout);
        for (field, targets) in
            [("lora.target_modules", &self.target_modules), ("lora.exclude_modules", &self.exclude_modules)]
        {
            match targets {
                Some(Targets::Pattern(text)) => {
                    found.require(!text.is_empty(), field, "an empty text", "a regular expression or a list");
                }
                Some(Targets::Names(names)) => found.names(field, names),
                None => {}
            }
        }
        let excludes_all = self.exclude_modules.as_ref().is_some_and(Targets::is_all_linear);
        found.require(
            !excludes_all,
            "lora.exclude_modules",
            "\"all-linear\"",
            "a list of names or a regular expression",
        );
        if let Some(layers) = &self.layers_to_transform {
            found.require(
                !layers.is_empty(),
                "lora.layers_to_transform",
                "an empty list",
                "layer numbers, or no such field",
            );
            let by_pattern = matches!(self.target_modules, Some(Targets::Pattern(_)));
            found.require(
                !by_pattern,
                "lora.layers_to_transform",
                "layers for a target_modules that is text",
                "target_modules as a list of names, or no such field",
            );
        }
        for (pattern, rank) in &self.rank_pattern {
            found.positive(&format!("lora.rank_pattern.{pattern}"), *rank as u64);
        }
        for (pattern, alpha) in &self.alpha_pattern {
            found.above_zero(&format!("lora.alpha_pattern.{pattern}"), *alpha);
        }
        if let Some(modules) = &self.modules_to_save {
            found.names("lora.modules_to_save", modules);
        }
    }
}

/// What was found so far.
struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn add(&mut self, field: &str, found: impl Display, wanted: &str) {
        self.0.push(ConfigProblem::value(field, found, wanted));
    }

    fn add_lora(&mut self, error: &LoraError) {
        match error {
            LoraError::Config { field, found, wanted } => self.add(&format!("lora.{field}"), found, wanted),
            other => self.add("lora", other, "an adapter that can be made"),
        }
    }

    fn require(&mut self, fits: bool, field: &str, found: impl Display, wanted: &str) {
        if !fits {
            self.add(field, found, wanted);
        }
    }

    fn path(&mut self, field: &str, path: &Path) {
        if path.as_os_str().is_empty() {
            self.0.push(ConfigProblem::Missing { field: field.to_owned(), wanted: "a path".to_owned() });
        }
    }

    fn positive(&mut self, field: &str, number: u64) {
        self.require(number > 0, field, number, "at least 1");
    }

    fn positive_if_given(&mut self, field: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.positive(field, number);
        }
    }

    fn above_zero(&mut self, field: &str, number: f64) {
        self.require(number.is_finite() && number > 0.0, field, number, "a finite number above 0");
    }

    fn not_negative(&mut self, field: &str, number: f64) {
        self.require(number.is_finite() && number >= 0.0, field, number, "a finite number, 0 or more");
    }

    fn below_one(&mut self, field: &str, number: f64) {
        self.require((0.0..1.0).contains(&number), field, number, "a number in [0, 1)");
    }

    fn names(&mut self, field: &str, names: &[String]) {
        let fits = !names.is_empty() && names.iter().all(|name| !name.is_empty());
        let found = if names.is_empty() { "an empty list" } else { "an empty name" };
        self.require(fits, field, found, "names, or no such field");
    }
}
