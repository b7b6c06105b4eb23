//! What a task found out about a model.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::config::{PromptForm, TaskConfig, TaskOutput};
use super::filter::Filter;
use super::metric::TaskMetricName;
use super::score::TaskResponse;
use crate::report::{cell, fenced};

/// Items that Markdown shows.
const SHOWN_ITEMS: usize = 5;

/// A score with its error bars.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// The score, in the range of its metric.
    pub value: f64,
    /// Its standard error as lm-eval 0.4.13 computes it: sample deviation over √n for means, 100 resamples for `bleu`,
    /// `chrf` and `ter`; 1000 resamples where lm-eval has none. `None` for a single item.
    pub stderr: Option<f64>,
    /// The bounds of 95 % of 1000 resamples.
    pub interval: [f64; 2],
    /// Whether a rise is an improvement.
    pub higher_is_better: bool,
}

/// How the scores came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSettings {
    /// The version of this crate.
    pub version: String,
    /// The task.
    pub config: TaskConfig,
}

/// One item with its response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskItemResult {
    /// Where the row is from.
    pub place: String,
    /// The prompt, without description and few-shot examples.
    pub prompt: String,
    /// What the model made of it, so that it can be scored again.
    pub response: TaskResponse,
    /// What the filters found in it, or the likeliest choice; `None` where nothing was found, and for
    /// `loglikelihood_rolling`.
    pub answer: Option<String>,
    /// The right answers.
    pub references: Vec<String>,
    /// By metric. Of corpus metrics that of the item alone; a perplexity too large to be a number is left out.
    pub scores: BTreeMap<String, f64>,
}

/// The scores of a model on a task. Made by [`Task::score`](super::Task::score).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskReport {
    /// The name of the task.
    pub task: String,
    /// Number of items.
    pub examples: usize,
    /// Items in whose response the filters found no answer.
    pub not_found: usize,
    /// By metric.
    pub scores: BTreeMap<String, TaskScore>,
    /// How they came to be.
    pub settings: TaskSettings,
    /// The items, in the order given.
    pub items: Vec<TaskItemResult>,
}

impl TaskSettings {
    pub(super) fn new(config: &TaskConfig) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), config: config.clone() }
    }

    /// How the model was asked, in a line:
    /// `output:generate_until|form:plain|shots:5|seed:0|filters:gsm8k_flexible|decoding:greedy|tokens:256|version:0.1.0`.
    /// Stop strings, and the options of filters and metrics, are in [`TaskSettings::config`].
    pub fn signature(&self) -> String {
        let TaskConfig { output, form, num_fewshot, seed, filters, generation, limit, .. } = &self.config;
        let form = match form {
            PromptForm::Plain => "plain",
            PromptForm::Chat => "chat",
        };
        let mut text = format!("output:{}|form:{form}|shots:{num_fewshot}|seed:{seed}", output.name());
        if let Some(limit) = limit {
            let _ = write!(text, "|limit:{limit}");
        }
        if *output == TaskOutput::GenerateUntil {
            let names: Vec<&str> = filters.iter().map(Filter::name).collect();
            let filters = if names.is_empty() { "none".to_owned() } else { names.join("+") };
            let decoding = match generation.temperature {
                0.0 => "greedy".to_owned(),
                temperature => {
                    let all = || "all".to_owned();
                    let top_k = generation.top_k.map_or_else(all, |k| k.to_string());
                    let top_p = generation.top_p.map_or_else(all, |p| p.to_string());
                    format!(
                        "temperature {temperature}, top_k {top_k}, top_p {top_p}, seed {}",
                        generation.seed
                    )
                }
            };
            let _ =
                write!(text, "|filters:{filters}|decoding:{decoding}|tokens:{}", generation.max_new_tokens);
        }
        let _ = write!(text, "|version:{}", self.version);
        text
    }
}

impl TaskReport {
    /// The report as Markdown: the scores, the settings in a line, and the items that scored lowest by the task's first
    /// metric. Long texts are cut after 600 characters.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("# {}\n\n", cell(&self.task));
        out.push_str("| metric | score | stderr | 95 % interval | better |\n|---|---|---|---|---|\n");
        for (name, score) in &self.scores {
            let digits = digits(name);
            let number = |value: f64| format!("{value:.digits$}");
            let stderr = score.stderr.map_or_else(|| "–".to_owned(), number);
            let [low, high] = score.interval.map(number);
            let better = if score.higher_is_better { "higher" } else { "lower" };
            let _ = writeln!(
                out,
                "| {} | {} | {stderr} | {low} to {high} | {better} |",
                cell(name),
                number(score.value)
            );
        }
        let _ = writeln!(out, "\nExamples: {}.", self.examples);
        if self.not_found > 0 {
            let _ = writeln!(out, "Without an answer that the filters find: {}.", self.not_found);
        }
        let _ = writeln!(out, "Settings: `{}`.", self.settings.signature().replace('`', "'"));
        let shown = self.lowest();
        if !shown.is_empty() {
            out.push_str("\n## Lowest scores\n");
        }
        for item in shown {
            item.write(&mut out);
        }
        out
    }

    /// The items with the worst scores by the first metric.
    fn lowest(&self) -> Vec<&TaskItemResult> {
        let Some(metric) = self.settings.config.metrics.first() else {
            return Vec::new();
        };
        let (name, sign) = (metric.metric.name(), if metric.metric.higher_is_better() { 1.0 } else { -1.0 });
        let score =
            |item: &TaskItemResult| sign * item.scores.get(name).copied().unwrap_or(f64::NEG_INFINITY);
        let mut items: Vec<&TaskItemResult> = self.items.iter().collect();
        items.sort_by(|left, right| score(left).total_cmp(&score(right)));
        items.truncate(SHOWN_ITEMS);
        items
    }
}

impl TaskItemResult {
    fn write(&self, out: &mut String) {
        let _ = writeln!(out, "\n### {}", cell(&self.place));
        let mut section = |title: &str, text: &str| {
            let _ = write!(out, "\n{title}:\n\n{}\n", fenced(text));
        };
        if !self.prompt.is_empty() {
            section("Prompt", &self.prompt);
        }
        match &self.response {
            TaskResponse::Text(text) => section("Response", text),
            TaskResponse::Choices { .. } | TaskResponse::Rolling(_) => {}
        }
        match (&self.answer, &self.response) {
            (Some(answer), TaskResponse::Text(text)) if answer == text => {}
            (Some(answer), _) => section("Answer", answer),
            (None, TaskResponse::Text(_)) => section("Answer", "(none found)"),
            (None, _) => {}
        }
        for reference in &self.references {
            section("Reference", reference);
        }
        let scores: Vec<String> =
            self.scores.iter().map(|(name, score)| format!("{name} {score:.*}", digits(name))).collect();
        let _ = write!(out, "\nScores: {}\n", scores.join(", "));
    }
}

/// Two for scores in per cent, four for those around 1.
fn digits(name: &str) -> usize {
    let output = name.parse::<TaskMetricName>().map(TaskMetricName::output);
    if matches!(output, Ok(TaskOutput::GenerateUntil)) { 2 } else { 4 }
}
