//! Multiple choice by log-likelihood: the answer a model finds most likely.

use serde::{Deserialize, Serialize};

use crate::error::EvalError;

const METRIC: &str = "multiple choice";

/// One answer to choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its text, whose length normalises.
    pub text: String,
    /// ln p(text | question), in nats.
    pub log_likelihood: f64,
    /// ln p(text) without the question, in nats, where it was measured.
    pub unconditional: Option<f64>,
}

/// A question with its answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The answers.
    pub choices: Vec<Choice>,
    /// Position of the right one, from 0.
    pub gold: usize,
}

/// What a model chose, by position; of equally likely answers the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// By log-likelihood.
    pub likeliest: usize,
    /// By log-likelihood per code point.
    pub per_character: usize,
    /// By log-likelihood per UTF-8 byte.
    pub per_byte: usize,
    /// By log-likelihood minus the unconditional one, where all have one.
    pub mutual_information: Option<usize>,
    /// Σ (softmax of the log-likelihoods − right)², 0..2.
    pub brier: f64,
}

/// Means over questions, named as in lm-eval 0.4.13. All 0..1 but `brier`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultipleChoiceScore {
    /// By log-likelihood.
    pub acc: f64,
    /// By log-likelihood per code point.
    pub acc_norm: f64,
    /// By log-likelihood per UTF-8 byte.
    pub acc_bytes: f64,
    /// By log-likelihood minus the unconditional one; `None` where an answer lacks it.
    pub acc_mutual_info: Option<f64>,
    /// Mean Brier score, 0..2, lower is better.
    pub brier: f64,
    /// Per question.
    pub chosen: Vec<Chosen>,
}

impl Question {
    /// What the model chose; `index` is the question's position in errors.
    ///
    /// # Errors
    /// No answers, a right answer that is not there, a log-likelihood that is not a number, or none that is
    /// finite, an empty text.
    pub fn choose(&self, index: usize) -> Result<Chosen, EvalError> {
        let refuse = |what, found: String, wanted| {
            Err(EvalError::Value { metric: METRIC, what, index, found, wanted })
        };
        if self.gold >= self.choices.len() {
            let found = format!("{} of {} answers", self.gold, self.choices.len());
            return refuse("the right answer of question", found, "one of the answers, from 0");
        }
        let given = self.choices.iter().flat_map(|c| [Some(c.log_likelihood), c.unconditional]).flatten();
        if let Some(value) = given.into_iter().find(|value| value.is_nan() || *value == f64::INFINITY) {
            return refuse("a log-likelihood of question", value.to_string(), "a number");
        }
        if self.choices.iter().any(|choice| choice.text.is_empty()) {
            return refuse("an answer of question", "empty".to_owned(), "a text");
        }
        let most = self.choices.iter().map(|c| c.log_likelihood).fold(f64::NEG_INFINITY, f64::max);
        if most == f64::NEG_INFINITY {
            return refuse("every log-likelihood of question", most.to_string(), "one that is finite");
        }
        let best = |score: &dyn Fn(&Choice) -> f64| {
            let mut best = 0;
            for at in 1..self.choices.len() {
                if score(&self.choices[at]) > score(&self.choices[best]) {
                    best = at;
                }
            }
            best
        };
        let weights: Vec<f64> = self.choices.iter().map(|c| (c.log_likelihood - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        let square =
            |(at, weight): (usize, &f64)| (weight / total - f64::from(u8::from(at == self.gold))).powi(2);
        let all_unconditional = self.choices.iter().all(|choice| choice.unconditional.is_some());
        Ok(Chosen {
            likeliest: best(&|choice| choice.log_likelihood),
            per_character: best(&|choice| choice.log_likelihood / choice.text.chars().count() as f64),
            per_byte: best(&|choice| choice.log_likelihood / choice.text.len() as f64),
            mutual_information: all_unconditional
                .then(|| best(&|choice| choice.log_likelihood - choice.unconditional.unwrap_or(0.0))),
            brier: weights.iter().enumerate().map(square).sum(),
        })
    }
}

/// The accuracy of a model on questions.
///
/// # Errors
/// No questions, and as [`Question::choose`].
pub fn multiple_choice(questions: &[Question]) -> Result<MultipleChoiceScore, EvalError> {
    if questions.is_empty() {
        return Err(EvalError::Empty { metric: METRIC });
    }
    let chosen: Vec<Chosen> = questions
        .iter()
        .enumerate()
        .map(|(index, question)| question.choose(index))
        .collect::<Result<_, _>>()?;
    let count = questions.len() as f64;
    let share = |of: &dyn Fn(&Chosen) -> Option<usize>| {
        let right = |(chosen, question): &(&Chosen, &Question)| of(chosen) == Some(question.gold);
        chosen.iter().zip(questions).filter(right).count() as f64 / count
    };
    Ok(MultipleChoiceScore {
        acc: share(&|chosen| Some(chosen.likeliest)),
        acc_norm: share(&|chosen| Some(chosen.per_character)),
        acc_bytes: share(&|chosen| Some(chosen.per_byte)),
        acc_mutual_info: chosen
            .iter()
            .all(|chosen| chosen.mutual_information.is_some())
            .then(|| share(&|chosen| chosen.mutual_information)),
        brier: chosen.iter().map(|chosen| chosen.brier).sum::<f64>() / count,
        chosen,
    })
}
