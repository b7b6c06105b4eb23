//! Chat templates: a template, 0xFF, and messages, which are lines that begin with their role.
#![no_main]

use burnisher_data::{ChatTemplate, Message, Rendered};
use burnisher_fuzz::texts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some([source, messages]) = texts::<2>(data) else {
        return;
    };
    let messages: Vec<Message> = messages
        .lines()
        .map(|line| {
            let (role, content) = line.split_once(' ').unwrap_or(("user", line));
            Message::new(role, content)
        })
        .collect();
    let template = match ChatTemplate::parse(source, Some("<s>"), Some("</s>")) {
        Ok(template) => template.with_clock(1_700_000_000),
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(template.source(), source);
    let tools = [serde_json::json!({ "name": "sum", "parameters": { "a": 1.5, "b": [null, true] } })];
    for (tools, prompt) in [(&[][..], false), (&tools, true)] {
        match template.render_with_tools(&messages, tools, prompt) {
            Ok(rendered) => check(&rendered, template.has_generation_tags()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});

/// Ranges are parts of the text, in order, apart from each other and not empty.
fn check(rendered: &Rendered, has_tags: bool) {
    assert_eq!(rendered.has_generation_tags, has_tags);
    let mut end = 0;
    for range in &rendered.assistant {
        assert!(range.start >= end && rendered.text.get(range.clone()).is_some_and(|part| !part.is_empty()));
        end = range.end;
    }
}
