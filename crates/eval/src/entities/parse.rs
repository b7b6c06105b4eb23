//! From an answer in JSON to its field-value pairs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::text::collapse;

/// Field and value, and how often the answer has the pair.
pub(super) type Pairs = BTreeMap<(String, String), usize>;

/// The first JSON object in the text, whatever stands around it.
///
/// A piece between balanced braces that is no JSON is skipped whole, and an object that is cut off ends the
/// search: what it has inside is not the answer.
pub(crate) fn find_object(text: &str) -> Option<Map<String, Value>> {
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        rest = &rest[start..];
        match balanced(rest) {
            Some(end) => {
                if let Ok(object) = serde_json::from_str(&rest[..end]) {
                    return Some(object);
                }
                rest = &rest[end..];
            }
            None if rest[1..].trim_start().starts_with('"') => return None,
            None => rest = &rest[1..],
        }
    }
    None
}

/// Where the object that starts the text ends; braces inside strings do not count.
fn balanced(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The pairs of an object: nested objects by dotted path, one pair per element of a list.
pub(super) fn pairs(object: &Map<String, Value>, ignore_case: bool) -> Pairs {
    let mut pairs = Pairs::new();
    for (key, value) in object {
        collect(key, value, ignore_case, &mut pairs);
    }
    pairs
}

fn collect(path: &str, value: &Value, ignore_case: bool, pairs: &mut Pairs) {
    let text = match value {
        Value::Object(object) => {
            for (key, value) in object {
                collect(&format!("{path}.{key}"), value, ignore_case, pairs);
            }
            return;
        }
        Value::Array(elements) => {
            for element in elements {
                collect(path, element, ignore_case, pairs);
            }
            return;
        }
        Value::Null => return,
        Value::Bool(truth) => truth.to_string(),
        // A float prints without exponent and without `.0`, so 12.0 and 1.2e1 become 12; adding 0 turns −0
        // into 0.
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), |number| (number + 0.0).to_string())
        }
        Value::Number(number) => number.to_string(),
        Value::String(text) if ignore_case => collapse(&text.to_lowercase()),
        Value::String(text) => collapse(text),
    };
    if !text.is_empty() {
        *pairs.entry((path.to_owned(), text)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_in_what_models_write() {
        let rows = [
            (r#"{"a": 1}"#, Some(r#"{"a":1}"#)),
            ("```json\n{\"a\": \"}\"}\n```", Some(r#"{"a":"}"}"#)),
            (r#"Sure {name}: {"a": "\"{"} or {"b": 2}"#, Some(r#"{"a":"\"{"}"#)),
            (r#"A lone { and then {"a": 1}"#, Some(r#"{"a":1}"#)),
            ("{}", Some("{}")),
            (r#"{'a': {"b": 1}}"#, None),
            (r#"{"a": {"b": 1}, "c": "cut o"#, None),
            (r#"[1, 2]"#, None),
            ("", None),
            ("ä{ö", None),
        ];
        for (text, wanted) in rows {
            let found = find_object(text).map(|object| Value::Object(object).to_string());
            assert_eq!(found.as_deref(), wanted, "in {text}");
        }
    }

    #[test]
    fn values_are_normalised_and_paths_flattened() {
        let text = r#"{"n": 12.0, "z": -0.0, "big": 1e16, "s": "  a \n B ", "t": true, "none": null, "blank": " ",
            "list": ["x", "x", ["y"]], "in": {"deep": {"k": 1}}, "rows": [{"k": 1}, {"k": 2}], "empty": []}"#;
        let wanted = [
            ("big", "10000000000000000", 1),
            ("in.deep.k", "1", 1),
            ("list", "x", 2),
            ("list", "y", 1),
            ("n", "12", 1),
            ("rows.k", "1", 1),
            ("rows.k", "2", 1),
            ("s", "a b", 1),
            ("t", "true", 1),
            ("z", "0", 1),
        ];
        let found = pairs(&find_object(text).unwrap(), true);
        let found: Vec<_> =
            found.iter().map(|((field, value), n)| (field.as_str(), value.as_str(), *n)).collect();
        assert_eq!(found, wanted);
    }
}
