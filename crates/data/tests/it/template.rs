use burnisher_data::{ChatTemplate, Message};
use serde_json::Value;

use crate::shared;
use crate::tokenizer::{fixture_json, fixture_tokenizer, read_json, typed};

/// The day on which the fixtures were made, which `strftime_now` shows: 2026-11-23, noon, UTC.
const FIXTURE_CLOCK: i64 = 1_795_435_200;

/// The turns of a fixture's list of `{role, content}`.
pub(crate) fn turns(messages: &Value) -> Vec<Message> {
    let turn = |message: &Value| {
        Message::new(typed::<String>(&message["role"]), typed::<String>(&message["content"]))
    };
    typed::<Vec<Value>>(messages).iter().map(turn).collect()
}

/// The source of one of the hand-written templates of `chat.json`.
pub(crate) fn template_source(name: &str) -> Option<String> {
    let templates: Vec<Value> = typed(&fixture_json("chat/chat.json")?["templates"]);
    let template = templates.iter().find(|template| template["template_name"] == name);
    Some(template.map_or_else(|| panic!("no template {name}"), |template| typed(&template["template"])))
}

/// Tokens that overlap a range, found without the crate's own mask.
fn mask(offsets: &[(usize, usize)], assistant: &[std::ops::Range<usize>]) -> Vec<u8> {
    let inside = |byte: usize| assistant.iter().any(|range| range.contains(&byte));
    offsets.iter().map(|(start, end)| u8::from((*start..*end).any(inside))).collect()
}

/// The committed reference numbers: the hand-written templates.
#[test]
fn hand_written_templates_render_as_in_transformers() {
    if let Some(fixture) = fixture_json("chat/chat.json") {
        let names = template_names(&fixture);
        if names.iter().all(|name| !name.starts_with("trl_")) {
            assert_eq!(names.len(), 12);
            assert_eq!(check(&fixture), Checked { rendered: 264, refused: 24, masked: 96 });
        }
    }
}

/// All of them: the templates that TRL ships too.
#[test]
fn all_templates_render_as_in_transformers() {
    if let Some(path) = shared("fixtures/models/chat/chat.json") {
        let fixture = read_json(&path);
        assert_eq!(template_names(&fixture).len(), 23);
        assert_eq!(check(&fixture), Checked { rendered: 504, refused: 48, masked: 226 });
    }
}

fn template_names(fixture: &Value) -> Vec<String> {
    typed::<Vec<Value>>(&fixture["templates"]).iter().map(|entry| typed(&entry["template_name"])).collect()
}

/// Cases by what was compared.
#[derive(Debug, PartialEq)]
struct Checked {
    rendered: usize,
    refused: usize,
    masked: usize,
}

/// Reference: `apply_chat_template` of transformers 5.23.0 with jinja2 3.1.6, fixtures' `make_fixtures.py`.
fn check(fixture: &Value) -> Checked {
    let mut checked = Checked { rendered: 0, refused: 0, masked: 0 };
    let conversations: Vec<Value> = typed(&fixture["conversations"]);
    let templates: Vec<Value> = typed(&fixture["templates"]);
    for entry in &templates {
        let name: String = typed(&entry["template_name"]);
        let Some(tokenizer) = fixture_tokenizer(&typed::<String>(&entry["tokenizer"])) else {
            panic!("no tokenizer for {name}");
        };
        let source: String = typed(&entry["template"]);
        let template = ChatTemplate::parse(&source, entry["bos_token"].as_str(), entry["eos_token"].as_str());
        let template = template.unwrap_or_else(|error| panic!("{name}: {error}")).with_clock(FIXTURE_CLOCK);
        assert_eq!(Some(template.has_generation_tags()), entry["has_generation_tags"].as_bool(), "{name}");
        for case in typed::<Vec<Value>>(&entry["cases"]) {
            let number: usize = typed(&case["conversation"]);
            let what = format!("{name}, conversation {number}, prompt {}", case["add_generation_prompt"]);
            let conversation = &conversations[number];
            let tools: Option<Vec<Value>> = typed(&conversation["tools"]);
            let rendered = template.render_with_tools(
                &turns(&conversation["messages"]),
                &tools.unwrap_or_default(),
                typed(&case["add_generation_prompt"]),
            );
            if let Some(wanted) = case["error"].as_str() {
                let wanted = wanted.trim_start_matches("TemplateError: ");
                let error = rendered.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.contains(wanted), "{what}: {error:?}");
                checked.refused += 1;
                continue;
            }
            let rendered = rendered.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(Some(rendered.text.as_str()), case["text"].as_str(), "{what}");
            let encoded = tokenizer.encode_with_offsets(&rendered.text, false);
            let (ids, offsets) = encoded.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(ids, typed::<Vec<u32>>(&case["input_ids"]), "{what}");
            checked.rendered += 1;
            if let Some(wanted) = typed::<Option<Vec<u8>>>(&case["assistant_masks"]) {
                assert_eq!(mask(&offsets, &rendered.assistant), wanted, "{what}");
                checked.masked += 1;
            }
        }
    }
    checked
}

#[test]
fn the_templates_of_model_directories_render() {
    for (name, wanted) in
        [("bpe", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"), ("spm", "<s>[INST] Hi [/INST]")]
    {
        let Some(tokenizer) = fixture_tokenizer(name) else {
            return;
        };
        let Some(template) = tokenizer.chat_template() else {
            panic!("{name} has no chat template");
        };
        let rendered = template.render(&[Message::new("user", "Hi")], true);
        assert_eq!(rendered.map(|rendered| rendered.text).ok().as_deref(), Some(wanted));
    }
}

/// Expected texts: jinja2 3.1.6 in transformers' environment, with `True`, `1.5` and a list as the last three values.
#[test]
fn values_print_and_compare_as_in_python() {
    let cases = [
        ("{{ none }}|{{ true }}|{{ 1.5 }}|{{ 7 // 2 }}|{{ 'a' ~ 1 }}", "None|True|1.5|3|a1"),
        ("{{ missing }}|{{ missing is defined }}|{{ tools is none }}", "|False|True"),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}",
            "assistant",
        ),
        ("{{ messages[0].content.strip().upper().split('-')[1].title() }}", "Two"),
        ("{{ messages[1].get('name', 'nobody') }} {{ 'role' in messages[1] }}", "nobody True"),
        (
            "{% set x = namespace(n=1) %}{% for m in messages %}{% set x.n = x.n + 1 %}{% endfor %}{{ x.n }}",
            "3",
        ),
        ("{{ messages | map(attribute='role') | list | tojson }}", "[\"user\", \"assistant\"]"),
        ("{{ messages[0] | tojson }}", "{\"role\": \"user\", \"content\": \" one-two \"}"),
        ("{{ {'z': 1, 'a': [enable, none]} | tojson }}", "{\"z\": 1, \"a\": [true, null]}"),
        ("{{ strftime_now('%d %b %Y') }}", "23 Nov 2026"),
        ("{% if add_generation_prompt %}yes{% else %}no{% endif %}\n", "no"),
        ("<b>{{ '<&>' }}</b>", "<b><&></b>"),
    ];
    let messages = [Message::new("user", " one-two "), Message::new("assistant", "three")];
    for (source, wanted) in cases {
        let template =
            ChatTemplate::parse(source, None, None).unwrap_or_else(|error| panic!("{source}: {error}"));
        let template = template.with_clock(FIXTURE_CLOCK).with_variable("enable", true);
        let rendered = template.render(&messages, false).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(rendered.text, wanted, "{source}");
        assert!(rendered.assistant.is_empty() && !rendered.has_generation_tags, "{source}");
    }
}
