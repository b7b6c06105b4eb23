//! The chat templates of the crate: renderings, and masks over random conversations.

use std::collections::HashMap;
use std::ops::Range;

use burnisher_data::{
    Body, BuiltinTemplate, ChatTemplate, EncodeConfig, Encoder, Message, Origin, Outcome, Record, Tokenizer,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::shared;
use crate::template::turns;
use crate::tokenizer::{fixture_tokenizer, read_json, typed};

/// The fixtures' templates that each of ours must agree with, and whether they mark the same text.
const REFERENCES: [(BuiltinTemplate, &str, bool); 11] = [
    (BuiltinTemplate::ChatMl, "chatml", false),
    (BuiltinTemplate::ChatMl, "chatml_gen", true),
    (BuiltinTemplate::Gemma, "gemma", false),
    (BuiltinTemplate::Gemma, "trl_gemma_training", false),
    (BuiltinTemplate::Llama2, "llama2", false),
    (BuiltinTemplate::Llama3, "llama3", false),
    (BuiltinTemplate::Llama3, "trl_llama3_training", true),
    (BuiltinTemplate::Llama31, "trl_llama3_1", false),
    (BuiltinTemplate::Mistral, "mistral", false),
    (BuiltinTemplate::Phi3, "trl_phi3_training", false),
    (BuiltinTemplate::Zephyr, "zephyr", false),
];

/// Reference: `apply_chat_template` of transformers 5.23.0, fixtures' `make_fixtures.py`.
#[test]
fn builtin_templates_render_as_the_families_do() {
    let Some(fixture) = shared("fixtures/models/chat/chat.json").map(|path| read_json(&path)) else { return };
    let conversations: Vec<Value> = typed(&fixture["conversations"]);
    let entries: HashMap<String, Value> = typed::<Vec<Value>>(&fixture["templates"])
        .into_iter()
        .map(|entry| (typed(&entry["template_name"]), entry))
        .collect();
    let (mut rendered, mut refused, mut masked) = (0, 0, 0);
    for (builtin, name, same_marks) in REFERENCES {
        let entry = &entries[name];
        let template =
            ChatTemplate::parse(builtin.source(), entry["bos_token"].as_str(), entry["eos_token"].as_str());
        let template = template.unwrap_or_else(|error| panic!("{name}: {error}"));
        let Some(tokenizer) = fixture_tokenizer(&typed::<String>(&entry["tokenizer"])) else { return };
        for case in typed::<Vec<Value>>(&entry["cases"]) {
            let number: usize = typed(&case["conversation"]);
            let what = format!("{name}, conversation {number}, prompt {}", case["add_generation_prompt"]);
            // The other references leave tools out.
            let tools = match builtin {
                BuiltinTemplate::Llama31 => typed::<Option<Vec<Value>>>(&conversations[number]["tools"]),
                _ => None,
            };
            let found = template.render_with_tools(
                &turns(&conversations[number]["messages"]),
                &tools.unwrap_or_default(),
                typed(&case["add_generation_prompt"]),
            );
            if let Some(wanted) = case["error"].as_str() {
                let error = found.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.contains(wanted.trim_start_matches("TemplateError: ")), "{what}: {error:?}");
                refused += 1;
                continue;
            }
            let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(Some(found.text.as_str()), case["text"].as_str(), "{what}");
            rendered += 1;
            if same_marks && case["assistant_masks"].is_array() {
                let offsets = tokenizer.encode_with_offsets(&found.text, false).map(|(_, offsets)| offsets);
                let inside =
                    |(start, end): &(usize, usize)| u8::from(overlap(*start..*end, &found.assistant));
                let mask: Vec<u8> = offsets.unwrap_or_default().iter().map(inside).collect();
                assert_eq!(mask, typed::<Vec<u8>>(&case["assistant_masks"]), "{what}");
                masked += 1;
            }
        }
    }
    assert_eq!((rendered + refused, masked), (24 * REFERENCES.len(), 48));
}

fn overlap(token: Range<usize>, ranges: &[Range<usize>]) -> bool {
    token.into_iter().any(|byte| ranges.iter().any(|range| range.contains(&byte)))
}

#[test]
fn names() {
    for template in BuiltinTemplate::ALL {
        assert_eq!(template.as_str().parse::<BuiltinTemplate>().ok(), Some(template));
        let parsed = ChatTemplate::builtin(template);
        assert!(parsed.is_ok_and(|parsed| parsed.has_generation_tags()), "{template}");
    }
    let error = "llama4".parse::<BuiltinTemplate>().err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("\"llama4\"; wanted chatml, gemma")));
}

