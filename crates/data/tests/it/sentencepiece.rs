use std::fs;
use std::path::Path;

use burnisher_data::{DataError, PieceKind, SentencePieceAlgorithm, SentencePieceModel, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::shared;
use crate::tokenizer::{fixture, fixture_json, fixture_tokenizer, read_json, typed};

/// Protocol Buffers' wire format, the writing half.
#[derive(Default)]
struct Proto(Vec<u8>);

impl Proto {
    fn varint(mut self, mut value: u64) -> Self {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn number(self, field: u64, value: u64) -> Self {
        self.varint(field << 3).varint(value)
    }

    fn float(self, field: u64, value: f32) -> Self {
        let mut out = self.varint(field << 3 | 5);
        out.0.extend(value.to_le_bytes());
        out
    }

    fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        let mut out = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        out.0.extend(bytes);
        out
    }

    fn message(self, field: u64, message: Proto) -> Self {
        self.bytes(field, &message.0)
    }

    fn piece(self, text: &str, score: f32, kind: u64) -> Self {
        self.message(1, Proto::default().bytes(1, text.as_bytes()).float(2, score).number(3, kind))
    }

    /// `<unk>`, `<s>`, `</s>`.
    fn specials(self) -> Self {
        self.piece("<unk>", 0.0, 2).piece("<s>", 0.0, 3).piece("</s>", 0.0, 3)
    }

    /// A trainer_spec of this model type with SentencePiece's defaults.
    fn trainer(self, model_type: u64) -> Self {
        self.message(2, Proto::default().number(3, model_type))
    }

    /// A normalizer_spec without rules.
    fn normalizer(self, add_dummy_prefix: bool, remove_extra_whitespaces: bool) -> Self {
        let spec = Proto::default().number(3, add_dummy_prefix.into());
        self.message(3, spec.number(4, remove_extra_whitespaces.into()))
    }
}

const UNIGRAM: u64 = 1;
const BPE: u64 = 2;

/// A folder with these files.
fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap_or_else(|error| panic!("{error}"));
    }
    dir
}

fn load(dir: &Path) -> Tokenizer {
    Tokenizer::from_dir(dir).unwrap_or_else(|error| panic!("{error}"))
}

fn encode(tokenizer: &Tokenizer, text: &str, add_special: bool) -> Vec<u32> {
    tokenizer.encode(text, add_special).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// The pieces of a text, without special tokens.
fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = encode(tokenizer, text, false);
    ids.into_iter().map(|id| tokenizer.id_to_token(id).unwrap_or_default()).collect()
}

