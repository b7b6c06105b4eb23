//! The configuration of a LoRA adapter, with PEFT's fields and defaults.

mod validate;

use serde_json::{Map, Value};

use crate::{
    error::LoraError,
    init::{EvaConfig, LoftqConfig},
    matcher::ScalingRules,
    target::TargetModules,
};

pub(crate) use self::validate::{check_rank, one_of};

/// The task types PEFT knows (0.21, `TaskType`).
pub(crate) const TASK_TYPES: [&str; 6] =
    ["SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"];

/// Which biases of the base model are trained and saved along with the adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bias {
    /// None (PEFT's default).
    #[default]
    None,
    /// Those of every module that has one.
    All,
    /// Those of the adapted modules.
    LoraOnly,
}

/// How a fresh adapter starts. Loaded adapters do not care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitLoraWeights {
    /// `A ~ U(-1/√in, 1/√in)`, `B = 0` (PEFT's `true`): the model starts unchanged.
    #[default]
    Kaiming,
    /// `A ~ N(0, (1/r)²)`, `B = 0` (PEFT's `"gaussian"`).
    Gaussian,
    /// `A ~ U(-1/√in, 1/√in)`, `B ~ U(-1/√r, 1/√r)` (PEFT's `false`): for tests, the model
    /// starts changed.
    Random,
    /// Both factors random, their product zero (PEFT's `"orthogonal"`); the rank must be even.
    Orthogonal,
    /// The leading singular triplets of the weight, which is left with the rest (PEFT's `"pissa"`;
    /// Meng et al. 2024, arXiv:2404.02948). The base changes: see [`save_peft_converted`](crate::save_peft_converted).
    Pissa,
    /// [`InitLoraWeights::Pissa`] by so many subspace iterations (PEFT's `"pissa_niter_N"`): much
    /// faster for large weights.
    PissaNiter(usize),
    /// The first columns and rows of the weight's QR decomposition (PEFT's `"olora"`; Büyükakyüz 2024,
    /// arXiv:2406.01775). The base changes, as with PiSSA.
    Olora,
    /// What quantization loses, while the base becomes the quantized one (PEFT's `"loftq"`; Li et al. 2023,
    /// arXiv:2310.08659), as [`LoraConfig::loftq_config`] says.
    Loftq,
    /// The main directions of each module's inputs, with ranks moved to where they explain most (PEFT's
    /// `"eva"`; Paischer et al. 2024, arXiv:2410.07170). Attached by [`attach_eva`](crate::attach_eva).
    Eva,
}

/// The configuration of a LoRA adapter: PEFT's `LoraConfig` for plain and rank-stabilised LoRA, and DoRA.
///
/// An adapted projection computes `y = x·Wᵀ + s·(dropout(x)·Aᵀ)·Bᵀ` with `A` `[r, in]`,
/// `B` `[out, r]` and `s = lora_alpha / r`, or `lora_alpha / √r` with `use_rslora`
/// (Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732).
///
/// ```
/// use burnisher_lora::{LoraConfig, TargetModules};
///
/// let config = LoraConfig::new(8)
///     .with_lora_alpha(16.0)
///     .with_target_modules(TargetModules::suffixes(["q_proj", "v_proj"]));
/// config.validate()?;
/// assert_eq!(config.scaling_for("model.layers.0.self_attn.q_proj")?, (8, 2.0));
/// # Ok::<(), burnisher_lora::LoraError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    pub(crate) r: usize,
    pub(crate) lora_alpha: f64,
    pub(crate) lora_dropout: f64,
    pub(crate) target_modules: Option<TargetModules>,
    pub(crate) exclude_modules: Option<TargetModules>,
    pub(crate) layers_to_transform: Option<Vec<usize>>,
    pub(crate) layers_pattern: Option<Vec<String>>,
    pub(crate) rank_pattern: Vec<(String, usize)>,
    pub(crate) alpha_pattern: Vec<(String, f64)>,
    pub(crate) bias: Bias,
    pub(crate) use_rslora: bool,
    pub(crate) use_dora: bool,
    pub(crate) lora_bias: bool,
    pub(crate) trainable_token_indices: Option<Vec<u32>>,
    pub(crate) ensure_weight_tying: bool,
    pub(crate) lora_fa: bool,
    pub(crate) modules_to_save: Option<Vec<String>>,
    pub(crate) init_lora_weights: InitLoraWeights,
    pub(crate) loftq_config: Option<LoftqConfig>,
    pub(crate) eva_config: Option<EvaConfig>,
    pub(crate) task_type: Option<String>,
    pub(crate) base_model_name_or_path: Option<String>,
    pub(crate) revision: Option<String>,
    /// PEFT's note on the base model's class; carried, not used.
    pub(crate) auto_mapping: Option<Value>,
    /// The version of PEFT that wrote the file this was read from.
    pub(crate) peft_version: Option<String>,
    pub(crate) extra: Map<String, Value>,
}

