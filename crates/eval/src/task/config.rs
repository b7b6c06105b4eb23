//! What a task file says.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::filter::Filter;
use super::metric::TaskMetric;

/// What a model does with a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutput {
    /// `generate_until`: it writes an answer.
    #[default]
    GenerateUntil,
    /// `multiple_choice`: the choice it finds most likely is its answer.
    MultipleChoice,
    /// `loglikelihood_rolling`: it only says how likely it finds the target, as a whole text without a prompt.
    LoglikelihoodRolling,
}

impl TaskOutput {
    /// The name in task files.
    pub fn name(self) -> &'static str {
        match self {
            Self::GenerateUntil => "generate_until",
            Self::MultipleChoice => "multiple_choice",
            Self::LoglikelihoodRolling => "loglikelihood_rolling",
        }
    }
}

/// Who the prompt is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PromptForm {
    /// `plain`: a text that the model goes on with.
    #[default]
    Plain,
    /// `chat`: a user's message, which the model's chat template wraps.
    Chat,
}

/// The right answer to a row: one template, or a list of them for several references.
///
/// A template that is one expression (`{{ answers.text }}`) and gives a list makes several references too. With
/// `choices` the target names one of them, see [`TaskConfig::target`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Value")]
pub enum TargetTemplate {
    /// One template.
    One(String),
    /// Several, each for a reference.
    Several(Vec<String>),
}

impl TargetTemplate {
    pub(super) fn sources(&self) -> &[String] {
        match self {
            Self::One(source) => std::slice::from_ref(source),
            Self::Several(sources) => sources,
        }
    }
}

impl Default for TargetTemplate {
    fn default() -> Self {
        Self::One(String::new())
    }
}

impl From<&str> for TargetTemplate {
    fn from(source: &str) -> Self {
        Self::One(source.to_owned())
    }
}

impl TryFrom<Value> for TargetTemplate {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match texts(value)? {
            Ok(source) => Ok(Self::One(source)),
            Err(sources) => Ok(Self::Several(sources)),
        }
    }
}

/// The answers to choose from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Value")]
pub enum Choices {
    /// A template for each.
    List(Vec<String>),
    /// One expression that gives a list: `{{ options }}`.
    Expression(String),
}

impl TryFrom<Value> for Choices {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match texts(value)? {
            Ok(source) => Ok(Self::Expression(source)),
            Err(sources) => Ok(Self::List(sources)),
        }
    }
}

/// How an answer is written. The default is greedy, up to 256 tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct GenerationOptions {
    /// Texts before which an answer ends; none by default, so that only the model's own end of text does.
    pub until: Vec<String>,
    /// Tokens of an answer, at most; 256 by default.
    pub max_new_tokens: usize,
    /// 0, the default, takes the likeliest token each time; above, tokens are drawn at this temperature.
    pub temperature: f64,
    /// Draws from the likeliest tokens that together have this probability, above 0, at most 1; all by default.
    pub top_p: Option<f64>,
    /// Draws from this many of the likeliest tokens; all by default.
    pub top_k: Option<usize>,
    /// The seed of the draws; 0 by default.
    pub seed: u64,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self { until: Vec::new(), max_new_tokens: 256, temperature: 0.0, top_p: None, top_k: None, seed: 0 }
    }
}

impl GenerationOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends answers before these texts.
    #[must_use]
    pub fn with_until<S: Into<String>>(mut self, until: impl IntoIterator<Item = S>) -> Self {
        self.until = until.into_iter().map(Into::into).collect();
        self
    }

    /// Ends answers after this many tokens.
    #[must_use]
    pub fn with_max_new_tokens(mut self, tokens: usize) -> Self {
        self.max_new_tokens = tokens;
        self
    }

    /// Draws tokens at this temperature; 0 takes the likeliest.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// The text up to the first of [`until`](Self::until): what lm-eval keeps of an answer.
    pub fn cut<'a>(&self, text: &'a str) -> &'a str {
        let ends =
            self.until.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str()));
        &text[..ends.min().unwrap_or(text.len())]
    }
}

