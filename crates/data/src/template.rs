//! Conversations to text, as Hugging Face's chat templates render them.

mod builtin;
mod clock;
mod generation;
mod output;
mod python_json;

use std::error::Error as _;
use std::ops::Range;
use std::{panic, thread};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Map;

use crate::error::DataError;
use crate::record::Message;

pub use self::builtin::BuiltinTemplate;

/// The template's name in the engine, which its messages show.
const NAME: &str = "chat_template";

/// What one rendering may cost, in instructions or in 64 bytes of text: less than a second, and 128 MB. Templates come
/// with models from anywhere, and those in use need less than a hundred for a message.
const MAX_FUEL: u64 = 2_000_000;

/// The longest templates in use have a fifth of it.
const MAX_SOURCE_BYTES: usize = 1 << 17;

/// The engine's compiler goes a call deeper for each operator of a chain, and an operator may be one byte.
const STACK_PER_BYTE: usize = 4096;

/// A chat template: Jinja source that turns messages into the text a model was trained on.
///
/// Renders as transformers 5 does (`utils/chat_template_utils.py`): `trim_blocks` and `lstrip_blocks` are on, loop
/// controls are there, nothing is escaped, `tojson` prints what Python's `json.dumps` prints, and Python's methods of
/// strings and dictionaries work. Templates see:
///
/// | name | value |
/// |---|---|
/// | `messages` | a list of `{role, content}` |
/// | `add_generation_prompt` | whether the text shall end with the header of an answer |
/// | `tools`, `documents` | the tools, else `none`; always `none` |
/// | `bos_token`, `eos_token`, … | the tokenizer's special tokens, where it has them |
/// | `raise_exception(message)` | stops with that message |
/// | `strftime_now(format)` | the time in UTC (transformers takes the local time); see [`ChatTemplate::with_clock`] |
///
/// `{% generation %}` … `{% endgeneration %}` marks what the assistant says, see [`Rendered::assistant`].
///
/// ```
/// use burnisher_data::{ChatTemplate, Message};
///
/// let source = "{% for m in messages %}<{{ m.role }}>{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
/// let template = ChatTemplate::parse(source, None, None)?;
/// let rendered = template.render(&[Message::new("assistant", "Yes.")], false)?;
/// assert_eq!(rendered.text, "<assistant>Yes.");
/// assert_eq!(rendered.assistant, [11..15]);
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    has_generation_tags: bool,
    /// What was set on top of the source, for [`ChatTemplate::settings`].
    variables: Map<String, serde_json::Value>,
    clock: Option<i64>,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The byte ranges of `text` that stood between `{% generation %}` and `{% endgeneration %}`, in order and apart
    /// from each other, without the empty ones.
    pub assistant: Vec<Range<usize>>,
    /// Whether the template has these tags at all.
    pub has_generation_tags: bool,
}

impl ChatTemplate {
    /// Parses a template's source; `bos` and `eos` are the texts of the tokenizer's special tokens.
    ///
    /// # Errors
    ///
    /// [`DataError::Template`] with the line if the source is no template, and if it has more than 128 KiB.
    pub fn parse(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, DataError> {
        if source.len() > MAX_SOURCE_BYTES {
            let message = format!("{} bytes, wanted at most {MAX_SOURCE_BYTES}", source.len());
            return Err(DataError::Template { message });
        }
        let rewritten = generation::rewrite(source);
        let has_generation_tags = rewritten.is_some();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let mut environment = Environment::new();
        environment.set_syntax(syntax.map_err(|error| template_error(&error))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(MAX_FUEL));
        environment.set_formatter(output::write);
        environment.add_filter("tojson", python_json::tojson);
        environment.add_filter(generation::FILTER, generation::mark);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |format: String| strftime(&format, clock::now()));
        compile(&mut environment, rewritten.unwrap_or_else(|| source.to_owned()))?;
        let source = source.to_owned();
        let mut template =
            Self { source, environment, has_generation_tags, variables: Map::new(), clock: None };
        for (name, text) in [("bos_token", bos), ("eos_token", eos)] {
            if let Some(text) = text {
                template = template.with_variable(name, text);
            }
        }
        Ok(template)
    }

