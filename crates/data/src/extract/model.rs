//! Who is asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::record::Message;

/// One question to a model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// The conversation; the answer follows its last message.
    pub messages: Vec<Message>,
    /// The sampling temperature; `None` leaves it to the model.
    pub temperature: Option<f64>,
    /// The most tokens of an answer; `None` leaves it to the model.
    pub max_tokens: Option<u32>,
    /// The seed of sampling, different for each pass and attempt.
    pub seed: Option<u64>,
    /// The pass over the documents, counted from 0.
    pub pass: u32,
    /// How often the same question was asked before because its answer could not be read.
    pub attempt: u32,
}

impl Request {
    /// A first question.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, temperature: None, max_tokens: None, seed: None, pass: 0, attempt: 0 }
    }

    /// SHA-256 of everything that makes the answer what it is, the model's identity included, in hexadecimal.
    pub fn key(&self, model: &str) -> String {
        let messages: Vec<[&str; 2]> = self.messages.iter().map(|m| [&*m.role, &*m.content]).collect();
        let content =
            json!([model, messages, self.temperature, self.max_tokens, self.seed, self.pass, self.attempt]);
        let digest = Sha256::digest(content.to_string().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Tokens of the question, where the model says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, where the model says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
    /// Why the model stopped (`stop`, `length`), where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
}

impl Answer {
    /// An answer of which only the text is known.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Asking again may help.
    #[error("{message}")]
    Temporary {
        /// What happened.
        message: String,
        /// How long the model asks to wait.
        retry_after: Option<Duration>,
    },
    /// This question will never be answered; others may be.
    #[error("{message}")]
    Refused {
        /// What happened.
        message: String,
    },
    /// No question will be answered: a wrong key, an unknown model. A run asks nothing more.
    #[error("{message}")]
    Fatal {
        /// What happened.
        message: String,
    },
}

/// Something that answers: an endpoint, a local model, a closure.
///
/// ```
/// use burnisher_data::extract::{Answer, LanguageModel, ModelError, Request};
///
/// let parrot = |request: &Request| -> Result<Answer, ModelError> {
///     Ok(Answer::new(request.messages.last().map_or("", |message| &message.content)))
/// };
/// let question = Request::new(vec![burnisher_data::Message::new("user", "Hello")]);
/// assert_eq!(parrot.complete(&question)?.text, "Hello");
/// # Ok::<(), ModelError>(())
/// ```
pub trait LanguageModel: Send + Sync {
    /// Answers a question; called from several threads at once.
    ///
    /// # Errors
    ///
    /// [`ModelError`]; a run does not ask again by itself, so retries belong here.
    fn complete(&self, request: &Request) -> Result<Answer, ModelError>;

    /// What tells this model's answers from another's in a cache: name, version, place.
    fn identity(&self) -> String {
        String::new()
    }
}

impl<F: Fn(&Request) -> Result<Answer, ModelError> + Send + Sync> LanguageModel for F {
    fn complete(&self, request: &Request) -> Result<Answer, ModelError> {
        self(request)
    }
}

impl LanguageModel for &dyn LanguageModel {
    fn complete(&self, request: &Request) -> Result<Answer, ModelError> {
        (**self).complete(request)
    }

    fn identity(&self) -> String {
        (**self).identity()
    }
}

impl LanguageModel for Box<dyn LanguageModel> {
    fn complete(&self, request: &Request) -> Result<Answer, ModelError> {
        (**self).complete(request)
    }

    fn identity(&self) -> String {
        (**self).identity()
    }
}