/// A task: data, prompt, decoding, answer extraction and metrics, in the spirit of lm-evaluation-harness 0.4.13.
///
/// Templates are Jinja over the columns of a row. A column that the row lacks is an error, and so are values that
/// are no text: null, lists and objects (`{{ source | join(" ") }}`, `{{ entities | tojson }}`). Beside Jinja's own
/// there are Python's methods of texts, lists and dictionaries that lm-eval's files use, `tojson` as Python's
/// `json.dumps` writes, and `{{ tokens | entities(tags) }}`, the entities of tagged tokens as `{type: [texts]}`
/// (the scheme is told from the tags; or `entities(tags, scheme="BILOU")`). `{{ choices }}` is the list of choices,
/// unless the row has a column of that name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TaskConfig {
    /// The name; required.
    pub task: String,
    /// Files, folders or patterns with the rows, one or a list; none by default: then the caller names them.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<PathBuf>,
    /// The same for the rows of few-shot examples; without it they are drawn from `data`, never the row itself.
    #[serde(default, deserialize_with = "maybe_many", skip_serializing_if = "Option::is_none")]
    pub examples_data: Option<Vec<PathBuf>>,
    /// Examples before each prompt; 0 by default.
    #[serde(default)]
    pub num_fewshot: usize,
    /// Between an example and what follows it; a blank line by default.
    #[serde(default = "fewshot_delimiter")]
    pub fewshot_delimiter: String,
    /// Between a prompt and its target, in examples and before choices; a space by default.
    #[serde(default = "target_delimiter")]
    pub target_delimiter: String,
    /// A template that stands before everything, as it is (end it with a line break); empty by default.
    #[serde(default)]
    pub description: String,
    /// The template of the prompt, lm-eval's `doc_to_text`; required but for `loglikelihood_rolling`, which has none.
    #[serde(default)]
    pub prompt: String,
    /// The template of the right answer, lm-eval's `doc_to_target`; required.
    ///
    /// For `multiple_choice` it names one of the choices: a number is an index from 0; a text is a choice's text, or
    /// an index in digits (unless choices are numbers themselves), or a letter from A, alone or in brackets. For
    /// `generate_until` with choices an index stands for the text of that choice.
    #[serde(default)]
    pub target: TargetTemplate,
    /// The choices, lm-eval's `doc_to_choice`; required for `multiple_choice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Choices>,
    /// What the model does; `generate_until` by default.
    #[serde(default)]
    pub output: TaskOutput,
    /// Who the prompt is for; `plain` by default.
    #[serde(default)]
    pub form: PromptForm,
    /// How answers are written; of `generate_until` only.
    #[serde(default)]
    pub generation: GenerationOptions,
    /// From what a model wrote to its answer, in order; none by default. Of `generate_until` only.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// What is measured; required.
    #[serde(default)]
    pub metrics: Vec<TaskMetric>,
    /// The first rows only; all by default. The caller heeds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The seed of the few-shot draw and of the intervals; 0 by default.
    #[serde(default)]
    pub seed: u64,
}

fn fewshot_delimiter() -> String {
    "\n\n".to_owned()
}

fn target_delimiter() -> String {
    " ".to_owned()
}

/// One text, or else a list of texts.
fn texts(value: Value) -> Result<Result<String, Vec<String>>, String> {
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("found {other}, wanted a text")),
    };
    match value {
        Value::Array(items) => Ok(Err(items.into_iter().map(text).collect::<Result<_, _>>()?)),
        other => text(other).map(Ok),
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let texts = texts(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
    Ok(texts.map_or_else(|many| many, |one| vec![one]).into_iter().map(PathBuf::from).collect())
}

fn maybe_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<PathBuf>>, D::Error> {
    one_or_many(deserializer).map(Some)
}

impl TaskConfig {
    /// A task that asks `prompt` and wants `target` written; it still needs metrics.
    pub fn new(
        task: impl Into<String>,
        prompt: impl Into<String>,
        target: impl Into<TargetTemplate>,
    ) -> Self {
        Self {
            task: task.into(),
            data: Vec::new(),
            examples_data: None,
            num_fewshot: 0,
            fewshot_delimiter: fewshot_delimiter(),
            target_delimiter: target_delimiter(),
            description: String::new(),
            prompt: prompt.into(),
            target: target.into(),
            choices: None,
            output: TaskOutput::default(),
            form: PromptForm::default(),
            generation: GenerationOptions::default(),
            filters: Vec::new(),
            metrics: Vec::new(),
            limit: None,
            seed: 0,
        }
    }

    /// Reads rows from here.
    #[must_use]
    pub fn with_data<P: Into<PathBuf>>(mut self, data: impl IntoIterator<Item = P>) -> Self {
        self.data = data.into_iter().map(Into::into).collect();
        self
    }

    /// Puts this many examples before each prompt.
    #[must_use]
    pub fn with_num_fewshot(mut self, examples: usize) -> Self {
        self.num_fewshot = examples;
        self
    }

    /// Puts this before everything.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Offers these answers.
    #[must_use]
    pub fn with_choices(mut self, choices: Choices) -> Self {
        self.choices = Some(choices);
        self
    }

    /// Has the model do this.
    #[must_use]
    pub fn with_output(mut self, output: TaskOutput) -> Self {
        self.output = output;
        self
    }

    /// Addresses prompts this way.
    #[must_use]
    pub fn with_form(mut self, form: PromptForm) -> Self {
        self.form = form;
        self
    }

    /// Has answers written this way.
    #[must_use]
    pub fn with_generation(mut self, generation: GenerationOptions) -> Self {
        self.generation = generation;
        self
    }

    /// Finds answers by these.
    #[must_use]
    pub fn with_filters(mut self, filters: impl IntoIterator<Item = Filter>) -> Self {
        self.filters = filters.into_iter().collect();
        self
    }

    /// Measures these.
    #[must_use]
    pub fn with_metrics(mut self, metrics: impl IntoIterator<Item = TaskMetric>) -> Self {
        self.metrics = metrics.into_iter().collect();
        self
    }

    /// Draws with this seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