    /// Sets a variable that the template sees (`pad_token`, `enable_thinking`, …).
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        let value: serde_json::Value = value.into();
        self.variables.insert(name.to_owned(), value.clone());
        self.environment.add_global(name.to_owned(), Value::from(Serde(value)));
        self
    }

    /// Fixes the time that `strftime_now` tells, in seconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn with_clock(mut self, unix_seconds: i64) -> Self {
        self.clock = Some(unix_seconds);
        self.environment.add_function("strftime_now", move |format: String| strftime(&format, unix_seconds));
        self
    }

    /// The source, as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template marks assistant text with `{% generation %}` tags.
    pub fn has_generation_tags(&self) -> bool {
        self.has_generation_tags
    }

    /// What was set on top of the source: variables and the fixed time, as a text.
    pub(crate) fn settings(&self) -> String {
        format!("{} {:?}", serde_json::Value::from(self.variables.clone()), self.clock)
    }

    /// Whether the text may depend on the time at which it is rendered.
    pub(crate) fn tells_time(&self) -> bool {
        self.clock.is_none() && self.source.contains("strftime_now")
    }

    /// Refuses tools and calls that cannot change the text, because the template does not look at them: transformers
    /// leaves them out without a word, and a record would teach something else than it holds.
    pub(crate) fn refuse_hidden_tools(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
    ) -> Result<(), DataError> {
        let hidden = |name: &str| !self.source.contains(name);
        let calls = messages.iter().any(|message| !message.tool_calls().is_empty());
        let name = match (!tools.is_empty() && hidden("tools"), calls && hidden("tool_calls")) {
            (true, _) => "tools",
            (_, true) => "tool_calls",
            _ => return Ok(()),
        };
        let message = format!("the record has `{name}`, which the template does not show");
        Err(DataError::Template { message })
    }

    /// Renders a conversation; with `add_generation_prompt`, the text ends where the assistant would begin to write.
    ///
    /// # Errors
    ///
    /// [`DataError::Template`] if the template refuses the conversation, does what the engine cannot do, does not come to
    /// an end within 2 million steps or 128 MB of text, or if the conversation holds one of the two private-use characters that stand for generation tags (U+10FFF0, U+10FFF1).
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Rendered, DataError> {
        self.render_with_tools(messages, &[], add_generation_prompt)
    }

    /// Renders a conversation with tools that the assistant may call, as JSON schemas.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::render`].
    pub fn render_with_tools(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        add_generation_prompt: bool,
    ) -> Result<Rendered, DataError> {
        if self.has_generation_tags {
            refuse_sentinels(messages, tools)?;
        }
        let turns = messages.iter().map(|message| {
            let turn = [("role", message.role.as_str()), ("content", message.content.as_str())];
            let turn = turn.map(|(key, text)| (key, Value::from(text)));
            let extra = message.extra.iter().map(|(key, value)| (key.as_str(), Value::from(Serde(value))));
            Value::from_pairs(turn.into_iter().chain(extra))
        });
        let tools = if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) };
        let context = Value::from_pairs([
            ("messages", turns.collect::<Value>()),
            ("tools", tools),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
        ]);
        let template = self.environment.get_template(NAME);
        let rendered = template.and_then(|template| template.render(context));
        let rendered = rendered.map_err(|error| template_error(&error))?;
        if !self.has_generation_tags {
            return Ok(Rendered { text: rendered, assistant: Vec::new(), has_generation_tags: false });
        }
        let (text, assistant) = generation::take_ranges(&rendered).ok_or_else(|| DataError::Template {
            message: "it cuts apart what stands between {% generation %} and {% endgeneration %}".to_owned(),
        })?;
        Ok(Rendered { text, assistant, has_generation_tags: true })
    }
}

/// Compiles the template, on a stack that no source of this length fills.
fn compile(environment: &mut Environment<'static>, source: String) -> Result<(), DataError> {
    let size = STACK_PER_BYTE * (source.len() + 512);
    thread::scope(|scope| {
        let compiled = thread::Builder::new()
            .stack_size(size)
            .spawn_scoped(scope, || environment.add_template_owned(NAME, source))
            .map_err(|error| DataError::Template { message: format!("no thread to compile it: {error}") })?
            .join();
        match compiled {
            Ok(compiled) => compiled.map_err(|error| template_error(&error)),
            Err(panic) => panic::resume_unwind(panic),
        }
    })
}

fn refuse_sentinels(messages: &[Message], tools: &[serde_json::Value]) -> Result<(), DataError> {
    let texts = messages.iter().flat_map(|message| [&message.role, &message.content]);
    let extra = messages.iter().flat_map(|message| message.extra.values());
    let sentinel = texts
        .filter_map(|text| generation::find_sentinel(text))
        .chain(tools.iter().filter_map(|tool| generation::find_sentinel(&tool.to_string())))
        .chain(extra.filter_map(|value| generation::find_sentinel(&value.to_string())))
        .next();
    sentinel.map_or(Ok(()), |found| {
        let message = format!(
            "the conversation holds the private-use character U+{:X}, which stands for {{% generation %}}",
            u32::from(found)
        );
        Err(DataError::Template { message })
    })
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime(format: &str, seconds: i64) -> Result<String, Error> {
    clock::format(format, seconds).map_err(|directive| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {directive:?} is not supported"))
    })
}

