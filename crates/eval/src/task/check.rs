//! What can be wrong with a task's fields, one by one and together.

use super::config::{Choices, GenerationOptions, PromptForm, TargetTemplate, TaskConfig, TaskOutput};
use super::filter::Filter;
use super::metric::TaskMetricName;
use crate::error::{EvalError, TaskProblem};
use crate::metric::Metric;

impl TaskConfig {
    /// Checks every field, templates and patterns among them.
    ///
    /// # Errors
    /// [`EvalError::Task`] with all that is wrong.
    pub fn validate(&self) -> Result<(), EvalError> {
        self.clone().init().map(|_| ())
    }

    /// What is wrong with the values, templates and patterns aside.
    pub(super) fn problems(&self) -> Vec<TaskProblem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, field: &str, found: &str, wanted: &str| {
            if !holds {
                problems.push(TaskProblem::new(field, format!("found {found}; wanted {wanted}")));
            }
        };
        let rolling = self.output == TaskOutput::LoglikelihoodRolling;
        let (generates, output) = (self.output == TaskOutput::GenerateUntil, self.output.name());
        require(!self.task.trim().is_empty(), "task", "no name", "one");
        if rolling {
            let wanted = "none: loglikelihood_rolling scores the target as a whole text";
            require(self.prompt.is_empty(), "prompt", "one", wanted);
            require(self.description.is_empty(), "description", "one", wanted);
            require(
                self.num_fewshot == 0,
                "num_fewshot",
                &self.num_fewshot.to_string(),
                "0 for loglikelihood_rolling",
            );
            let plain = self.form == PromptForm::Plain;
            require(plain, "form", "chat", "plain for loglikelihood_rolling");
            let single = matches!(self.target, TargetTemplate::One(_));
            require(single, "target", "a list", "one template for loglikelihood_rolling");
        } else {
            require(!self.prompt.trim().is_empty(), "prompt", "none", "a template");
        }
        let has_target = self.target.sources().iter().any(|source| !source.is_empty());
        require(has_target, "target", "none", "a template, or a list of them");
        let has_choices = match &self.choices {
            None => false,
            Some(Choices::Expression(_)) => true,
            Some(Choices::List(list)) => {
                require(list.len() > 1, "choices", &list.len().to_string(), "at least 2");
                true
            }
        };
        let needs = self.output == TaskOutput::MultipleChoice;
        require(has_choices || !needs, "choices", "none", "a list for multiple_choice");
        require(!(has_choices && rolling), "choices", "some", "none for loglikelihood_rolling");
        for (at, filter) in self.filters.iter().enumerate() {
            let field = format!("filters[{at}]");
            require(generates, &field, filter.name(), &format!("none for {output}, which writes no answer"));
            let without = generates && !has_choices && matches!(filter, Filter::Choice(_));
            require(!without, &field, "choice", "the field choices beside it");
        }
        require(!self.metrics.is_empty(), "metrics", "none", "at least one");
        for (at, metric) in self.metrics.iter().enumerate() {
            let (field, name) = (format!("metrics[{at}]"), metric.metric);
            let fits = name.output() == self.output;
            let wanted = format!("one of {} for {output}", TaskMetricName::list(self.output));
            require(fits, &field, name.name(), &wanted);
            let twice = self.metrics[..at].iter().any(|other| other.metric == name);
            require(!twice, &field, &format!("{} again", name.name()), "each metric once");
            let used = name == TaskMetricName::Answer(Metric::ExactMatch)
                || metric.exact_match == Default::default();
            require(used, &field, &format!("options of exact_match for {}", name.name()), "none");
        }
        let GenerationOptions { until, max_new_tokens, temperature, top_p, top_k, .. } = &self.generation;
        let positive = *temperature >= 0.0 && temperature.is_finite();
        require(*max_new_tokens > 0, "generation.max_new_tokens", "0", "at least 1");
        require(positive, "generation.temperature", &temperature.to_string(), "a number of at least 0");
        if let Some(top_p) = top_p {
            let fits = *top_p > 0.0 && *top_p <= 1.0;
            require(fits, "generation.top_p", &top_p.to_string(), "a number above 0, at most 1");
        }
        require(*top_k != Some(0), "generation.top_k", "0", "at least 1");
        require(!until.iter().any(String::is_empty), "generation.until", "an empty text", "texts");
        require(self.limit != Some(0), "limit", "0", "at least 1");
        problems
    }
}
