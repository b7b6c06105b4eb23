use std::fs;
use std::path::{Path, PathBuf};

use burnisher_data::{DataError, Message, Tokenizer};
use serde_json::{Value, json};

use crate::shared;

/// A file or folder of the reference numbers: of the committed part if it is there, else of ../shared.
pub(crate) fn fixture(path: &str) -> Option<PathBuf> {
    let committed = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/fixtures")).join(path);
    if committed.exists() {
        return Some(committed);
    }
    shared("fixtures/models").map(|fixtures| fixtures.join(path))
}

pub(crate) fn fixture_json(path: &str) -> Option<Value> {
    fixture(path).map(|path| read_json(&path))
}

pub(crate) fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tokenizer `bpe` or `spm` of the reference numbers.
pub(crate) fn fixture_tokenizer(name: &str) -> Option<Tokenizer> {
    let dir = fixture(&format!("tokenizers/{name}"))?;
    Some(Tokenizer::from_dir(dir).unwrap_or_else(|error| panic!("{error}")))
}

/// A JSON value as a Rust one.
pub(crate) fn typed<T: for<'de> serde::Deserialize<'de>>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

/// Character offsets of byte offsets.
fn char_offsets(text: &str, offsets: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let chars = |byte: usize| text.char_indices().filter(|(at, _)| *at < byte).count();
    offsets.iter().map(|(start, end)| (chars(*start), chars(*end))).collect()
}

/// Reference: tokenizers 0.23.3 through transformers 5.23.0, fixtures' `make_fixtures.py`.
#[test]
fn ids_offsets_and_decodings_are_those_of_transformers() {
    for name in ["bpe", "spm"] {
        let Some(cases) = fixture_json(&format!("tokenizers/{name}_cases.json")) else {
            return;
        };
        let Some(tokenizer) = fixture_tokenizer(name) else {
            return;
        };
        assert_eq!(tokenizer.vocab_size(), typed::<usize>(&cases["vocab_size"]), "{name}");
        let ids = [
            ("bos", tokenizer.bos_id()),
            ("eos", tokenizer.eos_id()),
            ("pad", tokenizer.pad_id()),
            ("unk", tokenizer.unk_id()),
        ];
        for (role, id) in ids {
            let token: Option<(String, u32)> = typed(&cases["special"][role]);
            assert_eq!(id, token.as_ref().map(|(_, id)| *id), "{name} {role}");
            if let Some((token, id)) = token {
                assert_eq!(tokenizer.token_to_id(&token), Some(id));
                assert_eq!(tokenizer.id_to_token(id), Some(token));
                assert!(tokenizer.is_special(id));
            }
        }
        assert_eq!(tokenizer.bos_token(), cases["special"]["bos"][0].as_str());
        assert_eq!(tokenizer.eos_token(), cases["special"]["eos"][0].as_str());
        let cases: Vec<Value> = typed(&cases["cases"]);
        assert_eq!(cases.len(), 30);
        for case in cases {
            let text: String = typed(&case["text"]);
            let wanted: Vec<u32> = typed(&case["ids"]);
            let encode =
                |add_special| tokenizer.encode(&text, add_special).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(encode(true), wanted, "{name} {text:?}");
            assert_eq!(encode(false), typed::<Vec<u32>>(&case["ids_no_special"]), "{name} {text:?}");
            let (ids, offsets) =
                tokenizer.encode_with_offsets(&text, true).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(ids, wanted, "{name} {text:?}");
            let wanted_offsets: Vec<(usize, usize)> = typed(&case["offsets_chars"]);
            assert_eq!(char_offsets(&text, &offsets), wanted_offsets, "{name} {text:?}");
            let tokens: Vec<String> = typed(&case["tokens"]);
            let found: Vec<String> = ids.iter().filter_map(|id| tokenizer.id_to_token(*id)).collect();
            assert_eq!(found, tokens, "{name} {text:?}");
            for (key, skip_special) in [("decoded_keep_special", false), ("decoded_skip_special", true)] {
                let decoded = tokenizer.decode(&ids, skip_special).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(Some(decoded.as_str()), case[key].as_str(), "{name} {text:?}");
            }
        }
    }
}

/// A folder with the byte-level tokenizer and the given further files.
fn folder(files: &[(&str, Value)]) -> Option<tempfile::TempDir> {
    let tokenizer = fixture("tokenizers/bpe/tokenizer.json")?;
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    fs::copy(tokenizer, dir.path().join("tokenizer.json")).unwrap_or_else(|error| panic!("{error}"));
    for (name, content) in files {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        fs::write(dir.path().join(name), text).unwrap_or_else(|error| panic!("{error}"));
    }
    Some(dir)
}