impl LoraConfig {
    /// An adapter of rank `r` with PEFT's defaults: `lora_alpha` 8, no dropout, the
    /// architecture's default target modules.
    pub fn new(r: usize) -> Self {
        Self {
            r,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: None,
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: None,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            bias: Bias::None,
            use_rslora: false,
            use_dora: false,
            lora_bias: false,
            trainable_token_indices: None,
            ensure_weight_tying: false,
            lora_fa: false,
            modules_to_save: None,
            init_lora_weights: InitLoraWeights::Kaiming,
            loftq_config: None,
            eva_config: None,
            task_type: None,
            base_model_name_or_path: None,
            revision: None,
            auto_mapping: None,
            peft_version: None,
            extra: Map::new(),
        }
    }

    /// The rank: `A` has `r` rows.
    pub fn r(&self) -> usize {
        self.r
    }

    /// The numerator of the scaling. PEFT's default is 8, whatever `r` is.
    pub fn lora_alpha(&self) -> f64 {
        self.lora_alpha
    }

    /// The probability, in `[0, 1)`, with which an element of the adapter's input is dropped in training.
    /// The frozen projection sees the whole input.
    pub fn lora_dropout(&self) -> f64 {
        self.lora_dropout
    }

    /// Which modules are adapted; `None` takes PEFT's default for the architecture.
    pub fn target_modules(&self) -> Option<&TargetModules> {
        self.target_modules.as_ref()
    }

    /// Modules that are not adapted even if `target_modules` names them.
    pub fn exclude_modules(&self) -> Option<&TargetModules> {
        self.exclude_modules.as_ref()
    }

    /// The only layers that are adapted. An entry of `target_modules` that is a whole path is adapted in
    /// any case, as in PEFT.
    pub fn layers_to_transform(&self) -> Option<&[usize]> {
        self.layers_to_transform.as_deref()
    }

    /// Names of the module lists the layer numbers count, as regular expressions; by default any.
    pub fn layers_pattern(&self) -> Option<&[String]> {
        self.layers_pattern.as_deref()
    }

    /// Ranks of single modules: the first regular expression that matches the path, or the path from a
    /// dot on, wins.
    pub fn rank_pattern(&self) -> &[(String, usize)] {
        &self.rank_pattern
    }

    /// Alphas of single modules, chosen like [`LoraConfig::rank_pattern`].
    pub fn alpha_pattern(&self) -> &[(String, f64)] {
        &self.alpha_pattern
    }

    /// Which biases are trained.
    pub fn bias(&self) -> Bias {
        self.bias
    }

    /// Whether `lora_alpha` is divided by `√r` instead of `r`.
    pub fn use_rslora(&self) -> bool {
        self.use_rslora
    }

    /// Whether the rows of the adapted weight get trained norms: DoRA (Liu et al. 2024, arXiv:2402.09353).
    pub fn use_dora(&self) -> bool {
        self.use_dora
    }

    /// Whether `B` has a trained bias. Such an adapter can only be merged where the projection has a bias.
    pub fn lora_bias(&self) -> bool {
        self.lora_bias
    }

    /// Tokens whose rows of the embedding are trained, and saved whole. A tied output projection has the same rows.
    pub fn trainable_token_indices(&self) -> Option<&[u32]> {
        self.trainable_token_indices.as_deref()
    }

    /// Whether an embedding and an output projection that share their weight may be in `modules_to_save`: they are
    /// trained as one weight then.
    pub fn ensure_weight_tying(&self) -> bool {
        self.ensure_weight_tying
    }

    /// Whether `A` stays as it starts and only `B` is trained: LoRA-FA (Zhang et al. 2023, arXiv:2308.03303), which
    /// keeps `x·Aᵀ` for the backward pass in the place of `x`. PEFT has it as an optimizer, which scales the gradient
    /// of `B` by `(A·Aᵀ)⁻¹` besides; its files do not tell, and neither do ours.
    pub fn lora_fa(&self) -> bool {
        self.lora_fa
    }

    /// Modules that are trained and saved whole, such as `lm_head`.
    pub fn modules_to_save(&self) -> Option<&[String]> {
        self.modules_to_save.as_deref()
    }

    /// How a fresh adapter starts.
    pub fn init_lora_weights(&self) -> InitLoraWeights {
        self.init_lora_weights
    }

    /// How LoftQ starts; by default 4 bits and one iteration.
    pub fn loftq_config(&self) -> LoftqConfig {
        self.loftq_config.unwrap_or_default()
    }

    /// How EVA starts; by default as PEFT.
    pub fn eva_config(&self) -> EvaConfig {
        self.eva_config.unwrap_or_default()
    }

    /// PEFT's task type, such as `CAUSAL_LM`; carried, not used.
    pub fn task_type(&self) -> Option<&str> {
        self.task_type.as_deref()
    }

