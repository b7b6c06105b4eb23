//! What the model is asked.

use super::format::AnswerFormat;
use super::task::Task;
use crate::record::Message;

/// How a request is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PromptStyle {
    /// One user message with `Q:` and `A:` lines, langextract's form.
    #[default]
    QuestionAnswer,
    /// The instructions as the system's message, every example as a turn of user and assistant.
    Turns,
}

/// What stands before a chunk: the tail of the chunk before it in the same document, and the document's own context.
///
/// ```
/// use burnisher_data::extract::chunk_context;
///
/// let context = chunk_context(Some(("Dr. Sarah Johnson arrived.", 8)), Some("A ward round."));
/// assert_eq!(context.as_deref(), Some("[Previous text]: ...arrived.\n\nA ward round."));
/// ```
pub fn chunk_context(before: Option<(&str, usize)>, own: Option<&str>) -> Option<String> {
    let tail = |(text, chars): (&str, usize)| {
        let from = text.char_indices().rev().take(chars).last().map_or(text.len(), |(at, _)| at);
        format!("[Previous text]: ...{}", &text[from..])
    };
    let own = own.filter(|own| !own.is_empty()).map(str::to_owned);
    let parts: Vec<String> =
        before.filter(|(_, chars)| *chars > 0).map(tail).into_iter().chain(own).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

/// The prompt of langextract 1.7.1 (`prompting.py`, `QAPromptGenerator`): instructions, context, examples, and the
/// text as the last question.
pub fn question_answer(task: &Task, format: &AnswerFormat, text: &str, context: Option<&str>) -> String {
    let mut parts = vec![format!("{}\n", task.instructions)];
    parts.extend(context.filter(|context| !context.is_empty()).map(|context| format!("{context}\n")));
    if !task.examples.is_empty() {
        parts.push("Examples".to_owned());
        for example in &task.examples {
            parts.push(format!("Q: {}\nA: {}\n", example.text, format.render(&example.extractions)));
        }
    }
    parts.push(format!("Q: {text}"));
    parts.push("A: ".to_owned());
    parts.join("\n")
}

/// The request for one text in the given style.
pub fn messages(
    task: &Task,
    format: &AnswerFormat,
    style: PromptStyle,
    text: &str,
    context: Option<&str>,
) -> Vec<Message> {
    match style {
        PromptStyle::QuestionAnswer => {
            vec![Message::new("user", question_answer(task, format, text, context))]
        }
        PromptStyle::Turns => {
            let mut messages = vec![Message::new("system", task.instructions.clone())];
            for example in &task.examples {
                messages.push(Message::new("user", example.text.clone()));
                messages.push(Message::new("assistant", format.render(&example.extractions)));
            }
            let question = context.map_or_else(|| text.to_owned(), |context| format!("{context}\n\n{text}"));
            messages.push(Message::new("user", question));
            messages
        }
    }
}
