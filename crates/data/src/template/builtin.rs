//! The chat templates of well-known model families, with `{% generation %}` tags.

use std::fmt;
use std::str::FromStr;

use super::ChatTemplate;
use crate::error::DataError;

/// The source of a template that refuses tools, which the family's own template leaves out without a word.
macro_rules! without_tools {
    ($name:literal) => {
        concat!(
            "{%- set template_name = '",
            $name,
            "' %}\n",
            include_str!("builtin/without_tools.jinja"),
            include_str!(concat!("builtin/", $name, ".jinja"))
        )
    };
}

/// A chat template that comes with this crate, for models that bring none or one without `{% generation %}` tags.
///
/// Each renders what the family's own template renders, and marks as trained what the assistant writes: its text and the
/// token that ends its turn, without the header before and the line break behind.
///
/// | name | a turn | conversation |
/// |---|---|---|
/// | `chatml` | `<\|im_start\|>role⏎text<\|im_end\|>⏎` | any roles, tools |
/// | `gemma` | `<start_of_turn>role⏎text<end_of_turn>⏎`, the assistant is `model` | user first, in turn, no system |
/// | `llama2` | `<s>[INST] text [/INST] answer </s>` | system optional, then user first, in turn |
/// | `llama3` | `<\|start_header_id\|>role<\|end_header_id\|>⏎⏎text<\|eot_id\|>` | any roles |
/// | `llama3.1` | the same, after a system turn that names the day | any roles, tools |
/// | `mistral` | `[INST] text [/INST]answer</s> ` | user first, in turn, no system |
/// | `phi3` | `<\|role\|>⏎text<\|end\|>⏎`, EOS at the end | system, user, assistant |
/// | `zephyr` | `<\|role\|>⏎text</s>⏎` | system, user, assistant |
///
/// ChatML shows tools, calls and their results as Qwen 2.5 and 3 do (`<tools>`, `<tool_call>`, `<tool_response>`), Llama 3.1
/// as JSON in the first user turn, one call a turn; in both, arguments that are a text stand as they are. The others have no
/// format for tools: a conversation with tools, calls or results is an error there.
///
/// ```
/// use burnisher_data::{BuiltinTemplate, ChatTemplate, Message};
///
/// let template = ChatTemplate::builtin(BuiltinTemplate::Llama3)?;
/// let messages = [Message::new("user", "Are you sure?"), Message::new("assistant", "Yes.")];
/// let rendered = template.render(&messages, false)?;
/// assert_eq!(&rendered.text[rendered.assistant[0].clone()], "Yes.<|eot_id|>");
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuiltinTemplate {
    /// ChatML, as Qwen's and many other models have it, without a default system prompt.
    ChatMl,
    /// Gemma 1 and 2.
    Gemma,
    /// Llama 2 Chat.
    Llama2,
    /// Llama 3 Instruct.
    Llama3,
    /// Llama 3.1 Instruct. The day is the variable `date_string`, else `26 Jul 2024`; Llama 3.2 has the present one.
    Llama31,
    /// Mistral 7B Instruct v0.1.
    Mistral,
    /// Phi-3 Instruct.
    Phi3,
    /// Zephyr.
    Zephyr,
}

impl BuiltinTemplate {
    /// Every template, by name.
    pub const ALL: [Self; 8] = [
        Self::ChatMl,
        Self::Gemma,
        Self::Llama2,
        Self::Llama3,
        Self::Llama31,
        Self::Mistral,
        Self::Phi3,
        Self::Zephyr,
    ];

    /// The name: `chatml`, `gemma`, `llama2`, `llama3`, `llama3.1`, `mistral`, `phi3` or `zephyr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatMl => "chatml",
            Self::Gemma => "gemma",
            Self::Llama2 => "llama2",
            Self::Llama3 => "llama3",
            Self::Llama31 => "llama3.1",
            Self::Mistral => "mistral",
            Self::Phi3 => "phi3",
            Self::Zephyr => "zephyr",
        }
    }

    /// The Jinja source, for [`Tokenizer::with_chat_template`](crate::Tokenizer::with_chat_template).
    pub fn source(self) -> &'static str {
        match self {
            Self::ChatMl => include_str!("builtin/chatml.jinja"),
            Self::Gemma => without_tools!("gemma"),
            Self::Llama2 => without_tools!("llama2"),
            Self::Llama3 => without_tools!("llama3"),
            Self::Llama31 => include_str!("builtin/llama3_1.jinja"),
            Self::Mistral => without_tools!("mistral"),
            Self::Phi3 => without_tools!("phi3"),
            Self::Zephyr => without_tools!("zephyr"),
        }
    }

    /// BOS and EOS of the family's own tokenizer; ChatML, which belongs to no tokenizer, has its end of a turn as EOS.
    pub fn bos_and_eos(self) -> (Option<&'static str>, &'static str) {
        match self {
            Self::ChatMl => (None, "<|im_end|>"),
            Self::Gemma => (Some("<bos>"), "<eos>"),
            Self::Llama2 | Self::Mistral | Self::Zephyr => (Some("<s>"), "</s>"),
            Self::Llama3 | Self::Llama31 => (Some("<|begin_of_text|>"), "<|eot_id|>"),
            Self::Phi3 => (Some("<s>"), "<|endoftext|>"),
        }
    }

    /// The tokens, beside BOS and EOS, that the vocabulary should have as single tokens.
    pub fn turn_tokens(self) -> &'static [&'static str] {
        match self {
            Self::ChatMl => &["<|im_start|>", "<|im_end|>"],
            Self::Gemma => &["<start_of_turn>", "<end_of_turn>"],
            Self::Llama2 | Self::Mistral => &[],
            Self::Llama3 | Self::Llama31 => &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
            Self::Phi3 => &["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
            // Zephyr's own tokenizer spells its headers in letters.
            Self::Zephyr => &[],
        }
    }
}

impl fmt::Display for BuiltinTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuiltinTemplate {
    type Err = DataError;

    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] for a name that is none of [`BuiltinTemplate::ALL`].
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|template| template.as_str() == name);
        found.ok_or_else(|| DataError::InvalidConfig {
            field: "chat template",
            found: format!("{name:?}"),
            wanted: "chatml, gemma, llama2, llama3, llama3.1, mistral, phi3 or zephyr",
        })
    }
}

impl ChatTemplate {
    /// A template of this crate with BOS and EOS of the family's own tokenizer. For another tokenizer:
    /// [`Tokenizer::with_builtin_template`](crate::Tokenizer::with_builtin_template).
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::parse`]; never in practice.
    pub fn builtin(template: BuiltinTemplate) -> Result<Self, DataError> {
        let (bos, eos) = template.bos_and_eos();
        Self::parse(template.source(), bos, Some(eos))
    }
}
