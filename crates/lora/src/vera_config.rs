//! The configuration of VeRA, with PEFT's fields and defaults.

use serde_json::{Value, json};

use crate::{
    Bias, LoraError, TargetModules,
    config::check_rank,
    config_json::{
        Fields, count, counts, shown, target_from_json, target_to_json, text_or_texts, texts, written,
    },
    matcher::layer_regex,
    peft_fields::{PeftFields, check_modules, check_off, peft_fields},
    target::Defaults,
};

/// PEFT's default `target_modules`: those of LoRA, but for phi (peft 0.21, src/peft/utils/constants.py).
pub(crate) const VERA_TARGETS: &Defaults = &[
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
            "phi",
            "qwen2",
            "qwen3",
            "stablelm",
        ],
        &["q_proj", "v_proj"],
    ),
    (&["bloom", "chatglm", "falcon", "gpt_neox"], &["query_key_value"]),
];

/// The configuration of a VeRA adapter: PEFT's `VeraConfig` (Kopiczko et al. 2024, arXiv:2310.11454).
///
/// ```
/// use burnisher_lora::VeraConfig;
///
/// let config = VeraConfig::new(256).with_d_initial(0.1).with_projection_prng_key(3);
/// config.validate()?;
/// # Ok::<(), burnisher_lora::LoraError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct VeraConfig {
    pub(crate) r: usize,
    pub(crate) target_modules: Option<TargetModules>,
    pub(crate) projection_prng_key: u64,
    pub(crate) save_projection: bool,
    pub(crate) vera_dropout: f64,
    pub(crate) d_initial: f64,
    pub(crate) bias: Bias,
    pub(crate) modules_to_save: Option<Vec<String>>,
    pub(crate) layers_to_transform: Option<Vec<usize>>,
    pub(crate) layers_pattern: Option<Vec<String>>,
    pub(crate) fields: PeftFields,
}

impl VeraConfig {
    /// An adapter of rank `r` with PEFT's defaults: `d_initial` 0.1, key 0, projections saved, no dropout. PEFT's own
    /// default rank is 256: VeRA takes higher ranks than LoRA.
    pub fn new(r: usize) -> Self {
        Self {
            r,
            target_modules: None,
            projection_prng_key: 0,
            save_projection: true,
            vera_dropout: 0.0,
            d_initial: 0.1,
            bias: Bias::None,
            modules_to_save: None,
            layers_to_transform: None,
            layers_pattern: None,
            fields: PeftFields::default(),
        }
    }

    /// The rank: the shared `A` has `r` rows.
    pub fn r(&self) -> usize {
        self.r
    }

    /// Which modules are adapted; `None` takes PEFT's default for the architecture.
    pub fn target_modules(&self) -> Option<&TargetModules> {
        self.target_modules.as_ref()
    }

    /// The seed of the shared matrices.
    pub fn projection_prng_key(&self) -> u64 {
        self.projection_prng_key
    }

    /// Whether the shared matrices are saved. If not, they are made again from the key, as torch makes them.
    pub fn save_projection(&self) -> bool {
        self.save_projection
    }

    /// The probability, in `[0, 1)`, with which an element of the adapter's input is dropped in training.
    pub fn vera_dropout(&self) -> f64 {
        self.vera_dropout
    }

    /// What every element of `λ_d` starts with.
    pub fn d_initial(&self) -> f64 {
        self.d_initial
    }

    /// Which biases are trained; [`Bias::LoraOnly`] is PEFT's `vera_only`.
    pub fn bias(&self) -> Bias {
        self.bias
    }

    /// Modules that are trained and saved whole.
    pub fn modules_to_save(&self) -> Option<&[String]> {
        self.modules_to_save.as_deref()
    }

    /// The only layers that are adapted.
    pub fn layers_to_transform(&self) -> Option<&[usize]> {
        self.layers_to_transform.as_deref()
    }

    /// Names of the module lists the layer numbers count.
    pub fn layers_pattern(&self) -> Option<&[String]> {
        self.layers_pattern.as_deref()
    }

    /// Sets which modules are adapted.
    pub fn with_target_modules(mut self, target_modules: TargetModules) -> Self {
        self.target_modules = Some(target_modules);
        self
    }

    /// Sets the seed of the shared matrices; torch's generator takes the lower 32 bits.
    pub fn with_projection_prng_key(mut self, projection_prng_key: u64) -> Self {
        self.projection_prng_key = projection_prng_key;
        self
    }

    /// Sets whether the shared matrices are saved.
    pub fn with_save_projection(mut self, save_projection: bool) -> Self {
        self.save_projection = save_projection;
        self
    }

    /// Sets the dropout probability of the adapter's input.
    pub fn with_vera_dropout(mut self, vera_dropout: f64) -> Self {
        self.vera_dropout = vera_dropout;
        self
    }

    /// Sets what every element of `λ_d` starts with.
    pub fn with_d_initial(mut self, d_initial: f64) -> Self {
        self.d_initial = d_initial;
        self
    }

    /// Sets which biases are trained.
    pub fn with_bias(mut self, bias: Bias) -> Self {
        self.bias = bias;
        self
    }

