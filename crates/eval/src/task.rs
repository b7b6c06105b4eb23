//! Tasks: a file that says what a model is asked about each row of data, and how its answers are scored.

mod check;
mod config;
mod file;
mod filter;
mod item;
mod jinja;
mod measure;
mod metric;
mod report;
mod score;
mod template;

use std::sync::Arc;

use serde_json::{Map, Value};

pub use self::config::{Choices, GenerationOptions, PromptForm, TargetTemplate, TaskConfig, TaskOutput};
pub use self::filter::{ChoiceAnswer, ChoiceOptions, Filter, RegexOptions};
pub use self::item::TaskItem;
pub use self::metric::{TaskMetric, TaskMetricName};
pub use self::report::{TaskItemResult, TaskReport, TaskScore, TaskSettings};
pub use self::score::{Likelihood, TaskResponse};

use self::filter::ReadyFilter;
use self::item::Shot;
use self::template::{Template, Templates};
use crate::error::{EvalError, TaskProblem};
use crate::exact_match::ExactMatch;
use crate::rng::Mt19937;

/// A task, ready to run. Made by [`TaskConfig::init`].
///
/// It turns rows into what a model is asked ([`item`](Self::item)) and the model's responses into scores
/// ([`score`](Self::score)); reading data and asking the model is the caller's part.
///
/// ```
/// use burnisher_eval::{TaskConfig, TaskMetric, TaskMetricName, TaskResponse};
/// use serde_json::json;
///
/// let task = TaskConfig::new("capitals", "Capital of {{ country }}?", "{{ capital }}")
///     .with_metrics([TaskMetric::new(TaskMetricName::Accuracy)])
///     .init()?;
/// let row = json!({ "country": "Peru", "capital": "Lima" });
/// let item = task.item(row.as_object().unwrap(), "capitals.jsonl:1")?;
/// assert_eq!((item.context.as_str(), item.references[0].as_str()), ("Capital of Peru?", "Lima"));
///
/// let report = task.score(&[item], &[TaskResponse::Text("Lima".to_owned())])?;
/// assert_eq!(report.scores["accuracy"].value, 100.0);
/// # Ok::<(), burnisher_eval::EvalError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Task {
    config: TaskConfig,
    templates: Arc<Templates>,
    description: Template,
    prompt: Template,
    targets: Vec<Template>,
    choices: Vec<Template>,
    filters: Vec<ReadyFilter>,
    /// Per metric of the configuration; only exact match has one.
    exact_matches: Vec<ExactMatch>,
    /// One more than a prompt takes, all different, so that an item can leave out its own row; `None` until given.
    shots: Option<Vec<Shot>>,
}

impl TaskConfig {
    /// Checks everything and compiles templates and patterns.
    ///
    /// # Errors
    /// [`EvalError::Task`] with all that is wrong, as [`TaskConfig::validate`].
    pub fn init(self) -> Result<Task, EvalError> {
        let origin = format!("task `{}`", self.task);
        self.prepare().map_err(|problems| EvalError::Task { task: origin, problems })
    }

