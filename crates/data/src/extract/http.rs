//! Models behind OpenAI's chat-completions protocol.

use std::env;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use super::model::{Answer, LanguageModel, ModelError, Request};
use crate::error::DataError;

/// The most bytes of an answer that are read.
const MAX_BODY: u64 = 64 << 20;

/// What the endpoint is told about the form of answers (`response_format`).
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ResponseFormat {
    /// Nothing.
    #[default]
    Free,
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema; [`Schema::to_json_schema`](super::Schema::to_json_schema) makes one.
    JsonSchema(Value),
}

/// How to reach a model.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    /// The endpoint up to and without `/chat/completions` (`http://localhost:8000/v1`).
    pub base_url: String,
    /// The model's name.
    pub model: String,
    /// The environment variable that holds the key; `None` to send none.
    pub api_key_variable: Option<String>,
    /// The longest time for one request, from connecting to the answer's last byte.
    pub timeout: Duration,
    /// How often a request that failed for the moment is sent again.
    pub max_retries: u32,
    /// The wait before the first retry; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest wait, also where the endpoint asks for more.
    pub max_wait: Duration,
    /// The most requests in a minute, over all threads; `None` for no limit.
    pub requests_per_minute: Option<u32>,
    /// The form of answers.
    pub response_format: ResponseFormat,
}

impl HttpConfig {
    /// A model without key or limit; 2 minutes a request, 5 retries from 1 second on.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key_variable: None,
            timeout: Duration::from_secs(120),
            max_retries: 5,
            first_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(60),
            requests_per_minute: None,
            response_format: ResponseFormat::Free,
        }
    }

    /// Sets the environment variable that holds the key.
    #[must_use]
    pub fn with_api_key_variable(mut self, variable: impl Into<String>) -> Self {
        self.api_key_variable = Some(variable.into());
        self
    }

    /// Sets the longest time for one request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often a request is sent again.
    #[must_use]
    pub fn with_max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets the first and the longest wait.
    #[must_use]
    pub fn with_waits(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_wait, self.max_wait) = (first, longest);
        self
    }

    /// Sets the most requests in a minute.
    #[must_use]
    pub fn with_requests_per_minute(mut self, requests: u32) -> Self {
        self.requests_per_minute = Some(requests);
        self
    }

    /// Sets the form of answers.
    #[must_use]
    pub fn with_response_format(mut self, format: ResponseFormat) -> Self {
        self.response_format = format;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] for a URL that is not HTTP, an empty model, no time, or a limit of 0.
    pub fn validate(&self) -> Result<(), DataError> {
        let invalid = |field, found: String, wanted| Err(DataError::InvalidConfig { field, found, wanted });
        if !self.base_url.starts_with("http://") && !self.base_url.starts_with("https://") {
            return invalid("base_url", format!("{:?}", self.base_url), "a URL of http or https");
        }
        if self.model.is_empty() {
            return invalid("model", "empty".to_owned(), "the model's name");
        }
        if self.timeout.is_zero() {
            return invalid("timeout", "0 s".to_owned(), "more than nothing");
        }
        if self.requests_per_minute == Some(0) {
            return invalid("requests_per_minute", "0".to_owned(), "1 or more");
        }
        Ok(())
    }

    /// Makes the model.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`HttpConfig::validate`], and if the key's variable is not set.
    pub fn init(self) -> Result<HttpModel, DataError> {
        self.validate()?;
        let key = match &self.api_key_variable {
            None => None,
            Some(variable) => Some(env::var(variable).map_err(|error| DataError::InvalidConfig {
                field: "api_key_variable",
                found: format!("{variable:?} ({error})"),
                wanted: "an environment variable that holds the key",
            })?),
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            .build()
            .new_agent();
        Ok(HttpModel { config: self, key, agent, next_slot: Mutex::new(Instant::now()) })
    }
}

/// A model behind `POST {base_url}/chat/completions`, the protocol of OpenAI, vLLM, llama.cpp, Ollama and others.
///
/// Sent again, after a wait that doubles each time and is at least what `Retry-After` asks: the statuses 408, 409,
/// 425, 429 and 500 and above, broken connections, timeouts, and answers that are not the protocol's JSON. 401, 403 and
/// 404 stop a run; any other status, and an answer without a text (a refusal, which is paid for too), refuses the one
/// question.
pub struct HttpModel {
    config: HttpConfig,
    key: Option<String>,
    agent: Agent,
    next_slot: Mutex<Instant>,
}

/// Without the key.
impl std::fmt::Debug for HttpModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpModel").field("config", &self.config).finish_non_exhaustive()
    }
}