    /// Where the base model came from.
    pub fn base_model_name_or_path(&self) -> Option<&str> {
        self.base_model_name_or_path.as_deref()
    }

    /// The revision of the base model; carried, not used.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Fields of the file this was read from that PEFT 0.21 does not know. They are written back as
    /// they were; their names are what a caller should report.
    pub fn extra(&self) -> &Map<String, Value> {
        &self.extra
    }

    /// Sets the numerator of the scaling.
    pub fn with_lora_alpha(mut self, lora_alpha: f64) -> Self {
        self.lora_alpha = lora_alpha;
        self
    }

    /// Sets the dropout probability of the adapter's input.
    pub fn with_lora_dropout(mut self, lora_dropout: f64) -> Self {
        self.lora_dropout = lora_dropout;
        self
    }

    /// Sets which modules are adapted.
    pub fn with_target_modules(mut self, target_modules: TargetModules) -> Self {
        self.target_modules = Some(target_modules);
        self
    }

    /// Sets which modules are left alone even if they are targets.
    pub fn with_exclude_modules(mut self, exclude_modules: TargetModules) -> Self {
        self.exclude_modules = Some(exclude_modules);
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

    /// Sets the ranks of single modules.
    pub fn with_rank_pattern<S: Into<String>>(
        mut self,
        patterns: impl IntoIterator<Item = (S, usize)>,
    ) -> Self {
        self.rank_pattern = patterns.into_iter().map(|(key, r)| (key.into(), r)).collect();
        self
    }

    /// Sets the alphas of single modules.
    pub fn with_alpha_pattern<S: Into<String>>(
        mut self,
        patterns: impl IntoIterator<Item = (S, f64)>,
    ) -> Self {
        self.alpha_pattern = patterns.into_iter().map(|(key, alpha)| (key.into(), alpha)).collect();
        self
    }

    /// Sets which biases are trained.
    pub fn with_bias(mut self, bias: Bias) -> Self {
        self.bias = bias;
        self
    }

    /// Sets whether the scaling is `lora_alpha / √r`.
    pub fn with_use_rslora(mut self, use_rslora: bool) -> Self {
        self.use_rslora = use_rslora;
        self
    }

    /// Sets whether the adapter is DoRA.
    pub fn with_use_dora(mut self, use_dora: bool) -> Self {
        self.use_dora = use_dora;
        self
    }

    /// Sets whether `B` has a bias.
    pub fn with_lora_bias(mut self, lora_bias: bool) -> Self {
        self.lora_bias = lora_bias;
        self
    }

    /// Sets the tokens whose rows of the embedding are trained.
    pub fn with_trainable_token_indices(mut self, tokens: impl IntoIterator<Item = u32>) -> Self {
        self.trainable_token_indices = Some(tokens.into_iter().collect());
        self
    }

    /// Sets whether tied weights may be trained as one.
    pub fn with_ensure_weight_tying(mut self, ensure_weight_tying: bool) -> Self {
        self.ensure_weight_tying = ensure_weight_tying;
        self
    }

    /// Sets whether only `B` is trained.
    pub fn with_lora_fa(mut self, lora_fa: bool) -> Self {
        self.lora_fa = lora_fa;
        self
    }

    /// Sets which modules are trained whole.
    pub fn with_modules_to_save<S: Into<String>>(mut self, modules: impl IntoIterator<Item = S>) -> Self {
        self.modules_to_save = Some(modules.into_iter().map(Into::into).collect());
        self
    }

    /// Sets how a fresh adapter starts.
    pub fn with_init_lora_weights(mut self, init_lora_weights: InitLoraWeights) -> Self {
        self.init_lora_weights = init_lora_weights;
        self
    }

    /// Sets how LoftQ starts.
    pub fn with_loftq_config(mut self, loftq_config: LoftqConfig) -> Self {
        self.loftq_config = Some(loftq_config);
        self
    }

    /// Sets how EVA starts.
    pub fn with_eva_config(mut self, eva_config: EvaConfig) -> Self {
        self.eva_config = Some(eva_config);
        self
    }

    /// Sets PEFT's task type.
    pub fn with_task_type(mut self, task_type: impl Into<String>) -> Self {
        self.task_type = Some(task_type.into());
        self
    }

    /// Sets where the base model came from.
    pub fn with_base_model_name_or_path(mut self, base: impl Into<String>) -> Self {
        self.base_model_name_or_path = Some(base.into());
        self
    }

    /// The rank and the scaling of the module at `path`, after `rank_pattern` and
    /// `alpha_pattern`.
    ///
    /// # Errors
    /// [`LoraError::Config`] if a pattern is no regular expression.
    pub fn scaling_for(&self, path: &str) -> Result<(usize, f64), LoraError> {
        let (r, _, scaling) = ScalingRules::new(self)?.of(path);
        Ok((r, scaling))
    }
}
