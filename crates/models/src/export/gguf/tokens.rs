//! The tokens of a model directory, in the order of their ids, as llama.cpp wants them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use burnisher_data::{PieceKind, SentencePieceAlgorithm, SentencePieceModel, Tokenizer};
use serde_json::Value;

use super::split;
use crate::error::ModelError;

/// What SentencePiece writes for a space.
const SPACE: &str = "▁";

/// The score that llama.cpp's converter gives to tokens that were added to a vocabulary.
const ADDED_SCORE: f32 = -1000.0;

/// A vocabulary.
#[derive(Debug, PartialEq)]
pub(super) struct Tokens {
    pub(super) kind: Kind,
    /// By id.
    pub(super) tokens: Vec<Token>,
}

/// What reads the vocabulary in llama.cpp.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `llama`: merges follow the scores, bytes are tokens.
    Scored {
        /// Whether a space is put in front of a text.
        add_space_prefix: bool,
    },
    /// `gpt2`: text is split into words and written in byte letters, merges are listed.
    ByteLevel {
        /// llama.cpp's name of the rules for words.
        pre: String,
        /// `left right`, the first first.
        merges: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) score: f32,
    /// llama.cpp took SentencePiece's kinds, with their numbers.
    pub(super) kind: PieceKind,
}

impl Token {
    /// A place of the vocabulary that holds nothing.
    pub(super) fn unused(id: usize) -> Self {
        Self { text: format!("[PAD{id}]"), score: -10_000.0, kind: PieceKind::Unused }
    }

    fn added(text: &str, is_special: bool) -> Self {
        match is_special {
            true => Self { text: text.to_owned(), score: ADDED_SCORE, kind: PieceKind::Control },
            // llama.cpp looks for these in text whose spaces are spaces.
            false => {
                Self { text: text.replace(SPACE, " "), score: ADDED_SCORE, kind: PieceKind::UserDefined }
            }
        }
    }
}

/// Reads `tokenizer.json`, or `tokenizer.model` where there is none. `pre` names the rules for words instead of the
/// file; at most `size` tokens are wanted.
pub(super) fn read(
    dir: &Path,
    tokenizer: &Tokenizer,
    pre: Option<&str>,
    size: usize,
    notes: &mut Vec<String>,
) -> Result<Tokens, ModelError> {
    let [json, model] = ["tokenizer.json", "tokenizer.model"].map(|file| dir.join(file));
    let model = match model.is_file() {
        true => Some(SentencePieceModel::from_file(model)?),
        false => None,
    };
    if json.is_file() {
        let text = fs::read_to_string(&json).map_err(ModelError::io(&json))?;
        let value: Value =
            serde_json::from_str(&text).map_err(|source| ModelError::Json { path: json.clone(), source })?;
        return JsonFile { path: &json, value: &value, size }.tokens(model.as_ref(), pre, notes);
    }
    let Some(model) = model else {
        return Err(unsupported("no tokenizer"));
    };
    from_model(&model, tokenizer)
}

pub(super) fn unsupported(what: &str) -> ModelError {
    ModelError::Unsupported {
        what: format!("GGUF with {what}"),
        supported: "BPE tokenizers, of SentencePiece without normalization rules or byte-level".to_owned(),
    }
}

fn from_model(model: &SentencePieceModel, tokenizer: &Tokenizer) -> Result<Tokens, ModelError> {
    if model.algorithm() != SentencePieceAlgorithm::Bpe {
        return Err(unsupported("a Unigram tokenizer"));
    }
    if !model.precompiled_charsmap().is_empty() || model.remove_extra_whitespaces() {
        return Err(unsupported("a SentencePiece model that changes text"));
    }
    let own = model.pieces().iter().zip(0..).map(|(piece, id)| match piece.kind {
        PieceKind::UserDefined => {
            Token { score: piece.score, ..Token::added(&piece.text, tokenizer.is_special(id)) }
        }
        kind => Token { text: piece.text.clone(), score: piece.score, kind },
    });
    let more = (model.pieces().len()..tokenizer.vocab_size()).map(|id| {
        let text = tokenizer.id_to_token(id as u32).unwrap_or_default();
        Token::added(&text, tokenizer.is_special(id as u32))
    });
    let tokens = own.chain(more).collect();
    let first = tokenizer.encode("a", false)?.first().and_then(|id| tokenizer.id_to_token(*id));
    let add_space_prefix = first.is_some_and(|token| token.starts_with(SPACE));
    Ok(Tokens { kind: Kind::Scored { add_space_prefix }, tokens })
}

/// A `tokenizer.json`.
struct JsonFile<'a> {
    path: &'a Path,
    value: &'a Value,
    /// The most tokens there may be.
    size: usize,
}