/// The reference model's folder, as it would be without its `tokenizer.json`.
fn without_json() -> Option<tempfile::TempDir> {
    let from = fixture("tokenizers/spm")?;
    let files = ["tokenizer.model", "tokenizer_config.json", "chat_template.jinja"];
    let read = |name| (name, fs::read(from.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")));
    Some(folder(&files.map(read)))
}

/// Reference: tokenizers 0.23.3 through transformers 5.23.0 and sentencepiece 0.2.3, fixtures' `make_fixtures.py`.
#[test]
fn a_model_gives_the_ids_of_its_tokenizer_json() {
    let (Some(dir), Some(reference)) = (without_json(), fixture_json("tokenizers/spm_cases.json")) else {
        return;
    };
    let Some(json) = fixture_tokenizer("spm") else {
        return;
    };
    let tokenizer = load(dir.path());
    assert_eq!(tokenizer.vocab_size(), json.vocab_size());
    for id in 0..json.vocab_size() as u32 {
        assert_eq!(tokenizer.id_to_token(id), json.id_to_token(id));
        assert_eq!(tokenizer.is_special(id), json.is_special(id), "{id}");
    }
    let roles = |tokenizer: &Tokenizer| {
        [tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id(), tokenizer.unk_id()]
    };
    assert_eq!(roles(&tokenizer), roles(&json));
    assert!(tokenizer.chat_template().is_some());
    let cases: Vec<Value> = typed(&reference["cases"]);
    assert_eq!(cases.len(), 30);
    for case in cases {
        let text: String = typed(&case["text"]);
        let ids = encode(&tokenizer, &text, true);
        assert_eq!(ids, typed::<Vec<u32>>(&case["ids"]), "{text:?}");
        let bare = encode(&tokenizer, &text, false);
        assert_eq!(bare, typed::<Vec<u32>>(&case["ids_no_special"]), "{text:?}");
        // SentencePiece itself never reads a special token out of a text.
        if !text.contains("<s>") {
            assert_eq!(bare, typed::<Vec<u32>>(&case["sentencepiece_ids"]), "{text:?}");
        }
        let offsets = |tokenizer: &Tokenizer| tokenizer.encode_with_offsets(&text, true).ok();
        assert_eq!(offsets(&tokenizer), offsets(&json), "{text:?}");
        for (key, skip_special) in [("decoded_keep_special", false), ("decoded_skip_special", true)] {
            let decoded = tokenizer.decode(&ids, skip_special).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(Some(decoded.as_str()), case[key].as_str(), "{text:?}");
        }
    }
}

/// Reference: sentencepiece 0.2.3, docs/parity/sentencepiece_cases.py. The models are Mistral 7B's (BPE with bytes) and
/// SentencePiece's own test model (Unigram with NFKC rules).
#[test]
fn real_models_give_the_ids_of_sentencepiece() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/sentencepiece_cases.json");
    let reference = read_json(Path::new(path));
    let models: Vec<Value> = typed(&reference["models"]);
    assert_eq!(models.len(), 2);
    for model in models {
        let name: String = typed(&model["file"]);
        let Some(path) = shared(&format!("data/tokenizers/{name}")) else {
            return;
        };
        let tokenizer = Tokenizer::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(tokenizer.vocab_size(), typed::<usize>(&model["vocab_size"]));
        let special = [tokenizer.unk_id(), tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()];
        assert_eq!(special.to_vec(), typed::<Vec<Option<u32>>>(&model["special"]), "{name}");
        for case in typed::<Vec<Value>>(&model["cases"]) {
            let text: String = typed(&case["text"]);
            let ids: Vec<u32> = typed(&case["ids"]);
            assert_eq!(encode(&tokenizer, &text, false), ids, "{name} {text:?}");
            // What is unknown is decoded in another way on purpose: as `<unk>`, as transformers does.
            if !ids.iter().any(|id| Some(*id) == tokenizer.unk_id()) {
                let decoded = tokenizer.decode(&ids, false).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(Some(decoded.as_str()), case["decoded"].as_str(), "{name} {text:?}");
            }
        }
    }
}

#[test]
fn a_unigram_model_takes_the_best_sum() {
    let model = Proto::default()
        .specials()
        .piece("▁", -3.0, 1)
        .piece("a", -4.0, 1)
        .piece("b", -4.0, 1)
        .piece("ab", -5.0, 1)
        .piece("▁a", -4.0, 1)
        .piece("<tag>", 0.0, 4)
        .trainer(UNIGRAM)
        .normalizer(true, true);
    let dir = folder(&[("tokenizer.model", model.0)]);
    let tokenizer = load(dir.path());
    let cases: [(&str, &[&str]); 6] = [
        // -8 against -8 of "▁" + "ab": the first found stays, as in SentencePiece.
        ("ba ab", &["▁", "b", "a", "▁", "ab"]),
        ("  a   b ", &["▁a", "▁", "b"]),
        ("aé!b", &["▁a", "<unk>", "b"]),
        ("a<tag>b", &["▁a", "<tag>", "▁", "b"]),
        ("", &[]),
        ("   ", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(pieces(&tokenizer, text), expected, "{text:?}");
    }
    // No tokenizer_config.json: the model's own special tokens, none of them put around a text.
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()), (Some(1), Some(2), None));
    assert_eq!(encode(&tokenizer, "a", true), [7]);
    assert!(tokenizer.is_special(0) && tokenizer.is_special(2) && !tokenizer.is_special(8));
    assert_eq!(tokenizer.decode(&[1, 7, 3, 6, 2], true).ok().as_deref(), Some("a ab"));
}