#[test]
fn a_tokenizer_must_have_the_tokens_of_a_template() {
    let (Some(bpe), Some(spm)) = (fixture_tokenizer("bpe"), fixture_tokenizer("spm")) else { return };
    assert!(bpe.clone().with_builtin_template(BuiltinTemplate::Llama3).is_ok());
    assert!(spm.clone().with_builtin_template(BuiltinTemplate::Llama2).is_ok());
    let error = spm.with_builtin_template(BuiltinTemplate::ChatMl).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("needs <|im_start|>, <|im_end|>, which it lacks")));
    let error = bpe.with_builtin_template(BuiltinTemplate::Phi3).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("needs <|end|>,")));
}

/// What the assistant writes in each family: its text as the template cleans it, and the end of its turn.
fn written(template: BuiltinTemplate, text: &str, eos: &str) -> String {
    match template {
        BuiltinTemplate::ChatMl => format!("{text}<|im_end|>"),
        BuiltinTemplate::Gemma => format!("{}<end_of_turn>", text.trim()),
        BuiltinTemplate::Llama2 => format!(" {} {eos}", text.trim()),
        BuiltinTemplate::Llama3 | BuiltinTemplate::Llama31 => format!("{}<|eot_id|>", text.trim()),
        BuiltinTemplate::Phi3 => format!("{text}<|end|>"),
        _ => format!("{text}{eos}"),
    }
}

/// The bytes of the conversation that the trained tokens stand for must be what the assistant wrote, except that a token
/// across the border belongs to the assistant as a whole.
fn check(tokenizer: &Tokenizer, builtin: BuiltinTemplate, messages: &[Message]) -> Result<(), TestCaseError> {
    let fail = |error: burnisher_data::DataError| TestCaseError::fail(format!("{builtin}: {error}"));
    let tokenizer = tokenizer.clone().with_chat_template(builtin.source()).map_err(fail)?;
    let eos = tokenizer.eos_token().unwrap_or_default().to_owned();
    let Some(template) = tokenizer.chat_template() else { return Err(TestCaseError::fail("no template")) };
    let text = template.render(messages, false).map_err(fail)?.text;
    // Where the assistant's texts stand, found by looking for them one after the other.
    let mut wanted: Vec<Range<usize>> = Vec::new();
    for (number, message) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
        let before = template.render(&messages[..number], true).map_err(fail)?.text;
        prop_assert!(text.starts_with(&before), "{builtin}: {before:?} does not begin {text:?}");
        let written = written(builtin, &message.content, &eos);
        prop_assert!(text[before.len()..].starts_with(&written), "{builtin}: {written:?} in {text:?}");
        wanted.push(before.len()..before.len() + written.len());
    }
    let encoder = Encoder::new(&tokenizer, EncodeConfig::untruncated()).map_err(fail)?;
    let record = Record::new(Body::Messages(messages.to_vec()), Origin::new("a.jsonl", 1));
    let Outcome::Kept { encoded, end_is_trained, .. } = encoder.encode(&record).map_err(fail)? else {
        return Err(TestCaseError::fail("dropped"));
    };
    prop_assert!(end_is_trained, "{builtin}");
    let (ids, offsets) = tokenizer.encode_with_offsets(&text, false).map_err(fail)?;
    prop_assert_eq!(&ids, &encoded.ids);
    for ((start, end), trained) in offsets.into_iter().zip(encoded.loss_mask).skip(1) {
        prop_assert_eq!(
            trained,
            overlap(start..end, &wanted),
            "{}: {:?} of {:?}",
            builtin,
            &text[start..end],
            text
        );
    }
    Ok(())
}

fn conversation() -> impl Strategy<Value = Vec<Message>> {
    // Text with white space at its ends, several scripts, brackets and headers like the templates' own.
    let text = "[a-zA-Z0-9 .,!?\n\t\\[\\]äß你好🙂/<>|_]{0,20}[a-z0-9你🙂.][ \n]{0,2}";
    prop::collection::vec((text, text), 1..4).prop_map(|turns| {
        let pair = |(user, assistant): (String, String)| {
            [Message::new("user", user), Message::new("assistant", assistant)]
        };
        turns.into_iter().flat_map(pair).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn masks_cover_what_the_assistant_writes(messages in conversation(), system: Option<bool>) {
        let tokenizers = ["bpe", "spm"].into_iter().filter_map(fixture_tokenizer);
        for tokenizer in tokenizers {
            for builtin in BuiltinTemplate::ALL {
                let mut messages = messages.clone();
                let has_system = !matches!(builtin, BuiltinTemplate::Gemma | BuiltinTemplate::Mistral);
                if has_system && system.is_some() {
                    messages.insert(0, Message::new("system", "Be brief."));
                }
                check(&tokenizer, builtin, &messages)?;
            }
        }
    }
}