impl JsonFile<'_> {
    fn wrong(&self, message: impl Into<String>) -> ModelError {
        ModelError::Gguf { path: self.path.to_path_buf(), message: message.into() }
    }

    fn tokens(
        &self,
        model: Option<&SentencePieceModel>,
        pre: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Result<Tokens, ModelError> {
        let bpe = &self.value["model"];
        if bpe["type"].as_str().is_some_and(|kind| kind != "BPE") || !bpe["vocab"].is_object() {
            return Err(unsupported(&format!("a tokenizer of the type {}", bpe["type"])));
        }
        let merges = self.merges()?;
        let mut tokens = self.vocabulary()?;
        let kind = if bpe["byte_fallback"].as_bool().unwrap_or(false) {
            let add_space_prefix = split::space_prefix(self.value)?;
            score(&mut tokens, &merges, model, notes);
            Kind::Scored { add_space_prefix }
        } else {
            let pre = match pre {
                Some(pre) => pre.to_owned(),
                None => split::pre_tokenizer(self.value)?.to_owned(),
            };
            // llama.cpp parts them at the space, which a byte letter stands for.
            let join = |(left, right): &(String, String)| {
                format!("{} {}", left.replace(' ', "Ġ"), right.replace(' ', "Ġ"))
            };
            Kind::ByteLevel { pre, merges: merges.iter().map(join).collect() }
        };
        self.add(&mut tokens)?;
        let tokens =
            tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| Token::unused(id)));
        Ok(Tokens { kind, tokens: tokens.collect() })
    }

    /// The model's tokens by id, without scores.
    fn vocabulary(&self) -> Result<Vec<Option<Token>>, ModelError> {
        let bpe = &self.value["model"];
        let unknown = bpe["unk_token"].as_str();
        let mut tokens = Vec::new();
        for (text, id) in bpe["vocab"].as_object().into_iter().flatten() {
            let kind = match text.as_str() {
                text if Some(text) == unknown => PieceKind::Unknown,
                text if is_byte(text) && bpe["byte_fallback"] == true => PieceKind::Byte,
                _ => PieceKind::Normal,
            };
            self.put(&mut tokens, id, Token { text: text.clone(), score: 0.0, kind })?;
        }
        Ok(tokens)
    }

    /// The tokens that are found in a text before it is split.
    fn add(&self, tokens: &mut Vec<Option<Token>>) -> Result<(), ModelError> {
        for added in self.value["added_tokens"].as_array().into_iter().flatten() {
            let Some(text) = added["content"].as_str() else {
                return Err(self.wrong(format!("an added token without content: {added}")));
            };
            let mut token = Token::added(text, added["special"] == true);
            if let Some(Some(known)) =
                added["id"].as_u64().and_then(|id| tokens.get(usize::try_from(id).ok()?))
            {
                token.score = known.score;
                if known.kind == PieceKind::Unknown {
                    token.kind = PieceKind::Unknown;
                }
            }
            self.put(tokens, &added["id"], token)?;
        }
        Ok(())
    }

    fn put(&self, tokens: &mut Vec<Option<Token>>, id: &Value, token: Token) -> Result<(), ModelError> {
        let place = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < self.size);
        let Some(place) = place else {
            let size = self.size;
            return Err(
                self.wrong(format!("{:?} has the id {id}; the model has {size} embeddings", token.text))
            );
        };
        if place >= tokens.len() {
            tokens.resize(place + 1, None);
        }
        tokens[place] = Some(token);
        Ok(())
    }

    /// The merges, each a text with a space or a list of two.
    fn merges(&self) -> Result<Vec<(String, String)>, ModelError> {
        let merges = self.value["model"]["merges"].as_array().into_iter().flatten();
        let pair = |merge: &Value| {
            let pair = match merge {
                Value::String(text) => text.split_once(' '),
                Value::Array(pair) => match &pair[..] {
                    [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                    _ => None,
                },
                _ => None,
            };
            let (left, right) =
                pair.ok_or_else(|| self.wrong(format!("a merge that is no pair: {merge}")))?;
            Ok((left.to_owned(), right.to_owned()))
        };
        merges.map(pair).collect()
    }
}

/// Gives a vocabulary with bytes the scores that its merges have in llama.cpp: those of the SentencePiece model where
/// it has the same tokens, else minus the rank of a token's first merge.
fn score(
    tokens: &mut [Option<Token>],
    merges: &[(String, String)],
    model: Option<&SentencePieceModel>,
    notes: &mut Vec<String>,
) {
    let pieces = model.map(SentencePieceModel::pieces).unwrap_or_default();
    let is_same = |(token, id): (&Option<Token>, usize)| {
        let piece = pieces.get(id).map(|piece| piece.text.as_str());
        token.as_ref().is_none_or(|token| piece == Some(token.text.as_str()))
    };
    if pieces.len() >= tokens.len() && tokens.iter().zip(0..).all(is_same) {
        for (token, piece) in tokens.iter_mut().zip(pieces) {
            if let Some(token) = token {
                token.score = piece.score;
            }
        }
        return;
    }
    let mut ranks: HashMap<String, f32> = HashMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(-(rank as f32));
    }
    for token in tokens.iter_mut().flatten().filter(|token| token.kind == PieceKind::Normal) {
        token.score = ranks.get(&token.text).copied().unwrap_or(-(merges.len() as f32));
    }
    let unlisted = unlisted(tokens, merges);
    if unlisted > 0 {
        notes.push(format!(
            "llama.cpp also builds tokens in {unlisted} ways that are not among the merges: some texts are split otherwise"
        ));
    }
}