#[test]
fn the_files_beside_a_model_are_obeyed() {
    let model = || {
        let pieces = [("▁", -3.0), ("a", -4.0), ("b", -5.0), ("▁a", -0.0), ("ab", -1.0)];
        let model = pieces
            .iter()
            .fold(Proto::default().specials(), |model, (text, score)| model.piece(text, *score, 1));
        model.trainer(BPE).normalizer(true, false).0
    };
    let tokenizer = |config: Value, more: &[(&str, Value)]| {
        let mut files =
            vec![("tokenizer.model", model()), ("tokenizer_config.json", config.to_string().into())];
        files.extend(more.iter().map(|(name, value)| (*name, value.to_string().into())));
        let dir = folder(&files);
        Tokenizer::from_dir(dir.path()).map_err(|error| error.to_string())
    };
    let ids = |config: Value, text: &str| {
        let tokenizer = tokenizer(config, &[]).unwrap_or_else(|error| panic!("{error}"));
        encode(&tokenizer, text, true)
    };
    assert_eq!(ids(json!({}), "a"), [1, 6]);
    assert_eq!(ids(json!({"add_bos_token": false, "add_eos_token": true}), "a"), [6, 2]);
    assert_eq!(ids(json!({"add_eos_token": true}), "a"), [1, 6, 2]);
    assert_eq!(ids(json!({"bos_token": "</s>"}), "a"), [2, 6]);
    // A role that is set to null stays empty.
    assert_eq!(ids(json!({"bos_token": null}), "a"), [6]);
    assert_eq!(ids(json!({"add_prefix_space": false}), "ab"), [1, 7]);
    assert_eq!(ids(json!({}), "a</s>a"), [1, 6, 2, 6]);
    assert_eq!(ids(json!({"legacy": false}), "a</s>a"), [1, 6, 2, 4]);

    let decoder = json!({"0": {"content": "<unk>", "special": true}, "8": {"content": "<pad>", "special": true},
                         "9": {"content": "abc", "special": false, "normalized": false}});
    let added = tokenizer(json!({"added_tokens_decoder": decoder, "pad_token": "<pad>"}), &[]);
    let added = added.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((added.pad_id(), added.is_special(8), added.is_special(9)), (Some(8), true, false));
    assert_eq!(pieces(&added, "a abc<pad>"), ["▁a", "▁", "abc", "<pad>"]);
    let file = [("added_tokens.json", json!({"<more>": 9, "<pad>": 8}))];
    let added =
        tokenizer(json!({"pad_token": {"content": "<pad>"}, "additional_special_tokens": ["<more>"]}), &file);
    let added = added.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((added.pad_id(), added.is_special(8), added.is_special(9)), (Some(8), true, true));

    let cases = [
        (json!({"legacy": "yes"}), "tokenizer_config.json: legacy is neither true nor false"),
        (json!({"added_tokens_decoder": []}), "added_tokens_decoder is not an object"),
        (
            json!({"added_tokens_decoder": {"x": {"content": "a"}}}),
            "added_tokens_decoder[\"x\"] is no token with an id",
        ),
        (
            json!({"added_tokens_decoder": {"12": {"content": "<pad>"}}}),
            "tokenizer.model: the added token \"<pad>\" has the id 12 in the files beside, here 8",
        ),
        (json!({"pad_token": "<pad>"}), "pad_token \"<pad>\" is not in the vocabulary of tokenizer.model"),
        (
            json!({"bos_token": null, "add_bos_token": true}),
            "add_bos_token is true, and there is no such token",
        ),
    ];
    for (config, wanted) in cases {
        let error = tokenizer(config, &[]).err().unwrap_or_default();
        assert!(error.contains(wanted), "{error:?}\nwanted {wanted:?}");
    }
    let error =
        tokenizer(json!({}), &[("added_tokens.json", json!({"<pad>": -1}))]).err().unwrap_or_default();
    assert!(error.contains("added_tokens.json: \"<pad>\" has no id but -1"), "{error}");
}

