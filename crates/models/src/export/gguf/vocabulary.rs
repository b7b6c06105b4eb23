//! A tokenizer as GGUF metadata.

use std::path::Path;

use burnisher_data::Tokenizer;

use super::tokens::{self, Kind, Token};
use super::{GgufArray, GgufValue};
use crate::config::{GenerationConfig, ModelConfig};
use crate::error::ModelError;

/// The keys below `tokenizer.` for the tokenizer in `dir`: tokens, special tokens, what is put around a text, and the
/// chat template. The vocabulary is filled up to the model's embeddings.
///
/// # Errors
/// [`ModelError::Data`] where the tokenizer cannot be read, [`ModelError::Unsupported`] where llama.cpp has none of its
/// kind, [`ModelError::Gguf`] where it has more tokens than the model.
pub(super) fn read(
    dir: &Path,
    config: &ModelConfig,
    pre: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, GgufValue)>, ModelError> {
    let tokenizer = Tokenizer::from_dir(dir)?;
    let size = config.vocab_size;
    let vocabulary = tokens::read(dir, &tokenizer, pre, size, notes)?;
    let mut tokens = vocabulary.tokens;
    if tokens.len() > size {
        let message = format!("the tokenizer has {} tokens, the model {size} embeddings", tokens.len());
        return Err(ModelError::Gguf { path: dir.to_path_buf(), message });
    }
    tokens.extend((tokens.len()..size).map(Token::unused));
    let kinds = tokens.iter().map(|token| token.kind as i32 + 1).collect();
    let mut metadata = Vec::new();
    let mut ggml = |key: &str, value: GgufValue| metadata.push((format!("tokenizer.ggml.{key}"), value));
    let (scores, texts): (Vec<f32>, Vec<String>) =
        tokens.into_iter().map(|token| (token.score, token.text)).unzip();
    let array = |array: GgufArray| GgufValue::Array(array);
    match vocabulary.kind {
        Kind::Scored { add_space_prefix } => {
            ggml("model", "llama".into());
            ggml("pre", "default".into());
            ggml("tokens", array(GgufArray::String(texts)));
            ggml("scores", array(GgufArray::F32(scores)));
            ggml("token_type", array(GgufArray::I32(kinds)));
            ggml("add_space_prefix", GgufValue::Bool(add_space_prefix));
        }
        Kind::ByteLevel { pre, merges } => {
            ggml("model", "gpt2".into());
            ggml("pre", pre.as_str().into());
            ggml("tokens", array(GgufArray::String(texts)));
            ggml("token_type", array(GgufArray::I32(kinds)));
            ggml("merges", array(GgufArray::String(merges)));
        }
    }
    let ends = ends(dir, config)?;
    let eos = tokenizer.eos_id().or(ends.first().copied());
    let special = [
        ("bos_token_id", tokenizer.bos_id().or(config.bos_token_id)),
        ("eos_token_id", eos),
        // Where a turn has an end of its own, generation stops there, too.
        ("eot_token_id", ends.iter().copied().find(|id| Some(*id) != eos)),
        ("unknown_token_id", tokenizer.unk_id()),
        ("padding_token_id", tokenizer.pad_id().or(config.pad_token_id)),
    ];
    for (key, id) in special {
        if let Some(id) = id.filter(|id| (*id as usize) < size) {
            ggml(key, GgufValue::U32(id));
        }
    }
    let [bos, eos] = around(&tokenizer)?;
    ggml("add_bos_token", GgufValue::Bool(bos));
    ggml("add_eos_token", GgufValue::Bool(eos));
    if let Some(template) = tokenizer.chat_template() {
        metadata.push(("tokenizer.chat_template".to_owned(), template.source().into()));
    }
    Ok(metadata)
}

/// The tokens that end a text, of generation_config.json or else of config.json.
fn ends(dir: &Path, config: &ModelConfig) -> Result<Vec<u32>, ModelError> {
    let generation = GenerationConfig::from_dir(dir)?.map(|generation| generation.eos_token_ids);
    Ok(generation.filter(|ids| !ids.is_empty()).unwrap_or_else(|| config.eos_token_ids.clone()))
}

/// Whether the tokenizer puts BOS in front of a text, and EOS behind it.
fn around(tokenizer: &Tokenizer) -> Result<[bool; 2], ModelError> {
    let (with, without) = (tokenizer.encode("a", true)?, tokenizer.encode("a", false)?);
    let added = |end: Option<&u32>, token: Option<u32>| {
        with.len() > without.len() && token.is_some() && end.copied() == token
    };
    Ok([added(with.first(), tokenizer.bos_id()), added(with.last(), tokenizer.eos_id())])
}