/// How many ways there are to build a token from two others that are not among the merges.
fn unlisted(tokens: &[Option<Token>], merges: &[(String, String)]) -> usize {
    let normal = || tokens.iter().flatten().filter(|token| token.kind == PieceKind::Normal);
    let texts: HashSet<&str> = normal().map(|token| token.text.as_str()).collect();
    let merges: HashSet<(&str, &str)> =
        merges.iter().map(|(left, right)| (left.as_str(), right.as_str())).collect();
    let ways = normal()
        .flat_map(|token| token.text.char_indices().skip(1).map(move |(at, _)| token.text.split_at(at)));
    ways.filter(|way| texts.contains(way.0) && texts.contains(way.1) && !merges.contains(way)).count()
}

/// Whether a token is spelled as a byte: `<0x0A>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(value: &Value) -> (Result<Tokens, String>, Vec<String>) {
        let mut notes = Vec::new();
        let file = JsonFile { path: Path::new("t.json"), value, size: 8 };
        (file.tokens(None, None, &mut notes).map_err(|error| error.to_string()), notes)
    }

    /// `a b c ab bc abc`, where `abc` is made of `ab` and `c` only.
    fn with_bytes(merges: Value) -> Value {
        json!({
            "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<u>", "merges": merges,
                      "vocab": {"<u>": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "bc": 5, "abc": 6}},
            "added_tokens": [{"id": 0, "content": "<u>", "special": true}, {"id": 7, "content": "▁x", "special": false}],
        })
    }

    #[test]
    fn scores_are_ranks_and_ways_that_are_no_merges_are_told() {
        let (found, notes) = tokens(&with_bytes(json!(["a b", "ab c", ["b", "c"], "a bc"])));
        let found = found.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(notes, Vec::<String>::new());
        let texts: Vec<&str> = found.tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts, ["<u>", "a", "b", "c", "ab", "bc", "abc", " x"]);
        let scores: Vec<f32> = found.tokens.iter().map(|token| token.score).collect();
        assert_eq!(scores, [0.0, -4.0, -4.0, -4.0, 0.0, -2.0, -1.0, -1000.0]);
        assert_eq!(
            (found.tokens[0].kind, found.tokens[7].kind),
            (PieceKind::Unknown, PieceKind::UserDefined)
        );
        assert_eq!(found.kind, Kind::Scored { add_space_prefix: false });
        let (_, notes) = tokens(&with_bytes(json!(["a b", "ab c", "b c"])));
        assert!(
            matches!(&notes[..], [note] if note.starts_with("llama.cpp also builds tokens in 1 ways")),
            "{notes:?}"
        );
    }

    #[test]
    fn lies_are_named() {
        let mut far = with_bytes(json!([]));
        far["model"]["vocab"]["far"] = 4_000_000_000u64.into();
        let mut negative = with_bytes(json!([]));
        negative["added_tokens"][1]["id"] = json!(-1);
        let mut nameless = with_bytes(json!([]));
        nameless["added_tokens"][1] = json!({"id": 7});
        let cases = [
            (with_bytes(json!(["ab"])), "t.json: a merge that is no pair: \"ab\""),
            (with_bytes(json!([["a"]])), "t.json: a merge that is no pair: [\"a\"]"),
            (far, "t.json: \"far\" has the id 4000000000; the model has 8 embeddings"),
            (negative, "t.json: \" x\" has the id -1; the model has 8 embeddings"),
            (nameless, "t.json: an added token without content: {\"id\":7}"),
            (
                json!({"model": {"type": "Unigram"}}),
                "GGUF with a tokenizer of the type \"Unigram\" is not supported",
            ),
        ];
        for (value, wanted) in cases {
            let error = tokens(&value).0.err().unwrap_or_default();
            assert!(error.starts_with(wanted), "{error:?}\nwanted {wanted:?}");
        }
    }

    #[test]
    fn bytes_are_known_by_their_spelling() {
        for (text, expected) in
            [("<0x0A>", true), ("<0xff>", true), ("<0x0>", false), ("<0x0G>", false), ("0x0A", false)]
        {
            assert_eq!(is_byte(text), expected, "{text}");
        }
    }
}
