//! Tools in the chat templates of the crate.

use burnisher_data::{
    Body, BuiltinTemplate, ChatTemplate, EncodeConfig, Encoder, Message, Origin, Outcome, Record,
};
use serde_json::{Value, json};

use crate::tokenizer::{fixture_tokenizer, typed};

fn turns(conversation: &Value) -> Vec<Message> {
    let turn = |message: &Value| {
        let mut turn = Message::new(typed::<String>(&message["role"]), typed::<String>(&message["content"]));
        if message["tool_calls"].is_array() {
            turn.extra.insert("tool_calls".to_owned(), message["tool_calls"].clone());
        }
        turn
    };
    typed::<Vec<Value>>(&conversation["messages"]).iter().map(turn).collect()
}

fn tools(conversation: &Value) -> Vec<Value> {
    typed::<Option<Vec<Value>>>(&conversation["tools"]).unwrap_or_default()
}

/// Reference: jinja2 3.1.6, `docs/parity/tool_chats.py`.
#[test]
fn tools_are_shown_as_the_families_do() {
    let fixture: Value =
        serde_json::from_str(include_str!("../fixtures/tool_chats.json")).expect("the fixture");
    let mut refused = 0;
    let cases: Vec<Value> = typed(&fixture["cases"]);
    for case in &cases {
        let number: usize = typed(&case["conversation"]);
        let conversation = &fixture["conversations"][number];
        let builtin: BuiltinTemplate = typed::<String>(&case["builtin"]).parse().expect("a name");
        let tokens = &fixture["tokens"][typed::<String>(&case["reference"])];
        let template = ChatTemplate::parse(builtin.source(), tokens[0].as_str(), tokens[1].as_str());
        let found = template.expect("a template").render_with_tools(
            &turns(conversation),
            &tools(conversation),
            typed(&case["add_generation_prompt"]),
        );
        let what = format!("{builtin}, conversation {number}, prompt {}", case["add_generation_prompt"]);
        if let Some(wanted) = case["error"].as_str() {
            let error = found.expect_err(&what).to_string();
            assert!(error.contains(wanted), "{what}: {error}");
            refused += 1;
            continue;
        }
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(Some(found.text.as_str()), case["text"].as_str(), "{what}");
    }
    assert_eq!((cases.len(), refused), (32, 2));
}

#[test]
fn calls_are_what_the_assistant_writes_and_results_are_not() {
    let fixture: Value =
        serde_json::from_str(include_str!("../fixtures/tool_chats.json")).expect("the fixture");
    let marked = |builtin: BuiltinTemplate, number: usize| -> Vec<String> {
        let conversation = &fixture["conversations"][number];
        let template = ChatTemplate::builtin(builtin).expect("a template");
        let rendered = template.render_with_tools(&turns(conversation), &tools(conversation), false);
        let rendered = rendered.unwrap_or_else(|error| panic!("{builtin}: {error}"));
        rendered.assistant.iter().map(|range| rendered.text[range.clone()].to_owned()).collect()
    };
    let weather = r#"{"city": "Köln", "days": 2}"#;
    assert_eq!(
        marked(BuiltinTemplate::ChatMl, 2),
        [
            format!(
                "I look at both.\n<tool_call>\n{{\"name\": \"weather\", \"arguments\": {weather}}}\n</tool_call>\n\
                 <tool_call>\n{{\"name\": \"time\", \"arguments\": {{}}}}\n</tool_call><|im_end|>"
            ),
            "Warm.<|im_end|>".to_owned(),
        ]
    );
    assert_eq!(
        marked(BuiltinTemplate::Llama31, 0),
        [
            format!("{{\"name\": \"weather\", \"parameters\": {weather}}}<|eot_id|>"),
            "21,5 °C.<|eot_id|>".to_owned()
        ]
    );
}

