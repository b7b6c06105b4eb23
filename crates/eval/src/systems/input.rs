//! What a comparison of systems is made of: strings and numbers that a run wrote down.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::perplexity::TextLoss;

/// One example that every system answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedExample {
    /// Where it came from, such as `test.jsonl:17`.
    pub origin: String,
    /// What was asked.
    pub prompt: String,
    /// The right answers, at least one.
    pub references: Vec<String>,
}

/// How a system came to be. Those that need no training count as cheaper than those that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SystemKind {
    /// The model as it was.
    Base,
    /// The model as it was, with passages found for each question.
    Retrieval,
    /// Low-rank adapters on full-precision weights.
    Lora,
    /// Low-rank adapters on quantized weights.
    Qlora,
    /// All weights trained.
    Full,
    /// Anything else that was trained, such as several adapters together.
    Other,
}

impl SystemKind {
    /// Whether weights were trained.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::Base | Self::Retrieval)
    }
}

/// What one system answered, lost and cost.
///
/// ```
/// use burnisher_eval::{Cost, SystemKind, SystemResult};
///
/// let lora = SystemResult::new("LoRA r16", SystemKind::Lora, ["400 mg"])
///     .with_cost(Cost { train_seconds: Some(90.0), saved_bytes: Some(4_200_000), ..Cost::default() });
/// let text = serde_json::to_string(&lora)?;
/// assert_eq!(serde_json::from_str::<SystemResult>(&text)?, lora);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SystemResult {
    /// A name of its own.
    pub name: String,
    /// How it came to be.
    pub kind: SystemKind,
    /// One answer per example, in the examples' order.
    pub answers: Vec<String>,
    /// Losses of the reference answers, for [`Metric::Perplexity`]; the same texts in every system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub losses: Option<Vec<TextLoss>>,
    /// What it does on general text and tasks, by source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub general: Vec<GeneralResult>,
    /// The losses while it was trained, in order of steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
    /// What it cost.
    #[serde(default)]
    pub cost: Cost,
}

impl SystemResult {
    /// A system by its answers alone.
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        kind: SystemKind,
        answers: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            answers: answers.into_iter().map(Into::into).collect(),
            losses: None,
            general: Vec::new(),
            curve: Vec::new(),
            cost: Cost::default(),
        }
    }

    /// Adds the losses of the reference answers.
    #[must_use]
    pub fn with_losses(mut self, losses: impl IntoIterator<Item = TextLoss>) -> Self {
        self.losses = Some(losses.into_iter().collect());
        self
    }

    /// Adds one source of general text or tasks.
    #[must_use]
    pub fn with_general(mut self, general: GeneralResult) -> Self {
        self.general.push(general);
        self
    }

    /// Sets the losses while it was trained.
    #[must_use]
    pub fn with_curve(mut self, curve: impl IntoIterator<Item = CurvePoint>) -> Self {
        self.curve = curve.into_iter().collect();
        self
    }

    /// Sets what it cost.
    #[must_use]
    pub fn with_cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }
}

/// What a system does on one source of general text or tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GeneralResult {
    /// The source's name, the same in every system.
    pub source: String,
    /// Losses of held-out texts, the same texts in every system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub losses: Option<Vec<TextLoss>>,
    /// Answers to the [`GeneralTask`] of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Vec<String>>,
}

impl GeneralResult {
    /// A source by the losses of its texts.
    pub fn of_losses(source: impl Into<String>, losses: impl IntoIterator<Item = TextLoss>) -> Self {
        Self { source: source.into(), losses: Some(losses.into_iter().collect()), answers: None }
    }

    /// A source by answers to its [`GeneralTask`].
    pub fn of_answers<S: Into<String>>(
        source: impl Into<String>,
        answers: impl IntoIterator<Item = S>,
    ) -> Self {
        let answers = answers.into_iter().map(Into::into).collect();
        Self { source: source.into(), losses: None, answers: Some(answers) }
    }
}

/// The right answers of a source of general tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneralTask {
    /// The source's name.
    pub source: String,
    /// What is measured there.
    pub metric: Metric,
    /// One or more right answers per task.
    pub references: Vec<Vec<String>>,
}

/// Losses at one step of the training, nats per token. What was not measured, or is not finite, is absent in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Loss on the trained records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_loss: Option<f64>,
    /// Loss on the validation set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
}

/// What a system cost, as far as it was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Wall-clock seconds of the training.
    pub train_seconds: Option<f64>,
    /// Wall-clock seconds of all answers.
    pub generate_seconds: Option<f64>,
    /// Most memory in use at once, while training where it was trained.
    pub peak_memory_bytes: Option<u64>,
    /// Parameters that were trained.
    pub trainable_parameters: Option<u64>,
    /// Bytes to keep beside the base model.
    pub saved_bytes: Option<u64>,
    /// Bytes of the base model's weights as loaded.
    pub base_bytes: Option<u64>,
}

/// The measure by which trained systems are called cheap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CostMeasure {
    /// [`Cost::peak_memory_bytes`]: what machine it takes.
    #[default]
    PeakMemory,
    /// [`Cost::train_seconds`].
    TrainTime,
    /// [`Cost::generate_seconds`].
    GenerateTime,
    /// [`Cost::saved_bytes`].
    SavedSize,
}

impl CostMeasure {
    pub(super) const ALL: [Self; 4] =
        [Self::PeakMemory, Self::TrainTime, Self::GenerateTime, Self::SavedSize];

    pub(super) fn of(self, cost: &Cost) -> Option<f64> {
        match self {
            Self::PeakMemory => cost.peak_memory_bytes.map(|bytes| bytes as f64),
            Self::TrainTime => cost.train_seconds,
            Self::GenerateTime => cost.generate_seconds,
            Self::SavedSize => cost.saved_bytes.map(|bytes| bytes as f64),
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::PeakMemory => "peak memory",
            Self::TrainTime => "time of training",
            Self::GenerateTime => "time of answering",
            Self::SavedSize => "saved size",
        }
    }
}
