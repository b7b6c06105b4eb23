//! From a model's responses to scores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Task;
use super::config::TaskOutput;
use super::item::TaskItem;
use super::measure::{self, Measured};
use super::metric::TaskMetricName;
use super::report::{TaskItemResult, TaskReport, TaskScore, TaskSettings};
use crate::bootstrap::BootstrapConfig;
use crate::error::{EvalError, check_pairs, check_references};
use crate::multiple_choice::{Choice, Chosen, Question};

/// How likely a model finds a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// Σ ln p(token | tokens before), in nats; null in JSON for −∞.
    #[serde(with = "or_minus_infinity")]
    pub log_likelihood: f64,
    /// Whether the model would have written the text itself, taking the likeliest token each time.
    pub is_greedy: bool,
    /// Tokens in the sum.
    pub tokens: usize,
}

mod or_minus_infinity {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Some(*value).filter(|value| value.is_finite()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NEG_INFINITY))
    }
}

/// What a model made of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskResponse {
    /// Of `generate_until`: what it wrote. What follows one of `until` does not count.
    Text(String),
    /// Of `multiple_choice`: how likely each choice is, in their order.
    Choices {
        /// [`Task::continuation`] of each after the context.
        conditional: Vec<Likelihood>,
        /// The same after an empty context; only [`Task::needs_unconditional`] reads it.
        unconditional: Option<Vec<Likelihood>>,
    },
    /// Of `loglikelihood_rolling`: the reference as a whole text, every token scored once.
    Rolling(Likelihood),
}

impl TaskResponse {
    fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Choices { .. } => "likelihoods of choices",
            Self::Rolling(_) => "the likelihood of a text",
        }
    }
}

/// What the metrics of an output read.
enum Answers {
    Texts(Vec<Option<String>>),
    Choices(Vec<Chosen>),
    /// Losses in nats with their numbers of tokens.
    Losses(Vec<(f64, usize)>),
}

impl Task {
    /// The scores of responses to items, one each, in the same order.
    ///
    /// An answer that the filters did not find scores 0 (in corpus metrics it is an empty text), whatever the
    /// reference.
    ///
    /// # Errors
    /// No items or not equally many responses, a response of another kind than [`TaskConfig::output`] asks for, an item
    /// without reference, likelihoods that are not one per choice or not numbers, and what the metrics refuse.
    ///
    /// [`TaskConfig::output`]: super::TaskConfig::output
    pub fn score(&self, items: &[TaskItem], responses: &[TaskResponse]) -> Result<TaskReport, EvalError> {
        const METRIC: &str = "task";
        check_pairs(METRIC, responses.len(), items.len())?;
        let references: Vec<Vec<String>> = items.iter().map(|item| item.references.clone()).collect();
        check_references(METRIC, responses.len(), &references)?;
        let answers = self.answers(items, responses)?;
        let bootstrap = BootstrapConfig::default().with_seed(self.config.seed);

        let mut scores = BTreeMap::new();
        let mut per_item = vec![BTreeMap::new(); items.len()];
        for (at, metric) in self.config.metrics.iter().enumerate() {
            let name = metric.metric;
            let measured: Measured = match &answers {
                Answers::Texts(texts) => {
                    measure::texts(name, &self.exact_matches[at], texts, &references, &bootstrap)?
                }
                Answers::Choices(chosen) => {
                    let gold: Vec<Option<usize>> = items.iter().map(|item| item.gold).collect();
                    measure::choices(name, chosen, &gold, &bootstrap)?
                }
                Answers::Losses(losses) => measure::losses(name, losses, &references, &bootstrap)?,
            };
            for (scores, value) in per_item.iter_mut().zip(&measured.items) {
                // Of a single text a perplexity may be too large to be a number.
                if value.is_finite() {
                    scores.insert(name.name().to_owned(), *value);
                }
            }
            let Measured { value, stderr, interval, .. } = measured;
            let score = TaskScore { value, stderr, interval, higher_is_better: name.higher_is_better() };
            scores.insert(name.name().to_owned(), score);
        }

        let results: Vec<TaskItemResult> = items
            .iter()
            .zip(responses)
            .zip(per_item)
            .enumerate()
            .map(|(at, ((item, response), scores))| TaskItemResult {
                place: item.place.clone(),
                prompt: item.prompt.clone(),
                response: response.clone(),
                answer: match &answers {
                    Answers::Texts(texts) => texts[at].clone(),
                    Answers::Choices(chosen) => item.choices.get(chosen[at].likeliest).cloned(),
                    Answers::Losses(_) => None,
                },
                references: item.references.clone(),
                scores,
            })
            .collect();
        let not_found = match &answers {
            Answers::Texts(texts) => texts.iter().filter(|text| text.is_none()).count(),
            _ => 0,
        };
        Ok(TaskReport {
            task: self.config.task.clone(),
            examples: items.len(),
            not_found,
            scores,
            settings: TaskSettings::new(&self.config),
            items: results,
        })
    }

