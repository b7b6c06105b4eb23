//! From a record to the question a model is asked and the answer it should give.

use serde_json::Value;

use crate::error::DataError;
use crate::mask;
use crate::record::{Body, Message, Origin, Record};
use crate::tokenizer::Tokenizer;

/// What a model is asked for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompt {
    /// The tokens the model continues, those that training puts before the answer.
    pub ids: Vec<u32>,
    /// The question as a person reads it: the prompt, the last user's words, or instruction and input.
    pub question: String,
    /// The answer in the record.
    pub reference: String,
    /// Where the record stands.
    pub origin: Origin,
}

impl Prompt {
    /// The prompt of a record. Of a conversation it is everything before the last assistant's turn.
    ///
    /// # Errors
    ///
    /// [`DataError::NoAssistantText`] for plain text and for a conversation without an assistant;
    /// [`DataError::TemplateRequired`] and [`DataError::TemplateRefused`] for conversations;
    /// [`DataError::Tokenizer`] if the tokenizer cannot spell the text.
    pub fn new(record: &Record, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let origin = &record.origin;
        let (ids, question, reference) = match &record.body {
            Body::Text(_) => return Err(no_answer(origin, "plain text, which asks nothing")),
            Body::Completion { prompt, completion } => {
                (tokenizer.encode_prompt(prompt)?, prompt.clone(), completion.clone())
            }
            Body::Messages(messages) => {
                let last = messages.iter().rposition(|message| message.role == "assistant");
                let Some(last) = last else {
                    return Err(no_answer(origin, "a conversation without an assistant's turn"));
                };
                let ids = chat_ids(tokenizer, &messages[..last], record.tools(), origin)?;
                let asked = messages[..last].iter().rfind(|message| message.role == "user");
                let question = asked.map(|message| message.content.clone()).unwrap_or_default();
                (ids, question, messages[last].content.clone())
            }
            Body::Alpaca { instruction, input, output } => {
                let question = alpaca_question(instruction, input);
                let ids = match tokenizer.chat_template() {
                    Some(_) => chat_ids(tokenizer, &[Message::new("user", question.as_str())], &[], origin)?,
                    None => tokenizer.encode_prompt(&alpaca_prompt(instruction, input))?,
                };
                (ids, question, output.clone())
            }
            Body::Question { question, context, answer } => {
                let asked = question_in_context(question, context);
                let ids = match tokenizer.chat_template() {
                    Some(_) => chat_ids(tokenizer, &[Message::new("user", asked.as_str())], &[], origin)?,
                    None => tokenizer.encode_prompt(&question_prompt(question, context))?,
                };
                (ids, asked, answer.clone())
            }
        };
        Ok(Self { ids, question, reference, origin: origin.clone() })
    }
}

fn no_answer(origin: &Origin, found: &str) -> DataError {
    DataError::NoAssistantText { origin: origin.clone(), found: found.to_owned() }
}

fn chat_ids(
    tokenizer: &Tokenizer,
    messages: &[Message],
    tools: &[Value],
    origin: &Origin,
) -> Result<Vec<u32>, DataError> {
    let Some(template) = tokenizer.chat_template() else {
        return Err(DataError::TemplateRequired { origin: origin.clone() });
    };
    let rendered = template
        .refuse_hidden_tools(messages, tools)
        .and_then(|()| template.render_with_tools(messages, tools, true))
        .map_err(|error| mask::refused(origin, error))?;
    tokenizer.encode(&rendered.text, false)
}

impl Tokenizer {
    /// The tokens of a text that something follows: with the tokenizer's special tokens, but not with the end of
    /// sequence that a post-processor may append.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let ends_in_eos = |ids: &[u32]| ids.last().is_some_and(|last| Some(*last) == self.eos_id());
        let mut ids = self.encode(text, true)?;
        if ends_in_eos(&ids) && !ends_in_eos(&self.encode(text, false)?) {
            ids.pop();
        }
        Ok(ids)
    }
}

/// The user's turn of an alpaca record.
pub(crate) fn alpaca_question(instruction: &str, input: &str) -> String {
    match input.trim().is_empty() {
        true => instruction.to_owned(),
        false => format!("{instruction}\n\n{input}"),
    }
}

/// The prompt of an alpaca record for a tokenizer without a chat template (the Alpaca project's headings).
pub(crate) fn alpaca_prompt(instruction: &str, input: &str) -> String {
    let input = if input.trim().is_empty() { String::new() } else { format!("### Input:\n{input}\n\n") };
    format!("### Instruction:\n{instruction}\n\n{input}### Response:\n")
}

/// The user's turn of a question: what it is about, a blank line, and what is asked.
pub(crate) fn question_in_context(question: &str, context: &str) -> String {
    match context.trim().is_empty() {
        true => question.to_owned(),
        false => format!("{context}\n\n{question}"),
    }
}

/// The prompt of a question for a tokenizer without a chat template.
pub(crate) fn question_prompt(question: &str, context: &str) -> String {
    format!("{}\n", question_in_context(question, context))
}
