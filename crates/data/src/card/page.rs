//! A card as text: the same values through two templates.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use serde_json::json;

use super::DataCard;

const PAGE: &str = include_str!("page.html");
const MARKDOWN: &str = include_str!("page.md");

pub(super) fn html(card: &DataCard) -> String {
    render("card.html", PAGE, card)
}

pub(super) fn markdown(card: &DataCard) -> String {
    render("card.md", MARKDOWN, card)
}

pub(super) fn json(card: &DataCard) -> String {
    let mut text = serde_json::to_string_pretty(card).unwrap_or_default();
    text.push('\n');
    text
}

/// The templates are constants, and tests render each: an error can only be a defect here.
fn render(name: &'static str, template: &'static str, card: &DataCard) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(syntax.unwrap_or_else(|error| unreachable!("the default delimiters: {error:#}")));
    environment.add_filter("thousands", thousands);
    environment.add_filter("cell", cell);
    environment.add_filter("percent", |part: f64| format!("{:.1} %", 100.0 * part));
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    let rendered = environment
        .add_template(name, template)
        .and_then(|()| environment.get_template(name))
        .and_then(|template| template.render(Value::from(Serde(json!({ "card": card })))));
    rendered.unwrap_or_else(|error| unreachable!("{name}: {error:#}"))
}

/// `1234567.5` as `1,234,567.5`.
fn thousands(value: Value) -> Result<String, minijinja::Error> {
    let text = value.to_string();
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), String::new()), |(a, b)| (a, format!(".{b}")));
    if !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("no number: {text}")));
    }
    let mut out = String::with_capacity(text.len() + 4);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    Ok(out + &rest)
}

/// A text within a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