#[test]
fn merges_follow_the_scores_and_not_the_order() {
    // "ab" comes last in the file and has the best score, so "abc" is "ab" + "c" and not "a" + "bc".
    let model = |first: f32, last: f32| {
        let pieces = [("a", -8.0), ("b", -8.0), ("c", -8.0), ("bc", first), ("ab", last)];
        let model = pieces
            .iter()
            .fold(Proto::default().specials(), |model, (text, score)| model.piece(text, *score, 1));
        folder(&[("tokenizer.model", model.trainer(BPE).normalizer(false, false).0)])
    };
    assert_eq!(pieces(&load(model(-1.0, 0.0).path()), "abc"), ["ab", "c"]);
    assert_eq!(pieces(&load(model(0.0, -1.0).path()), "abc"), ["a", "bc"]);
    // A byte's piece is never made of its letters, as in SentencePiece.
    let letters = ["<", "0", "x", "4", "1", ">", "<0", "<0x", "<0x4", "1>"];
    let model = letters.iter().fold(Proto::default().specials(), |model, text| model.piece(text, -1.0, 1));
    let model = model.piece("<0x41>", 0.0, 6).trainer(BPE).normalizer(false, false);
    let dir = folder(&[("tokenizer.model", model.0)]);
    assert_eq!(pieces(&load(dir.path()), "<0x41>"), ["<0x4", "1>"]);
}

#[test]
fn a_model_says_what_it_holds() {
    let Some(path) = fixture("tokenizers/spm/tokenizer.model") else {
        return;
    };
    let model = SentencePieceModel::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.algorithm(), SentencePieceAlgorithm::Bpe);
    assert_eq!((model.unk_id(), model.bos_id(), model.eos_id(), model.pad_id()), (0, Some(1), Some(2), None));
    assert!(model.byte_fallback() && model.add_dummy_prefix() && !model.remove_extra_whitespaces());
    assert!(model.precompiled_charsmap().is_empty());
    let kinds = [0, 1, 3, 258, 259].map(|id| model.pieces()[id].kind);
    let byte = PieceKind::Byte;
    assert_eq!(kinds, [PieceKind::Unknown, PieceKind::Control, byte, byte, PieceKind::Normal]);
    assert_eq!(model.pieces()[3].text, "<0x00>");
    let missing = SentencePieceModel::from_file(path.with_file_name("none.model"));
    assert!(matches!(missing, Err(DataError::Read { .. })), "{missing:?}");
}

