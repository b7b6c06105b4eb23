use serde_json::{Map, Value};

/// The value at a path such as `instances[0].output` or `source[*]`; `None` if the object does not have it.
///
/// `.name` goes into an object, `[n]` into a list, counted from 0, and `[*]` joins a list of strings with spaces.
pub(super) fn at(object: &Map<String, Value>, path: &str) -> Option<Value> {
    let end = path.find(['.', '['])?;
    let mut value = object.get(&path[..end])?.clone();
    let mut rest = &path[end..];
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('.') {
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            value = value.get_mut(&behind[..end])?.take();
            rest = &behind[end..];
        } else {
            let (index, behind) = rest.strip_prefix('[')?.split_once(']')?;
            value = match index {
                "*" => joined(&value)?,
                _ => value.get_mut(index.parse::<usize>().ok()?)?.take(),
            };
            rest = behind;
        }
    }
    Some(value)
}

fn joined(list: &Value) -> Option<Value> {
    let texts: Vec<&str> = list.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    Some(Value::String(texts.join(" ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_go_into_objects_and_lists() {
        let Value::Object(object) = json!({
            "source": ["One.", "Two."], "instances": [{ "output": "o", "deep": [[1]] }], "n": 3, "mixed": ["a", 1]
        }) else {
            unreachable!("an object")
        };
        for (path, wanted) in [
            ("source[*]", Some(json!("One. Two."))),
            ("source[1]", Some(json!("Two."))),
            ("instances[0].output", Some(json!("o"))),
            ("instances[0].deep[0][0]", Some(json!(1))),
            ("source[2]", None),
            ("source[", None),
            ("source[-1]", None),
            ("source]x", None),
            ("source[0]x", None),
            ("n[0]", None),
            ("n.x", None),
            ("mixed[*]", None),
            ("absent[0]", None),
            ("source", None),
        ] {
            assert_eq!(at(&object, path), wanted, "{path}");
        }
    }
}
