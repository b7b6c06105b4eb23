//! A model asked as a task says: texts, choices by their likelihood, likelihoods of whole texts.

use burnisher_data::{Message, Tokenizer};
use burnisher_eval::{EvalError, Likelihood, PromptForm, Task, TaskItem, TaskOutput, TaskResponse};
use burnisher_models::{CausalLm, Continuation, GenerateConfig, SampleConfig, Sampling};

use crate::answers::continued;
use crate::{ConfigProblem, TrainError};

/// What a model made of the items of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskAnswers {
    /// One response for each item, in their order, for [`Task::score`].
    pub responses: Vec<TaskResponse>,
    /// Items whose prompt lost its beginning, since with the answer it does not fit into the model's window.
    pub truncated: usize,
}

/// A model, and what it takes to ask it.
struct Asked<'a> {
    model: &'a CausalLm,
    tokenizer: &'a Tokenizer,
    task: &'a Task,
    /// The token that stands before a text without context: the beginning of a sequence, else its end.
    prefix: u32,
    window: usize,
    truncated: usize,
}

/// Asks a model what a task's items ask, as `HFLM` of lm-eval 0.4.13 does: greedy or sampled texts that end before a stop
/// string or at one of `stop_ids`; the log-likelihood of each choice after the context; or of whole texts, every token
/// scored once in windows as long as the model's. Prompts have the tokenizer's special tokens, as in training (`HFLM` puts
/// no beginning-of-sequence token before them unless `add_bos_token` is set).
///
/// Items of similar length run together, `batch_size` at a time; `progress` is told how many of how many passes are done.
///
/// # Errors
/// [`TrainError::Config`] for a chat without a chat template, [`TrainError::Model`] for what the model cannot read.
pub fn ask_task(
    task: &Task,
    items: &[TaskItem],
    model: &CausalLm,
    tokenizer: &Tokenizer,
    stop_ids: &[u32],
    batch_size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TaskAnswers, TrainError> {
    let prefix = tokenizer.bos_id().or(tokenizer.eos_id()).unwrap_or(0);
    let window = model.config().max_position_embeddings;
    let mut asked = Asked { model, tokenizer, task, prefix, window, truncated: 0 };
    let responses = match task.config().output {
        TaskOutput::GenerateUntil => asked.texts(items, stop_ids, batch_size, progress)?,
        TaskOutput::MultipleChoice => asked.choices(items, batch_size, progress)?,
        TaskOutput::LoglikelihoodRolling => asked.rolling(items, batch_size, progress)?,
    };
    Ok(TaskAnswers { responses, truncated: asked.truncated })
}

impl Asked<'_> {
    fn texts(
        &mut self,
        items: &[TaskItem],
        stop_ids: &[u32],
        batch_size: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<TaskResponse>, TrainError> {
        let options = &self.task.config().generation;
        let mut config = GenerateConfig::new()
            .with_max_new_tokens(options.max_new_tokens)
            .with_stop_ids(stop_ids.to_vec());
        if options.temperature > 0.0 {
            let mut sample = SampleConfig::new(options.temperature);
            if let Some(k) = options.top_k {
                sample = sample.with_top_k(k);
            }
            if let Some(p) = options.top_p {
                sample = sample.with_top_p(p);
            }
            config = config.with_sampling(Sampling::Random(sample), options.seed);
        }
        // lm-eval, too, leaves room for the whole answer.
        let room = self.window.saturating_sub(options.max_new_tokens);
        if room == 0 {
            let wanted = format!("less than the model's window of {} tokens", self.window);
            let found = options.max_new_tokens;
            let problem = ConfigProblem::value("generation.max_new_tokens", found, wanted);
            return Err(TrainError::Config(vec![problem]));
        }
        let mut prompts = Vec::with_capacity(items.len());
        for item in items {
            let mut ids = self.context_ids(&self.context(item)?)?;
            self.truncated += usize::from(keep_last(&mut ids, room));
            prompts.push(ids);
        }
        let ids: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let mut done = |count| progress(count, items.len());
        let texts = continued(self.model, self.tokenizer, &ids, options, &config, batch_size, &mut done)?;
        Ok(texts.into_iter().map(TaskResponse::Text).collect())
    }

    fn choices(
        &mut self,
        items: &[TaskItem],
        batch_size: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<TaskResponse>, TrainError> {
        let is_twice = self.task.needs_unconditional();
        let mut wanted = Vec::new();
        for item in items {
            let context = self.context(item)?;
            let mut is_cut = false;
            for context in [Some(context.as_str()), is_twice.then_some("")].into_iter().flatten() {
                for choice in &item.choices {
                    let (pair, cut) = self.pair(context, &self.task.continuation(choice))?;
                    if pair.ids.is_empty() {
                        return Err(self.no_tokens(item, choice));
                    }
                    is_cut |= cut;
                    wanted.push(pair);
                }
            }
            self.truncated += usize::from(is_cut);
        }
        let mut found = self.likelihoods(&wanted, batch_size, progress)?.into_iter();
        let mut take = |count: usize| found.by_ref().take(count).collect();
        let responses = items.iter().map(|item| TaskResponse::Choices {
            conditional: take(item.choices.len()),
            unconditional: is_twice.then(|| take(item.choices.len())),
        });
        Ok(responses.collect())
    }

    fn rolling(
        &mut self,
        items: &[TaskItem],
        batch_size: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<TaskResponse>, TrainError> {
        let (mut wanted, mut counts) = (Vec::new(), Vec::with_capacity(items.len()));
        for item in items {
            let text = item.references.first().map_or("", String::as_str);
            let before = wanted.len();
            wanted.extend(windows(&self.tokenizer.encode(text, false)?, self.prefix, self.window));
            counts.push(wanted.len() - before);
        }
        let mut found = self.likelihoods(&wanted, batch_size, progress)?.into_iter();
        let none = Likelihood { log_likelihood: 0.0, is_greedy: true, tokens: 0 };
        let sum = |sum: Likelihood, part: Likelihood| Likelihood {
            log_likelihood: sum.log_likelihood + part.log_likelihood,
            is_greedy: sum.is_greedy && part.is_greedy,
            tokens: sum.tokens + part.tokens,
        };
        Ok(counts
            .into_iter()
            .map(|count| TaskResponse::Rolling(found.by_ref().take(count).fold(none, sum)))
            .collect())
    }

    /// The text that the model reads; a chat is rendered.
    fn context(&self, item: &TaskItem) -> Result<String, TrainError> {
        if !self.is_chat() {
            return Ok(item.context.clone());
        }
        let Some(template) = self.tokenizer.chat_template() else {
            let found = "chat, and a tokenizer without a chat template";
            return Err(TrainError::Config(vec![ConfigProblem::value("form", found, "plain")]));
        };
        Ok(template.render(&[Message::new("user", item.context.as_str())], true)?.text)
    }

    fn is_chat(&self) -> bool {
        self.task.config().form == PromptForm::Chat
    }

    /// The tokens of a context; at least one.
    fn context_ids(&self, context: &str) -> Result<Vec<u32>, TrainError> {
        let ids = match self.is_chat() {
            false => self.tokenizer.encode_prompt(context)?,
            // The chat template writes the special tokens itself.
            true => self.tokenizer.encode(context, false)?,
        };
        Ok(if ids.is_empty() { vec![self.prefix] } else { ids })
    }

    /// A context and what follows it in tokens, divided as lm-eval does: white space at the end of the context belongs to
    /// the continuation, which is what the tokens of both as one text have beyond those of the context. And whether the
    /// context was cut.
    fn pair(&self, context: &str, continuation: &str) -> Result<(Continuation, bool), TrainError> {
        let split = context.trim_end().len();
        let (context, spaces) = context.split_at(split);
        let continuation = format!("{spaces}{continuation}");
        let (mut context, ids) = if context.is_empty() {
            (vec![self.prefix], self.tokenizer.encode(&continuation, false)?)
        } else {
            let before = self.context_ids(context)?;
            let mut whole = self.context_ids(&format!("{context}{continuation}"))?;
            let ids = whole.split_off(before.len().min(whole.len()));
            (before, ids)
        };
        let room = (self.window + 1).saturating_sub(ids.len()).max(1);
        let is_cut = keep_last(&mut context, room);
        Ok((Continuation { context, ids }, is_cut))
    }

    /// The tokenizer joins a choice with the end of the prompt.
    fn no_tokens(&self, item: &TaskItem, choice: &str) -> TrainError {
        let message = format!(
            "found {choice:?}, which with the prompt before it has no token of its own; wanted a target_delimiter or \
             a choice that begins with white space"
        );
        let (task, place) = (self.task.config().task.clone(), item.place.clone());
        TrainError::Eval(EvalError::TaskItem { task, place, field: "choices".to_owned(), message })
    }

    fn likelihoods(
        &self,
        wanted: &[Continuation],
        batch_size: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Likelihood>, TrainError> {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|&at| wanted[at].context.len() + wanted[at].ids.len());
        let mut found = vec![Likelihood { log_likelihood: 0.0, is_greedy: true, tokens: 0 }; wanted.len()];
        let mut done = 0;
        for group in order.chunks(batch_size.max(1)) {
            let batch: Vec<Continuation> = group.iter().map(|&at| wanted[at].clone()).collect();
            for (&at, one) in group.iter().zip(self.model.log_likelihoods(&batch)?) {
                found[at] = Likelihood {
                    log_likelihood: one.log_likelihood,
                    is_greedy: one.is_greedy,
                    tokens: wanted[at].ids.len(),
                };
            }
            done += group.len();
            progress(done, wanted.len());
        }
        Ok(found)
    }
}

/// Leaves the last tokens; true if some went.
fn keep_last(ids: &mut Vec<u32>, room: usize) -> bool {
    let before = ids.len();
    ids.drain(..before.saturating_sub(room));
    ids.len() < before
}

/// The windows in which every token of a text is scored once: the first after `prefix`, each later one with as much before
/// it as the window holds. lm-eval's `get_rolling_token_windows` with `context_len` 1, made disjoint.
fn windows(ids: &[u32], prefix: u32, window: usize) -> Vec<Continuation> {
    let window = window.max(1);
    let mut found = Vec::new();
    for start in (0..ids.len()).step_by(window) {
        let end = (start + window).min(ids.len());
        let context = match start {
            0 => vec![prefix],
            _ => ids[(end - window - 1).min(start - 1)..start].to_vec(),
        };
        found.push(Continuation { context, ids: ids[start..end].to_vec() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_of_lm_eval() {
        let pairs = |count: u32, window| -> Vec<(Vec<u32>, Vec<u32>)> {
            let ids: Vec<u32> = (0..count).collect();
            windows(&ids, 100, window).into_iter().map(|part| (part.context, part.ids)).collect()
        };
        assert_eq!(pairs(0, 4), []);
        assert_eq!(pairs(3, 4), [(vec![100], vec![0, 1, 2])]);
        // Ten tokens in windows of four, as in lm-eval's own test of disjoint windows.
        let wanted =
            [(vec![100], vec![0, 1, 2, 3]), (vec![3], vec![4, 5, 6, 7]), (vec![5, 6, 7], vec![8, 9])];
        assert_eq!(pairs(10, 4), wanted);
    }
}