#[test]
fn lies_are_named() {
    let good = || Proto::default().specials().piece("a", -1.0, 1);
    let complete = |model: Proto| model.trainer(BPE).normalizer(true, false).0;
    let long = "x".repeat(513);
    #[rustfmt::skip]
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "no trainer_spec or no normalizer_spec (is the file cut off?)"),
        (b"version https://git-lfs.github.com/spec/v1".to_vec(), "a Git LFS pointer, wanted the file it points to"),
        (b"IQ== 0\n".to_vec(), "not a SentencePiece model that can be used: byte 1: 8 bytes wanted, 6 left"),
        (complete(good().bytes(1, &[0x0a, 0x7f])), "bytes wanted, 0 left (is the file cut off?)"),
        (complete(good().number(1, 7)), "field 1 holds a number, wanted bytes"),
        (complete(good().message(1, Proto::default().bytes(1, &[b'a', 0xff]))), "field 1 is not UTF-8"),
        (complete(good().message(1, Proto::default().bytes(1, b"b").bytes(2, b"1"))), "field 2 holds bytes, wanted a float"),
        (complete(good().piece("", 0.0, 1)), "piece 4 has no text"),
        (complete(good().piece(&long, 0.0, 1)), "piece 4 has 513 bytes, wanted at most 512"),
        (complete(good().piece("b", f32::NAN, 1)), "piece 4 \"b\" has the score NaN"),
        (complete(good().piece("a", 0.0, 1)), "piece 4 \"a\" is piece 3 already"),
        (complete(good().piece("b", 0.0, 7)), "\"b\" has the type 7"),
        (complete(good().piece("b", 0.0, 0)), "\"b\" has the type 0"),
        (complete(good().piece("<unk2>", 0.0, 2)), "2 unknown pieces, wanted one"),
        (complete(Proto::default().piece("a", 0.0, 1)), "0 unknown pieces, wanted one"),
        (good().trainer(4).normalizer(true, false).0, "model_type 4, wanted 1 (unigram) or 2 (BPE)"),
        (good().trainer(BPE).0, "no trainer_spec or no normalizer_spec"),
        (good().message(2, Proto::default().number(3, BPE).number(24, 1)).normalizer(true, false).0,
         "treat_whitespace_as_suffix"),
        (good().message(2, Proto::default().number(3, BPE).number(35, 1)).normalizer(true, false).0,
         "byte_fallback with 0 byte pieces, wanted 256"),
        (good().trainer(BPE).message(3, Proto::default().number(5, 0)).0, "no escape_whitespaces"),
        (good().trainer(BPE).message(3, Proto::default().bytes(2, &[0xff; 12])).0,
         "precompiled_charsmap: a trie of 4294967295 bytes in 8"),
    ];
    for (bytes, wanted) in cases {
        let error = SentencePieceModel::from_bytes(&bytes, "t.model").err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            error.starts_with("tokenizer t.model: ") && error.contains(wanted),
            "{error:?}\nwanted {wanted:?}"
        );
    }
    assert!(SentencePieceModel::from_bytes(&complete(good()), "t.model").is_ok());
}

/// The reference model's file.
fn reference_bytes() -> Option<Vec<u8>> {
    let path = fixture("tokenizers/spm/tokenizer.model")?;
    Some(fs::read(path).unwrap_or_else(|error| panic!("{error}")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_truncated_model_is_an_error(part in 0.0..1.0f64) {
        if let Some(bytes) = reference_bytes() {
            // Behind the specs SentencePiece writes nothing but an empty denormalizer_spec.
            let length = (part * (bytes.len() - 2) as f64) as usize;
            prop_assert!(SentencePieceModel::from_bytes(&bytes[..length], "t.model").is_err());
        }
    }

    #[test]
    fn a_changed_byte_never_panics(place in any::<prop::sample::Index>(), byte in any::<u8>(), text in "\\PC{0,12}") {
        if let Some(mut bytes) = reference_bytes() {
            let at = place.index(bytes.len());
            bytes[at] = byte;
            let dir = folder(&[("tokenizer.model", bytes)]);
            if let Ok(tokenizer) = Tokenizer::from_dir(dir.path()) {
                let ids = tokenizer.encode(&text, true).unwrap_or_default();
                let _ = tokenizer.decode(&ids, true);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SentencePieceModel::from_bytes(&bytes, "t.model");
    }

    #[test]
    fn a_charsmap_of_any_bytes_never_panics(table in prop::collection::vec(any::<u8>(), 0..64), text in "\\PC{0,12}") {
        let mut units = vec![0u8; 1024];
        units[..table.len()].copy_from_slice(&table);
        let mut charsmap = 1024u32.to_le_bytes().to_vec();
        charsmap.extend(units);
        charsmap.extend(b"a\0bc\0");
        let model = Proto::default().specials().piece("a", -1.0, 1).trainer(UNIGRAM);
        let model = model.message(3, Proto::default().bytes(2, &charsmap));
        let dir = folder(&[("tokenizer.model", model.0)]);
        if let Ok(tokenizer) = Tokenizer::from_dir(dir.path()) {
            let _ = tokenizer.encode(&text, false);
        }
    }
}