impl HttpModel {
    fn body(&self, request: &Request) -> Value {
        let message = |m: &crate::record::Message| json!({"role": m.role, "content": m.content});
        let messages: Vec<Value> = request.messages.iter().map(message).collect();
        let mut body = json!({"model": self.config.model, "messages": messages, "stream": false});
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        set("temperature", request.temperature.map(Value::from));
        set("max_tokens", request.max_tokens.map(Value::from));
        set("seed", request.seed.map(Value::from));
        set("response_format", self.response_format());
        body
    }

    fn response_format(&self) -> Option<Value> {
        match &self.config.response_format {
            ResponseFormat::Free => None,
            ResponseFormat::JsonObject => Some(json!({"type": "json_object"})),
            ResponseFormat::JsonSchema(schema) => Some(json!({
                "type": "json_schema",
                "json_schema": {"name": "extractions", "schema": schema, "strict": true},
            })),
        }
    }

    /// Waits for this request's turn.
    fn keep_rate(&self) {
        let Some(limit) = self.config.requests_per_minute else { return };
        let slot = {
            let mut next = self.next_slot.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = (*next).max(Instant::now());
            *next = slot + Duration::from_secs(60) / limit;
            slot
        };
        thread::sleep(slot.saturating_duration_since(Instant::now()));
    }

    fn send(&self, body: &str) -> Result<Answer, ModelError> {
        let temporary = |message: String| ModelError::Temporary { message, retry_after: None };
        let url = format!("{}/chat/completions", self.config.base_url.trim_end_matches('/'));
        let mut post = self.agent.post(&url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            post = post.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = post.send(body).map_err(|error| temporary(format!("{url}: {error}")))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("Retry-After")
            .and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let text = response
            .body_mut()
            .with_config()
            .limit(MAX_BODY)
            .read_to_string()
            .map_err(|error| temporary(format!("{url}: reading the answer: {error}")))?;
        let message = || format!("{url}: status {status}: {}", beginning(&text));
        match status {
            200..300 => read_answer(&text).unwrap_or_else(|| {
                Err(temporary(format!("{url}: not a chat completion: {}", beginning(&text))))
            }),
            408 | 409 | 425 | 429 | 500.. => Err(ModelError::Temporary { message: message(), retry_after }),
            401 | 403 | 404 => Err(ModelError::Fatal { message: message() }),
            _ => Err(ModelError::Refused { message: message() }),
        }
    }
}

impl LanguageModel for HttpModel {
    fn complete(&self, request: &Request) -> Result<Answer, ModelError> {
        let body = self.body(request).to_string();
        let mut wait = self.config.first_wait;
        let mut sent = 0;
        loop {
            self.keep_rate();
            let error = match self.send(&body) {
                Err(error @ ModelError::Temporary { .. }) => error,
                other => return other,
            };
            sent += 1;
            if sent > self.config.max_retries {
                let message = format!("{error} (sent {sent} times)");
                return Err(ModelError::Temporary { message, retry_after: None });
            }
            let asked = match &error {
                ModelError::Temporary { retry_after, .. } => retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            tracing::debug!(%error, "a request is sent again");
            thread::sleep(wait.max(asked).min(self.config.max_wait));
            wait = wait.saturating_mul(2);
        }
    }

    fn identity(&self) -> String {
        let format = self.response_format().map_or_else(String::new, |format| format.to_string());
        format!("{} {} {format}", self.config.base_url, self.config.model)
    }
}

/// `None` for what is not the protocol's.
fn read_answer(text: &str) -> Option<Result<Answer, ModelError>> {
    let body: Value = serde_json::from_str(text).ok()?;
    let choice = body.get("choices")?.get(0)?;
    let message = choice.get("message")?.as_object()?;
    let finish_reason = choice.get("finish_reason").and_then(Value::as_str).map(str::to_owned);
    let count = |name: &str| body.get("usage").and_then(|usage| usage.get(name)?.as_u64());
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => {
            let reason = message.get("refusal").and_then(Value::as_str).or(finish_reason.as_deref());
            let message = format!("an answer without a text: {}", reason.unwrap_or("no reason given"));
            return Some(Err(ModelError::Refused { message }));
        }
        Some(_) => return None,
    };
    Some(Ok(Answer {
        text,
        prompt_tokens: count("prompt_tokens"),
        completion_tokens: count("completion_tokens"),
        finish_reason,
    }))
}

fn beginning(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    short.split_whitespace().collect::<Vec<_>>().join(" ")
}
