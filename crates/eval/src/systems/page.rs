//! A report as text: the same values through two templates.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use serde_json::json;

use super::SystemsReport;
use super::plot::Plots;
use crate::report::{cell, fenced};

const PAGE: &str = include_str!("page.html");
const MARKDOWN: &str = include_str!("page.md");
const SCRIPT: &str = include_str!("page.js");
/// What the page's policy lets run: SHA-256 of the script, in base64. A test computes it anew.
const SCRIPT_HASH: &str = "sha256-zq1DlD2iZSvvRqXf1f78GFpQYtl/LgNeREz6whucH/E=";

pub(super) fn html(report: &SystemsReport) -> String {
    render("systems.html", PAGE, report)
}

pub(super) fn markdown(report: &SystemsReport) -> String {
    render("systems.md", MARKDOWN, report)
}

pub(super) fn json(report: &SystemsReport) -> String {
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

/// The templates are constants, and tests render each: an error can only be a defect here.
fn render(name: &'static str, template: &'static str, report: &SystemsReport) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(syntax.unwrap_or_else(|error| unreachable!("the default delimiters: {error:#}")));
    environment.add_filter("cell", |text: &str| cell(text));
    environment.add_filter("fenced", |text: &str| fenced(text));
    environment.add_filter("fixed", |value: f64, digits: usize| format!("{value:.digits$}"));
    environment.add_filter("signed", |value: f64, digits: usize| format!("{value:+.digits$}"));
    environment.add_filter("kind", |kind: &str| match kind {
        "lora" => "LoRA".to_owned(),
        "qlora" => "QLoRA".to_owned(),
        "full" => "full fine-tuning".to_owned(),
        other => other.to_owned(),
    });
    environment.add_filter("percent", |part: f64| ((1e4 * part).round() / 100.0).to_string());
    environment.add_filter("short", short);
    environment.add_filter("bytes", bytes);
    environment.add_filter("seconds", seconds);
    environment.add_filter("count", count);
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    let values = json!({
        "report": report,
        "plots": Plots::of(report),
        "metrics": report.systems.iter().flat_map(|system| system.scores.keys()).collect::<std::collections::BTreeSet<_>>(),
        "script": SCRIPT,
        "script_hash": SCRIPT_HASH,
    });
    let rendered = environment
        .add_template(name, template)
        .and_then(|()| environment.get_template(name))
        .and_then(|template| template.render(Value::from(Serde(values))));
    rendered.unwrap_or_else(|error| unreachable!("{name}: {error:#}"))
}

/// At most `length` characters.
fn short(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// `1536.0` as `1.5 KiB`; nothing as a dash.
fn bytes(value: Option<f64>) -> String {
    let Some(mut value) = value else { return "–".to_owned() };
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{value} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// `75.0` as `1 min 15 s`; nothing as a dash.
fn seconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 60.0 => format!("{value:.1} s"),
        Some(value) if value < 3600.0 => {
            format!("{:.0} min {:.0} s", (value.round() / 60.0).floor(), value.round() % 60.0)
        }
        Some(value) => {
            let minutes = (value / 60.0).round();
            format!("{:.0} h {:.0} min", (minutes / 60.0).floor(), minutes % 60.0)
        }
    }
}

/// `1234567` as `1,234,567`; nothing as a dash.
fn count(value: Option<u64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + 4);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let dash = "–";
        assert_eq!([bytes(None), bytes(Some(12.0)), bytes(Some(1536.0))], [dash, "12 B", "1.5 KiB"]);
        assert_eq!(bytes(Some(6.0 * f64::from(1 << 30))), "6.0 GiB");
        assert_eq!(
            [seconds(None), seconds(Some(59.94)), seconds(Some(75.0))],
            [dash, "59.9 s", "1 min 15 s"]
        );
        assert_eq!([seconds(Some(7260.0)), seconds(Some(119.9))], ["2 h 1 min", "2 min 0 s"]);
        assert_eq!([count(None), count(Some(999)), count(Some(1_234_567))], [dash, "999", "1,234,567"]);
    }
}