/// The engine's message with its causes; it names the line of the template.
fn template_error(error: &Error) -> DataError {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    DataError::Template { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected texts: Jinja2 3.1 with the tags as an extension that parses a block, and the same settings.
    #[test]
    fn white_space_around_generation_tags_is_that_of_block_tags() {
        let messages = [Message::new("user", "u"), Message::new("assistant", "a")];
        let cases = [
            (
                "{% for m in messages %}\n  {% generation %}\n    {{ m.content }}\n  {% endgeneration %}\n  x\n{% endfor %}",
                "    u\n  x\n    a\n  x\n",
                vec!["    u\n", "    a\n"],
            ),
            (
                "{% for m in messages %}\n  [{%- generation %}\n {{ m.content }} {%- endgeneration -%}  ]\n{% endfor %}\n",
                "  [ u]\n  [ a]\n",
                vec![" u", " a"],
            ),
            ("a {% generation %} b {% endgeneration %} c\n\n", "a  b  c\n", vec![" b "]),
        ];
        for (source, text, marked) in cases {
            let template = ChatTemplate::parse(source, None, None).unwrap_or_else(|error| panic!("{error}"));
            let rendered = template.render(&messages, false).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rendered.text, text, "{source:?}");
            let found: Vec<&str> =
                rendered.assistant.iter().map(|range| &rendered.text[range.clone()]).collect();
            assert_eq!(found, marked, "{source:?}");
        }
    }

    #[test]
    fn bad_templates_and_conversations_are_errors() {
        for source in ["{% if %}", "{% generation %}", "{{ 'open", "{% for m in messages %}"] {
            let error = ChatTemplate::parse(source, None, None).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.starts_with("chat template: syntax error")), "{source}");
        }
        let message = |source: &str, text: &str| -> String {
            let template = ChatTemplate::parse(source, None, None).unwrap_or_else(|error| panic!("{error}"));
            let rendered = template.render(&[Message::new("user", text)], false);
            rendered.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let refused = message("{{ raise_exception('No ' + messages[0].role) }}", "");
        assert!(refused.contains("No user") && refused.contains("chat_template:1"), "{refused}");
        let undefined = message("\n{{ messages[0].name.first }}", "");
        assert!(undefined.contains("chat_template:2"), "{undefined}");
        assert!(message("{{ strftime_now('%Q') }}", "").contains("%Q"));
        let tagged = "{% generation %}{{ messages[0].content }}{% endgeneration %}";
        assert!(message(tagged, "a\u{10FFF1}").contains("U+10FFF1"));
        let cut = "{% set x %}{% generation %}ab{% endgeneration %}{% endset %}{{ x[1:] }}";
        assert!(message(cut, "").contains("cuts apart"));
        assert_eq!(message("{{ messages[0].content }}", "\u{10FFF1}"), "");
    }

    /// Found when the fuzz targets were written: the stack ended.
    #[test]
    fn long_chains_compile_or_are_errors() {
        let parse = |source: &str| ChatTemplate::parse(source, None, None).map(|_| ());
        for (open, part, close) in [
            ("{{ ", "-", "1 }}"),
            ("{{ ", "not ", "1 }}"),
            ("{{ 1", "+1", " }}"),
            ("{{ 1", "|int", " }}"),
            ("{{ x", ".a", " }}"),
            ("{{ x", "[0]", " }}"),
            ("{% if 1 %}", "{% elif 1 %}", "{% endif %}"),
        ] {
            let count = (MAX_SOURCE_BYTES - open.len() - close.len()) / part.len();
            let _ = parse(&format!("{open}{}{close}", part.repeat(count)));
        }
        let long = parse(&" ".repeat(MAX_SOURCE_BYTES + 1)).err().map(|error| error.to_string());
        assert!(long.is_some_and(|message| message.contains("131073 bytes, wanted at most 131072")));
    }

    /// Found when the fuzz targets were written: templates that take hours, and all memory.
    #[test]
    fn templates_without_an_end_are_errors() {
        let doubled = "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
        for source in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
            "{{ 'a' * 100000000000 }}".to_owned(),
            format!("{doubled}{{{{ ns.x }}}}"),
            format!("{doubled}{{{{ ns.x | tojson }}}}"),
        ] {
            let template = ChatTemplate::parse(&source, None, None).unwrap_or_else(|error| panic!("{error}"));
            let error = template.render(&[], false).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("fuel")), "{source}");
        }
    }
}