    /// Sets which modules are trained whole.
    pub fn with_modules_to_save<S: Into<String>>(mut self, modules: impl IntoIterator<Item = S>) -> Self {
        self.modules_to_save = Some(modules.into_iter().map(Into::into).collect());
        self
    }

    /// Sets which layers are adapted.
    pub fn with_layers_to_transform(mut self, layers: impl IntoIterator<Item = usize>) -> Self {
        self.layers_to_transform = Some(layers.into_iter().collect());
        self
    }

    /// Sets the names of the module lists that layer numbers count.
    pub fn with_layers_pattern<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.layers_pattern = Some(patterns.into_iter().map(Into::into).collect());
        self
    }

    peft_fields!();

    /// Checks every field by itself and the rules between fields that PEFT 0.21 enforces.
    ///
    /// # Errors
    /// [`LoraError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        check_rank("r", self.r)?;
        if !(0.0..1.0).contains(&self.vera_dropout) {
            return Err(LoraError::config("vera_dropout", self.vera_dropout, "a number in [0, 1)"));
        }
        if !self.d_initial.is_finite() || self.d_initial == 0.0 {
            return Err(LoraError::config("d_initial", self.d_initial, "a finite number other than 0"));
        }
        check_modules("target_modules", self.target_modules.as_ref())?;
        let patterns = self.layers_pattern.as_deref().unwrap_or_default();
        if !patterns.is_empty() && self.layers_to_transform.as_deref().unwrap_or_default().is_empty() {
            let wanted = "layer numbers, because layers_pattern is given";
            return Err(LoraError::config("layers_to_transform", "empty", wanted));
        }
        patterns.iter().try_for_each(|pattern| layer_regex(pattern).map(|_| ()))?;
        self.fields.validate()
    }

    /// Takes a configuration from the parsed text of an adapter_config.json.
    ///
    /// # Errors
    /// [`LoraError::Unsupported`] listing every field that asks for something this crate does not implement;
    /// [`LoraError::Config`] for a field of the wrong type or value.
    pub fn from_json(value: Value) -> Result<Self, LoraError> {
        let Value::Object(map) = value else {
            return Err(LoraError::config("the file", shown(&value), "a JSON object"));
        };
        let mut fields = Fields(map);
        fields.check_type("VERA")?;
        check_off(&mut fields, &[("fan_in_fan_out", json!(false)), ("init_weights", json!(true))])?;
        let default = Self::new(256);
        let (flag, real) = ("true or false", "a number");
        let config = Self {
            r: fields.read("r", "a rank above 0", count)?.unwrap_or(default.r),
            target_modules: fields.read(
                "target_modules",
                "a list of module names or a string",
                target_from_json,
            )?,
            projection_prng_key: fields
                .read("projection_prng_key", "a whole number", Value::as_u64)?
                .unwrap_or(default.projection_prng_key),
            save_projection: fields
                .read("save_projection", flag, Value::as_bool)?
                .unwrap_or(default.save_projection),
            vera_dropout: fields.read("vera_dropout", real, Value::as_f64)?.unwrap_or(default.vera_dropout),
            d_initial: fields.read("d_initial", real, Value::as_f64)?.unwrap_or(default.d_initial),
            bias: fields
                .read("bias", "\"none\", \"all\" or \"vera_only\"", bias_from_json)?
                .unwrap_or(default.bias),
            modules_to_save: fields.read("modules_to_save", "a list of module names", texts)?,
            layers_to_transform: fields.read(
                "layers_to_transform",
                "a layer number or a list of them",
                counts,
            )?,
            layers_pattern: fields.read("layers_pattern", "a name or a list of names", text_or_texts)?,
            fields: PeftFields::take(fields)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The text of adapter_config.json as PEFT writes it: every field of PEFT 0.21, keys sorted, two spaces of
    /// indentation, ASCII only, `inference_mode` true.
    pub fn to_json(&self) -> String {
        let mut fields = self.fields.to_json();
        fields.extend([
            ("bias", json!(bias_to_json(self.bias))),
            ("d_initial", json!(self.d_initial)),
            ("fan_in_fan_out", json!(false)),
            ("init_weights", json!(true)),
            ("layers_pattern", json!(self.layers_pattern)),
            ("layers_to_transform", json!(self.layers_to_transform)),
            ("modules_to_save", json!(self.modules_to_save)),
            ("peft_type", json!("VERA")),
            ("projection_prng_key", json!(self.projection_prng_key)),
            ("r", json!(self.r)),
            ("save_projection", json!(self.save_projection)),
            ("target_modules", json!(self.target_modules.as_ref().map(target_to_json))),
            ("vera_dropout", json!(self.vera_dropout)),
        ]);
        written(fields)
    }
}

fn bias_from_json(value: &Value) -> Option<Bias> {
    [Bias::None, Bias::All, Bias::LoraOnly]
        .into_iter()
        .find(|&bias| value.as_str() == Some(bias_to_json(bias)))
}

fn bias_to_json(bias: Bias) -> &'static str {
    match bias {
        Bias::None => "none",
        Bias::All => "all",
        Bias::LoraOnly => "vera_only",
    }
}