#[test]
fn every_spelling_of_a_configuration_is_read() {
    let hello = |template: &str| Some(format!("{template}Hi"));
    let source = |name: &str| format!("{name}{{{{ messages[0].content }}}}");
    let cases = [
        (vec![], (None, None, None), None),
        (
            vec![(
                "tokenizer_config.json",
                json!({"eos_token": "<|eos|>", "bos_token": null, "chat_template": source("c")}),
            )],
            (None, Some(2), None),
            hello("c"),
        ),
        (
            vec![(
                "tokenizer_config.json",
                json!({"eos_token": {"content": "<|eos|>", "lstrip": false}, "pad_token": "<|pad|>",
                       "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": source("d")}]}),
            )],
            (None, Some(2), Some(0)),
            hello("d"),
        ),
        (
            vec![
                ("tokenizer_config.json", json!({"bos_token": "<|bos|>", "chat_template": source("c")})),
                (
                    "special_tokens_map.json",
                    json!({"bos_token": "<|eos|>", "eos_token": {"content": "<|im_end|>"}}),
                ),
                ("chat_template.jinja", json!(source("j"))),
            ],
            (Some(1), Some(4), None),
            hello("j"),
        ),
        (
            vec![(
                "tokenizer_config.json",
                json!({"chat_template": [{"name": "only", "template": source("o")}]}),
            )],
            (None, None, None),
            hello("o"),
        ),
    ];
    for (files, ids, rendered) in cases {
        let Some(dir) = folder(&files) else {
            return;
        };
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()), ids, "{files:?}");
        let padding = tokenizer.pad_id().or(tokenizer.eos_id()).unwrap_or(0);
        assert_eq!(tokenizer.padding_id(), padding);
        let found = tokenizer.chat_template().map(|template| {
            template.render(&[Message::new("user", "Hi")], false).map(|rendered| rendered.text)
        });
        let found = found.map(|text| text.unwrap_or_else(|error| panic!("{error}")));
        assert_eq!(found, rendered, "{files:?}");
    }
}

#[test]
fn a_saved_truncation_or_padding_changes_nothing() {
    let Some(mut saved) = fixture_json("tokenizers/bpe/tokenizer.json") else {
        return;
    };
    saved["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    saved["padding"] = json!({"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": null,
                              "pad_id": 0, "pad_type_id": 0, "pad_token": "<|pad|>"});
    let Some(dir) = folder(&[("tokenizer.json", saved)]) else {
        return;
    };
    let (Ok(changed), Some(tokenizer)) = (Tokenizer::from_dir(dir.path()), fixture_tokenizer("bpe")) else {
        panic!("a tokenizer with truncation does not load");
    };
    let text = "one two three four";
    assert_eq!(changed.encode(text, true).ok(), tokenizer.encode(text, true).ok());
}

#[test]
fn bad_files_are_named() {
    let cases = [
        ("tokenizer.json", json!("{\"version\""), "tokenizer.json: "),
        ("tokenizer.json", json!({"version": "1.0"}), "tokenizer.json: "),
        ("tokenizer_config.json", json!("{"), "tokenizer_config.json: not valid JSON: "),
        ("tokenizer_config.json", json!([1]), "tokenizer_config.json: not a JSON object"),
        (
            "tokenizer_config.json",
            json!({"eos_token": "<end>", "pad_token": 3, "bos_token": {"id": 1}}),
            "tokenizer_config.json: bos_token is an object without a string `content`; eos_token \"<end>\" is not in \
             the vocabulary of tokenizer.json; pad_token is neither a string nor an object",
        ),
        (
            "special_tokens_map.json",
            json!({"eos_token": ["</s>"]}),
            "special_tokens_map.json: eos_token is neither",
        ),
        (
            "tokenizer_config.json",
            json!({"chat_template": "{% if %}"}),
            "tokenizer_config.json: chat template: syntax error",
        ),
        ("chat_template.jinja", json!("{{"), "chat_template.jinja: chat template: syntax error"),
        (
            "tokenizer_config.json",
            json!({"chat_template": 1}),
            "chat_template is neither a string nor a list",
        ),
        (
            "tokenizer_config.json",
            json!({"chat_template": [{"name": "a"}]}),
            "chat_template[0] has no strings",
        ),
        (
            "tokenizer_config.json",
            json!({"chat_template": [{"name": "a", "template": ""}, {"name": "b", "template": ""}]}),
            "no template named default, only a, b",
        ),
    ];
    for (name, content, wanted) in cases {
        let Some(dir) = folder(&[(name, content)]) else {
            return;
        };
        let error = Tokenizer::from_dir(dir.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(wanted), "{error:?}\nwanted {wanted:?}");
        assert!(error.contains(name), "{error:?}");
    }
    let empty = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    match Tokenizer::from_dir(empty.path()) {
        Err(DataError::Tokenizer { path, message }) => {
            assert_eq!(path, empty.path().join("tokenizer.json"));
            assert!(message.starts_with("no such file"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}
