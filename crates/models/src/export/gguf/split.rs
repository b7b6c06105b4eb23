//! How a `tokenizer.json` prepares text, in llama.cpp's words.

use serde_json::Value;

use super::tokens::unsupported;
use crate::error::ModelError;

/// What SentencePiece writes for a space.
const SPACE: &str = "▁";

/// The pattern of the pre-tokenizer, whether merges are skipped for words that are tokens, llama.cpp's name. Sources:
/// `llm_tokenizer_bpe` in src/llama-vocab.cpp, which notes the original patterns, and the files of the models that it
/// is named after.
const PATTERNS: [(&str, bool, &str); 5] = [
    (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", false, "gpt-2"),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        true,
        "llama-bpe",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        false,
        "smaug-bpe",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        false,
        "qwen2",
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        true,
        "tekken",
    ),
];

/// llama.cpp's name of the rules by which a byte-level tokenizer splits text into words.
pub(super) fn pre_tokenizer(json: &Value) -> Result<&'static str, ModelError> {
    let is_kept = json["normalizer"].is_null() || json["normalizer"]["type"] == "NFC";
    if !is_kept {
        return Err(unsupported(&format!("the normalizer {}", json["normalizer"])));
    }
    let pre = &json["pre_tokenizer"];
    let steps: Vec<&Value> = match pre["pretokenizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![pre],
    };
    let ignores_merges = json["model"]["ignore_merges"].as_bool().unwrap_or(false);
    let pattern = match &steps[..] {
        [bytes] if is_bytes(bytes, true) => Some(PATTERNS[0].0),
        [split, bytes] if is_split(split) && is_bytes(bytes, false) => split["pattern"]["Regex"].as_str(),
        _ => None,
    };
    let found =
        PATTERNS.iter().find(|(known, ignores, _)| pattern == Some(*known) && *ignores == ignores_merges);
    found.map(|(_, _, name)| *name).ok_or_else(|| {
        let names: Vec<&str> = PATTERNS.iter().map(|(_, _, name)| *name).collect();
        ModelError::Unsupported {
            what: format!("GGUF with the pre-tokenizer {pre}, which llama.cpp does not have,"),
            supported: format!("{}; or another by `with_pre_tokenizer`", names.join(", ")),
        }
    })
}

/// A step that writes bytes as letters, and splits by GPT-2's pattern or not.
fn is_bytes(step: &Value, splits: bool) -> bool {
    let flag = |key: &str| step[key].as_bool().unwrap_or(true);
    step["type"] == "ByteLevel" && flag("use_regex") == splits && !flag("add_prefix_space")
}

/// A step that keeps what its pattern finds as words.
fn is_split(step: &Value) -> bool {
    let found_is_kept = match step["invert"].as_bool() {
        Some(true) => step["behavior"] == "Removed",
        _ => step["behavior"] == "Isolated",
    };
    step["type"] == "Split" && found_is_kept
}

/// Whether a tokenizer with bytes in its vocabulary puts a space in front of a text.
///
/// # Errors
/// [`ModelError::Unsupported`] where it does more to a text than to write `▁` for spaces.
pub(super) fn space_prefix(json: &Value) -> Result<bool, ModelError> {
    let (normalizer, pre) = (&json["normalizer"], &json["pre_tokenizer"]);
    let steps: Vec<&Value> = match normalizer["normalizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None if normalizer.is_null() => Vec::new(),
        None => vec![normalizer],
    };
    let mut prefix = false;
    for step in steps {
        let is_prepend = step["type"] == "Prepend" && step["prepend"] == SPACE;
        let is_replace =
            step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == SPACE;
        if !is_prepend && !is_replace {
            return Err(unsupported(&format!("the normalizer {step}")));
        }
        prefix |= is_prepend;
    }
    match pre["type"].as_str() {
        None => {}
        Some("Metaspace") => prefix |= pre["prepend_scheme"] != "never",
        // Gemma's, which finds no space any more.
        Some("Split") if pre["pattern"]["String"] == " " => {}
        Some(_) => return Err(unsupported(&format!("the pre-tokenizer {pre}"))),
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result<T: ToString>(result: Result<T, ModelError>) -> String {
        result.map_or_else(|error| error.to_string(), |found| found.to_string())
    }

    #[test]
    fn rules_for_words_are_named() {
        let bytes =
            |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex});
        let split = |pattern: &str, behavior: &str, invert: bool| {
            let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert});
            json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
        };
        let named = |pre: Value, ignore_merges: bool, normalizer: Value| {
            let model = json!({"ignore_merges": ignore_merges});
            result(pre_tokenizer(&json!({"pre_tokenizer": pre, "model": model, "normalizer": normalizer})))
        };
        assert_eq!(named(bytes(true), false, Value::Null), "gpt-2");
        for (pattern, ignores, name) in PATTERNS {
            assert_eq!(named(split(pattern, "Isolated", false), ignores, json!({"type": "NFC"})), name);
            assert_eq!(named(split(pattern, "Removed", true), ignores, Value::Null), name);
            assert!(named(split(pattern, "Removed", false), ignores, Value::Null).contains("does not have"));
        }
        // Qwen 2's pattern, with merges skipped as Qwen 2 does not.
        assert!(named(split(PATTERNS[3].0, "Isolated", false), true, Value::Null).contains("does not have"));
        assert!(named(bytes(false), false, Value::Null).contains("does not have"));
        let spaced = json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true});
        assert!(named(spaced, false, Value::Null).contains("does not have"));
        assert!(
            named(bytes(true), false, json!({"type": "Lowercase"})).starts_with("GGUF with the normalizer")
        );
    }

    #[test]
    fn spaces_in_front_are_found() {
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let both = json!({"type": "Sequence", "normalizers": [prepend, replace]});
        let metaspace =
            |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme});
        let split = json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious"});
        let cases = [
            (both, Value::Null, "true"),
            (replace.clone(), Value::Null, "false"),
            (replace.clone(), split, "false"),
            (Value::Null, metaspace("first"), "true"),
            (Value::Null, metaspace("never"), "false"),
            (
                json!({"type": "NFKC"}),
                Value::Null,
                "GGUF with the normalizer {\"type\":\"NFKC\"} is not supported",
            ),
            (
                replace,
                json!({"type": "Digits"}),
                "GGUF with the pre-tokenizer {\"type\":\"Digits\"} is not supported",
            ),
        ];
        for (normalizer, pre, wanted) in cases {
            let found = result(space_prefix(&json!({"normalizer": normalizer, "pre_tokenizer": pre})));
            assert!(found.starts_with(wanted), "{found:?}\nwanted {wanted:?}");
        }
    }
}
