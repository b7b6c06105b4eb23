//! What the files beside a `tokenizer.model` add to it. A `tokenizer.json` has all of this inside.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::files::{error, read_object, token_text};
use super::{ADDITIONAL, ROLES};
use crate::error::DataError;

/// Settings of `tokenizer_config.json` that transformers' converter looks at, and the tokens added to the model.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) legacy: Option<bool>,
    pub(super) add_prefix_space: Option<bool>,
    pub(super) add_bos_token: Option<bool>,
    pub(super) add_eos_token: Option<bool>,
    /// In the order of their ids.
    pub(super) added: Vec<(u32, AddedToken)>,
}

impl Beside {
    /// Reads the settings from `config`, and the added tokens from its `added_tokens_decoder`, or where it has none
    /// from `added_tokens.json`.
    pub(super) fn read(dir: &Path, config: &Map<String, Value>, path: &Path) -> Result<Self, DataError> {
        let flag = |key: &str| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(error(path, format!("{key} is neither true nor false"))),
        };
        let mut added = match config.get("added_tokens_decoder") {
            None | Some(Value::Null) => added_tokens(dir, config)?,
            Some(Value::Object(tokens)) => {
                let tokens = tokens.iter().map(|(id, token)| decoder_entry(id, token));
                let wrong =
                    |id: &str| error(path, format!("added_tokens_decoder[{id:?}] is no token with an id"));
                tokens.collect::<Result<_, _>>().map_err(wrong)?
            }
            Some(_) => return Err(error(path, "added_tokens_decoder is not an object")),
        };
        added.sort_by_key(|(id, _)| *id);
        Ok(Self {
            legacy: flag("legacy")?,
            add_prefix_space: flag("add_prefix_space")?,
            add_bos_token: flag("add_bos_token")?,
            add_eos_token: flag("add_eos_token")?,
            added,
        })
    }
}

/// One entry of `added_tokens_decoder`: `"32000": {"content": "<pad>", "special": true, …}`.
fn decoder_entry<'a>(id: &'a str, token: &Value) -> Result<(u32, AddedToken), &'a str> {
    let flag = |key: &str| token.get(key).and_then(Value::as_bool).unwrap_or(false);
    let (Ok(number), Some(content)) = (id.parse(), token.get("content").and_then(Value::as_str)) else {
        return Err(id);
    };
    let added = AddedToken::from(content, flag("special"))
        .normalized(flag("normalized"))
        .single_word(flag("single_word"))
        .lstrip(flag("lstrip"))
        .rstrip(flag("rstrip"));
    Ok((number, added))
}

/// `added_tokens.json`: `{"<pad>": 32000}`. Special are those that a role or `additional_special_tokens` names.
fn added_tokens(dir: &Path, config: &Map<String, Value>) -> Result<Vec<(u32, AddedToken)>, DataError> {
    let path = dir.join("added_tokens.json");
    let Some(tokens) = read_object(&path)? else {
        return Ok(Vec::new());
    };
    let map = read_object(&dir.join("special_tokens_map.json"))?.unwrap_or_default();
    let special: HashSet<&str> = [config, &map].into_iter().flat_map(named).collect();
    let entry = |(content, id): (&String, &Value)| match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
        Some(id) => {
            Ok((id, AddedToken::from(content.clone(), special.contains(content.as_str())).normalized(false)))
        }
        None => Err(error(&path, format!("{content:?} has no id but {id}"))),
    };
    tokens.iter().map(entry).collect()
}

/// The tokens that a configuration calls special. What is spelled wrongly is reported where the roles are read.
fn named(config: &Map<String, Value>) -> Vec<&str> {
    let roles = ROLES.into_iter().filter_map(|role| token_text(config, role).ok().flatten());
    let more = config.get(ADDITIONAL).and_then(Value::as_array).into_iter().flatten();
    let more = more.filter_map(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
    roles.chain(more).collect()
}