    /// The task, or all that is wrong.
    fn prepare(self) -> Result<Task, Vec<TaskProblem>> {
        let mut problems = self.problems();
        let mut templates = Templates::new();
        let mut add = |field: String, source: &str| match templates.add(field, source) {
            Ok(template) => Some(template),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let description = add("description".to_owned(), &self.description);
        let prompt = add("prompt".to_owned(), &self.prompt);
        let mut listed = |field: &str, sources: &[String], is_list: bool| -> Vec<Template> {
            let named = |(at, source): (usize, &String)| {
                let field = if is_list { format!("{field}[{at}]") } else { field.to_owned() };
                add(field, source)
            };
            sources.iter().enumerate().filter_map(named).collect()
        };
        let targets =
            listed("target", self.target.sources(), matches!(self.target, TargetTemplate::Several(_)));
        let choices = match &self.choices {
            None => Vec::new(),
            Some(Choices::List(sources)) => listed("choices", sources, true),
            Some(Choices::Expression(source)) => listed("choices", std::slice::from_ref(source), false),
        };
        let is_expression = choices.iter().all(Template::is_expression);
        if matches!(self.choices, Some(Choices::Expression(_))) && !is_expression {
            let wanted = "a list, or one expression that gives a list such as {{ options }}";
            problems.push(TaskProblem::new("choices", format!("found a text; wanted {wanted}")));
        }
        let mut filters = Vec::new();
        for (at, filter) in self.filters.iter().enumerate() {
            match filter.init() {
                Ok(filter) => filters.push(filter),
                Err(error) => problems.push(TaskProblem::new(format!("filters[{at}]"), full(&error))),
            }
        }
        let mut exact_matches = Vec::new();
        for (at, metric) in self.metrics.iter().enumerate() {
            match metric.exact_match.init() {
                Ok(metric) => exact_matches.push(metric),
                Err(error) => problems.push(TaskProblem::new(format!("metrics[{at}]"), full(&error))),
            }
        }
        match (description, prompt) {
            (Some(description), Some(prompt)) if problems.is_empty() => Ok(Task {
                config: self,
                templates: Arc::new(templates),
                description,
                prompt,
                targets,
                choices,
                filters,
                exact_matches,
                shots: None,
            }),
            _ => Err(problems),
        }
    }
}

impl Task {
    /// What it was made of.
    pub fn config(&self) -> &TaskConfig {
        &self.config
    }

    /// Draws the examples that prompts begin with; without effect when `num_fewshot` is 0.
    ///
    /// The rows are put in an order that `seed` decides, and each prompt takes the first `num_fewshot` of them that
    /// are not its own row. (lm-eval draws anew for each row, so that scores depend on the order of rows.)
    ///
    /// # Errors
    /// [`EvalError::TaskItem`] for fewer different rows than `num_fewshot`, and as [`item`](Self::item).
    pub fn with_fewshot(mut self, rows: &[Map<String, Value>]) -> Result<Self, EvalError> {
        let wanted = self.config.num_fewshot;
        if wanted == 0 {
            return Ok(self);
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let mut generator = Mt19937::python(self.config.seed);
        let mut shots: Vec<Shot> = Vec::with_capacity(wanted.saturating_add(1).min(rows.len()));
        for at in 0..order.len() {
            let drawn = at + generator.scaled_below(order.len() - at);
            order.swap(at, drawn);
            let row = &rows[order[at]];
            if shots.iter().all(|shot| shot.row != *row) {
                shots.push(self.shot(row, &format!("few-shot row {}", order[at]))?);
            }
            if shots.len() > wanted {
                break;
            }
        }
        if shots.len() < wanted {
            let message = format!("found {} different rows, wanted at least {wanted}", shots.len());
            return Err(self.refuse("few-shot rows", "num_fewshot", message));
        }
        self.shots = Some(shots);
        Ok(self)
    }

    /// A choice as what follows the context: `target_delimiter` and the choice, as lm-eval has it. In a chat the
    /// choice alone, as it begins the assistant's message.
    pub fn continuation(&self, choice: &str) -> String {
        match self.config.form {
            PromptForm::Plain => format!("{}{choice}", self.config.target_delimiter),
            PromptForm::Chat => choice.to_owned(),
        }
    }

    /// Whether choices must also be scored without the context (after an empty one), for `acc_mutual_info`.
    pub fn needs_unconditional(&self) -> bool {
        self.config.metrics.iter().any(|metric| metric.metric == TaskMetricName::AccMutualInfo)
    }

    fn refuse(&self, place: &str, field: impl Into<String>, message: impl Into<String>) -> EvalError {
        let task = self.config.task.clone();
        EvalError::TaskItem { task, place: place.to_owned(), field: field.into(), message: message.into() }
    }
}

/// An error with its causes, of each the last line: above it regular expressions draw where they fail.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        text.push_str(": ");
        text.push_str(message.lines().last().map_or("", |line| line.trim_start_matches("error: ")));
        cause = error.source();
    }
    text
}
