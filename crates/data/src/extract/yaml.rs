//! YAML as PyYAML's `safe_dump(value, default_flow_style=False, sort_keys=False)` prints it, for prompts.

use std::fmt::Write as _;

use serde_json::Value;

/// The value as a document in block style. Long lines are not folded, and `1e5` and `n` are in quotes, which PyYAML
/// leaves out although other readers see a number and a boolean.
pub(super) fn dump(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, &mut out),
        Value::Array(list) if !list.is_empty() => block(value, 0, &mut out),
        _ => {
            out.push_str(&inline(value));
            out.push('\n');
        }
    }
    out
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

/// The lines of a list or mapping; the first line's indent is already there.
fn block(value: &Value, indent: usize, out: &mut String) {
    let mut first = true;
    let mut begin = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                begin(out);
                out.push_str(&scalar(key));
                out.push(':');
                if is_block(value) {
                    // A list in a mapping stands as far out as its key.
                    let inner = if value.is_array() { indent } else { indent + 2 };
                    out.push('\n');
                    out.extend(std::iter::repeat_n(' ', inner));
                    block(value, inner, out);
                } else {
                    let _ = writeln!(out, " {}", inline(value));
                }
            }
        }
        Value::Array(list) => {
            for value in list {
                begin(out);
                out.push_str("- ");
                if is_block(value) {
                    block(value, indent + 2, out);
                } else {
                    let _ = writeln!(out, "{}", inline(value));
                }
            }
        }
        _ => {}
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Plain where YAML 1.1 reads the same text back, else in single quotes, else (control and non-ASCII characters) in
/// double quotes with escapes.
fn scalar(text: &str) -> String {
    if text.chars().any(|c| !(' '..='~').contains(&c) && c != '\n') {
        return double_quoted(text);
    }
    if text.contains('\n') {
        // PyYAML writes a line's end within single quotes as an empty line.
        return format!("'{}'", text.replace('\'', "''").replace('\n', "\n\n"));
    }
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn is_plain(text: &str) -> bool {
    let outer_space = text.starts_with(' ') || text.ends_with(' ');
    if text.is_empty() || outer_space || text.starts_with("---") || text.starts_with("...") {
        return false;
    }
    let indicator_first = text.starts_with(|c: char| "#,[]{}&*!|>'\"%@`".contains(c));
    let lone_first = ["?", ":", "-"]
        .iter()
        .any(|mark| text.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')));
    let inside = text.contains(": ") || text.ends_with(':') || text.contains(" #");
    !indicator_first && !lone_first && !inside && !is_other_type(text)
}

/// Whether YAML 1.1 or 1.2 reads the text as something else than text.
fn is_other_type(text: &str) -> bool {
    let words = ["y", "n", "yes", "no", "true", "false", "on", "off", "null"];
    let cased = |word: &str| {
        let (first, rest) = word.split_at(1);
        let title = first.to_uppercase() + rest;
        text == word || text == title || text == word.to_uppercase()
    };
    if words.into_iter().any(cased) || ["~", "<<", "=", ".nan", ".NaN", ".NAN"].contains(&text) {
        return true;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".Inf", ".INF"].contains(&unsigned) {
        return true;
    }
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '_');
    let based = |prefix: &str, radix| {
        unsigned
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix) || c == '_'))
    };
    let starts_number = unsigned.starts_with(|c: char| c.is_ascii_digit());
    let sexagesimal = unsigned.contains(':')
        && unsigned.split(':').skip(1).all(|part| {
            let whole = part.split('.').next().unwrap_or_default();
            (1..=2).contains(&whole.len()) && digits(whole)
        })
        && unsigned.split(':').next().is_some_and(digits);
    let decimal = {
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "+1"));
        let signed = exponent.strip_prefix(['+', '-']).is_some_and(digits);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "x"));
        let point = mantissa.contains('.');
        signed
            && point
            && (fraction.is_empty() || digits(fraction))
            && (digits(whole) || (whole.is_empty() && !fraction.is_empty()))
    };
    let date = {
        let parts: Vec<&str> = text.splitn(3, '-').collect();
        matches!(parts.as_slice(), [year, month, day]
            if year.len() == 4 && digits(year) && digits(month) && day.starts_with(|c: char| c.is_ascii_digit()))
    };
    // YAML 1.2, which newer readers follow, has more numbers.
    let newer =
        based("0o", 8) || (text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok());
    newer
        || (starts_number && (digits(unsigned) || based("0x", 16) || based("0b", 2) || sexagesimal))
        || decimal
        || date
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            '\0' => write!(out, "\\0"),
            '\u{7}' => write!(out, "\\a"),
            '\u{8}' => write!(out, "\\b"),
            '\t' => write!(out, "\\t"),
            '\n' => write!(out, "\\n"),
            '\u{b}' => write!(out, "\\v"),
            '\u{c}' => write!(out, "\\f"),
            '\r' => write!(out, "\\r"),
            '\u{1b}' => write!(out, "\\e"),
            '\u{85}' => write!(out, "\\N"),
            '\u{a0}' => write!(out, "\\_"),
            '\u{2028}' => write!(out, "\\L"),
            '\u{2029}' => write!(out, "\\P"),
            ' '..='~' => write!(out, "{c}"),
            c if u32::from(c) <= 0xff => write!(out, "\\x{:02X}", u32::from(c)),
            c if u32::from(c) <= 0xffff => write!(out, "\\u{:04X}", u32::from(c)),
            c => write!(out, "\\U{:08X}", u32::from(c)),
        };
    }
    out.push('"');
    out
}