/// As OpenAI's interface has them: a text that holds JSON.
#[test]
fn arguments_that_are_a_text_stand_as_they_are() {
    let mut turn = Message::new("assistant", "");
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}});
    turn.extra.insert("tool_calls".to_owned(), json!([call]));
    let messages = [Message::new("user", "Go."), turn];
    for (builtin, wanted) in [
        (BuiltinTemplate::ChatMl, r#"{"name": "f", "arguments": {"a": 1}}"#),
        (BuiltinTemplate::Llama31, r#"{"name": "f", "parameters": {"a": 1}}"#),
    ] {
        let template = ChatTemplate::builtin(builtin).expect("a template");
        let text = template.render(&messages, false).expect("rendered").text;
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn what_a_template_has_no_format_for_is_an_error() {
    let user = || Message::new("user", "Weather?");
    let answer = || Message::new("assistant", "Warm.");
    let mut calling = Message::new("assistant", "");
    calling.extra.insert("tool_calls".to_owned(), json!([{"function": {"name": "f", "arguments": {}}}]));
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    let without = BuiltinTemplate::ALL
        .into_iter()
        .filter(|builtin| !matches!(builtin, BuiltinTemplate::ChatMl | BuiltinTemplate::Llama31));
    let mut seen = 0;
    for builtin in without {
        let template = ChatTemplate::builtin(builtin).expect("a template");
        for (messages, tools, wanted) in [
            (vec![user(), answer()], vec![tool.clone()], "the record has `tools`"),
            (vec![user(), calling.clone()], vec![], "messages[1] calls"),
            (vec![user(), Message::new("tool", "21")], vec![], "messages[1] calls or answers"),
        ] {
            let error = template.render_with_tools(&messages, &tools, false).expect_err(wanted).to_string();
            let name = format!("The template {builtin} has no format for tools");
            assert!(error.contains(&name) && error.contains(wanted), "{error}");
            seen += 1;
        }
    }
    assert_eq!(seen, 6 * 3);

    let refusal = |builtin, messages: &[Message], tools: &[Value]| {
        let template = ChatTemplate::builtin(builtin).expect("a template");
        template.render_with_tools(messages, tools, false).expect_err("refused").to_string()
    };
    let llama = BuiltinTemplate::Llama31;
    let mut two = calling.clone();
    two.extra.insert("tool_calls".to_owned(), json!([{"name": "f"}, {"name": "g"}]));
    assert!(refusal(llama, &[user(), two], &[]).contains("single tool-calls"));
    let speaking = Message { content: "I look.".to_owned(), ..calling };
    assert!(refusal(llama, &[user(), speaking], &[]).contains("both speaks and calls"));
    assert!(refusal(llama, &[answer(), user()], &[tool]).contains("no first user message"));

    // What the families' own templates leave out without a word.
    let developer = || Message::new("developer", "Be brief.");
    for builtin in [BuiltinTemplate::Phi3, BuiltinTemplate::Zephyr] {
        assert!(refusal(builtin, &[user(), developer()], &[]).contains("Only system, user and assistant"));
    }
    assert!(
        refusal(BuiltinTemplate::Llama2, &[user(), developer()], &[]).contains("Only user and assistant")
    );
}

#[test]
fn a_record_with_tools_is_encoded_or_refused_with_its_place() {
    let Some(tokenizer) = fixture_tokenizer("bpe") else { return };
    let body = Body::Messages(vec![Message::new("user", "Weather?"), Message::new("assistant", "Warm.")]);
    let mut record = Record::new(body, Origin::new("train.jsonl", 7));
    record
        .extra
        .insert("tools".to_owned(), json!([{"type": "function", "function": {"name": "weather_now"}}]));
    let encode = |builtin| {
        let tokenizer = tokenizer.clone().with_builtin_template(builtin).expect("its tokens");
        let encoder = Encoder::new(&tokenizer, EncodeConfig::untruncated()).expect("an encoder");
        encoder.encode(&record).map(|outcome| match outcome {
            Outcome::Kept { encoded, .. } => tokenizer.decode(&encoded.ids, false).expect("a text"),
            other => panic!("{other:?}"),
        })
    };
    for builtin in [BuiltinTemplate::ChatMl, BuiltinTemplate::Llama31] {
        let text = encode(builtin).unwrap_or_else(|error| panic!("{error}"));
        assert!(text.contains("weather_now"), "{text}");
    }
    let error = encode(BuiltinTemplate::Llama3).expect_err("no tools").to_string();
    assert!(
        error.starts_with("train.jsonl:7: ") && error.contains("The template llama3 has no format"),
        "{error}"
    );
    // A template of the user's own that looks at no tools.
    let tokenizer = tokenizer.with_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}");
    let tokenizer = tokenizer.expect("a template");
    let encoder = Encoder::new(&tokenizer, EncodeConfig::untruncated()).expect("an encoder");
    let error = encoder.encode(&record).expect_err("hidden").to_string();
    assert!(error.ends_with("the record has `tools`, which the template does not show"), "{error}");
    let mut calling = Message::new("assistant", "");
    calling.extra.insert("tool_calls".to_owned(), json!([{"function": {"name": "f", "arguments": {}}}]));
    let record = Record::new(Body::Messages(vec![Message::new("user", "Go."), calling]), Origin::new("a", 1));
    let error = encoder.encode(&record).expect_err("hidden").to_string();
    assert!(error.contains("the record has `tool_calls`"), "{error}");
}