    fn answers(&self, items: &[TaskItem], responses: &[TaskResponse]) -> Result<Answers, EvalError> {
        let pairs = || items.iter().zip(responses).enumerate();
        Ok(match self.config.output {
            TaskOutput::GenerateUntil => {
                let found = pairs().map(|(_, (item, response))| self.answer(item, response));
                Answers::Texts(found.collect::<Result<_, _>>()?)
            }
            TaskOutput::MultipleChoice => {
                let found = pairs().map(|(at, (item, response))| self.chosen(at, item, response));
                Answers::Choices(found.collect::<Result<_, _>>()?)
            }
            TaskOutput::LoglikelihoodRolling => {
                let found = pairs().map(|(_, (item, response))| self.loss(item, response));
                Answers::Losses(found.collect::<Result<_, _>>()?)
            }
        })
    }

    fn no_response(&self, item: &TaskItem, message: impl Into<String>) -> EvalError {
        self.refuse(&item.place, "response", message)
    }

    fn wrong_kind(&self, item: &TaskItem, response: &TaskResponse) -> EvalError {
        let (found, output) = (response.name(), self.config.output.name());
        self.no_response(item, format!("found {found}, which does not answer {output}"))
    }

    /// What the filters find in a text.
    fn answer(&self, item: &TaskItem, response: &TaskResponse) -> Result<Option<String>, EvalError> {
        let TaskResponse::Text(text) = response else {
            return Err(self.wrong_kind(item, response));
        };
        let mut answer = self.config.generation.cut(text).to_owned();
        for (at, filter) in self.filters.iter().enumerate() {
            let found = filter.apply(&answer, &item.choices);
            let refuse = |error| self.refuse(&item.place, format!("filters[{at}]"), super::full(&error));
            match found.map_err(refuse)? {
                Some(found) => answer = found,
                None => return Ok(None),
            }
        }
        Ok(Some(answer))
    }

    fn chosen(&self, at: usize, item: &TaskItem, response: &TaskResponse) -> Result<Chosen, EvalError> {
        let TaskResponse::Choices { conditional, unconditional } = response else {
            return Err(self.wrong_kind(item, response));
        };
        let wanted = item.choices.len();
        let counts = [Some(conditional.len()), unconditional.as_ref().map(Vec::len)];
        if let Some(found) = counts.into_iter().flatten().find(|found| *found != wanted) {
            return Err(self.no_response(
                item,
                format!("found {found} likelihoods, wanted one for each of {wanted} choices"),
            ));
        }
        let unconditional = match unconditional {
            _ if !self.needs_unconditional() => None,
            None => {
                let message = "found no likelihoods without the context, which acc_mutual_info needs";
                return Err(self.no_response(item, message));
            }
            given => given.as_ref(),
        };
        let choice = |(at, likelihood): (usize, &Likelihood)| Choice {
            text: item.choices[at].clone(),
            log_likelihood: likelihood.log_likelihood,
            unconditional: unconditional.map(|all| all[at].log_likelihood),
        };
        let choices = conditional.iter().enumerate().map(choice).collect();
        let Some(gold) = item.gold else {
            return Err(self.refuse(&item.place, "target", "the item has no right choice"));
        };
        let chosen = Question { choices, gold }.choose(at);
        chosen.map_err(|error| self.no_response(item, error.to_string()))
    }

    fn loss(&self, item: &TaskItem, response: &TaskResponse) -> Result<(f64, usize), EvalError> {
        let TaskResponse::Rolling(Likelihood { log_likelihood, tokens, .. }) = response else {
            return Err(self.wrong_kind(item, response));
        };
        if !log_likelihood.is_finite() {
            let message = format!("found a log-likelihood of {log_likelihood}, wanted a finite number");
            return Err(self.no_response(item, message));
        }
        if item.references[0].is_empty() {
            return Err(self.refuse(&item.place, "target", "the text is empty"));
        }
        let per_token = TaskMetricName::Answer(crate::metric::Metric::Perplexity);
        if *tokens == 0 && self.config.metrics.iter().any(|metric| metric.metric == per_token) {
            return Err(self.no_response(item, "found 0 tokens, wanted at least 1 for perplexity"));
        }
        Ok((-log_likelihood, *tokens))
    }
}
