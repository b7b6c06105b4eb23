//! What a fine-tuning run reports, as JSON and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bootstrap::BootstrapConfig;
use crate::compare::{ComparisonReport, MetricComparison};
use crate::error::EvalError;
use crate::forgetting::Forgetting;
use crate::metric::Metric;

/// The report's own fields, which a free field may not hide.
const FIELDS: [&str; 5] = ["metrics", "bootstrap", "general_loss", "general_metrics", "samples"];

/// Characters of a sample's text that Markdown shows.
const SHOWN: usize = 600;

/// An example with the answers before and after tuning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportSample {
    /// What the model was asked.
    pub prompt: String,
    /// What it should answer.
    pub reference: String,
    /// What it answered before tuning.
    pub base: String,
    /// What it answered after tuning.
    pub tuned: String,
}

/// Metrics, loss on general text, samples, and free fields beside them.
///
/// As JSON: `metrics.NAME.{base, tuned, difference, interval, …}` ([`MetricComparison`]),
/// `general_loss.{base, tuned, relative_change, verdict, …}` ([`Forgetting`]), `general_metrics` like `metrics`,
/// `bootstrap`, `samples`, and the free fields at the top. What is absent is left out, but for `metrics`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// By metric.
    #[serde(default)]
    pub metrics: BTreeMap<Metric, MetricComparison>,
    /// How the intervals of the metrics were drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapConfig>,
    /// Loss on general, held-out text before and after tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub general_loss: Option<Forgetting>,
    /// By metric, on general tasks: what the model may have forgotten.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub general_metrics: BTreeMap<Metric, MetricComparison>,
    /// Answers before and after tuning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<ReportSample>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl Report {
    /// A report without content.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over the metrics of a comparison.
    pub fn with_comparison(mut self, comparison: ComparisonReport) -> Self {
        self.metrics = comparison.metrics;
        self.bootstrap = Some(comparison.bootstrap);
        self
    }

    /// Adds the loss on general text.
    pub fn with_general_loss(mut self, loss: Forgetting) -> Self {
        self.general_loss = Some(loss);
        self
    }

    /// Adds the metrics of a comparison on general tasks.
    ///
    /// # Errors
    /// Other bootstrap options than those of the report's metrics.
    pub fn with_general_metrics(mut self, comparison: ComparisonReport) -> Result<Self, EvalError> {
        let bootstrap = *self.bootstrap.get_or_insert(comparison.bootstrap);
        if bootstrap != comparison.bootstrap {
            return Err(EvalError::Option {
                metric: "general metrics",
                option: "bootstrap",
                found: format!("{:?}", comparison.bootstrap),
                wanted: "the options of the report's metrics",
            });
        }
        self.general_metrics = comparison.metrics;
        Ok(self)
    }

    /// Adds answers before and after tuning.
    pub fn with_samples(mut self, samples: impl IntoIterator<Item = ReportSample>) -> Self {
        self.samples.extend(samples);
        self
    }

    /// Adds a free field, such as `trainable_parameters`, `peak_memory_bytes`, `tokens_per_second` or
    /// `seconds`. A later value of the same name replaces an earlier one.
    ///
    /// # Errors
    /// The name of one of the report's own fields.
    pub fn with_field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Result<Self, EvalError> {
        let name = name.into();
        if FIELDS.contains(&name.as_str()) {
            return Err(EvalError::ReservedField { name, reserved: FIELDS.join(", ") });
        }
        self.extra.insert(name, value.into());
        Ok(self)
    }

    /// The free fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.extra
    }

    /// The report as Markdown: a table of the metrics, a sentence on the general loss with a table of the
    /// general metrics, the free fields, the samples.
    ///
    /// Texts of samples are cut after 600 characters.
    pub fn to_markdown(&self) -> String {
        let mut out = String::from("# Report\n");
        self.table(&mut out, &self.metrics);
        if self.general_loss.is_some() || !self.general_metrics.is_empty() {
            out.push_str("\n## General text and tasks\n");
        }
        if let Some(loss) = &self.general_loss {
            let _ = write!(out, "\n{loss}\n");
        }
        self.table(&mut out, &self.general_metrics);
        if !self.extra.is_empty() {
            out.push_str("\n## Run\n\n| field | value |\n|---|---|\n");
            for (name, value) in &self.extra {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let _ = writeln!(out, "| {} | {} |", cell(name), cell(&value));
            }
        }
        if !self.samples.is_empty() {
            out.push_str("\n## Samples\n");
        }
        for (index, sample) in self.samples.iter().enumerate() {
            let _ = write!(out, "\n### Sample {}\n", index + 1);
            let texts = [
                ("Prompt", &sample.prompt),
                ("Reference", &sample.reference),
                ("Before", &sample.base),
                ("After", &sample.tuned),
            ];
            for (title, text) in texts {
                let _ = write!(out, "\n{title}:\n\n{}\n", fenced(text));
            }
        }
        out
    }

    fn table(&self, out: &mut String, metrics: &BTreeMap<Metric, MetricComparison>) {
        if metrics.is_empty() {
            return;
        }
        let confidence = self.bootstrap.map_or(0.95, |bootstrap| bootstrap.confidence);
        let _ = write!(
            out,
            "\n| metric | base | tuned | difference | {} % interval | p | examples |\n\
             |---|---|---|---|---|---|---|\n",
            100.0 * confidence
        );
        for (metric, score) in metrics {
            let MetricComparison { base, tuned, difference, interval: [low, high], p_value, count, .. } =
                score;
            let _ = writeln!(
                out,
                "| {metric} | {base:.2} | {tuned:.2} | {difference:+.2} | {low:+.2} to {high:+.2} | {p_value:.3} \
                 | {count} |"
            );
        }
        let unparsable = metrics.values().find_map(|score| score.base_unparsable.zip(score.tuned_unparsable));
        if let Some((base, tuned)) = unparsable {
            let _ = write!(out, "\nAnswers without a JSON object: base {base}, tuned {tuned}.\n");
        }
    }
}

/// A text that stays within one cell of a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A code block whose fence is longer than any run of backticks in the text.
pub(crate) fn fenced(text: &str) -> String {
    let end = text.char_indices().nth(SHOWN).map_or(text.len(), |(end, _)| end);
    let (shown, more) = (&text[..end], if end < text.len() { "…" } else { "" });
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{shown}{more}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_break_out() {
        assert_eq!(cell("a|b\n\\"), "a\\|b \\\\");
        assert_eq!(fenced("x ```` y"), "`````text\nx ```` y\n`````");
        let long = fenced(&"ä".repeat(SHOWN + 1));
        assert_eq!(long, format!("```text\n{}…\n```", "ä".repeat(SHOWN)));
    }

    #[test]
    fn own_fields_are_not_hidden() {
        let error = Report::new().with_field("metrics", 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "report: found a field named `metrics`, wanted a name other than metrics, bootstrap, general_loss, general_metrics, samples"
        );
    }
}
