//! `generation_config.json`: how its author wants a model to be sampled.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::error::ModelError;

/// The file inside a model directory.
const GENERATION_CONFIG_FILE: &str = "generation_config.json";

/// The settings of `generation_config.json` that are understood; absent ones are `None`, or greedy decoding.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// The token a text begins with.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text. Where this is empty, those of the model's configuration do.
    pub eos_token_ids: Vec<u32>,
    /// The token that fills rows.
    pub pad_token_id: Option<u32>,
    /// Whether to sample; greedy otherwise.
    pub do_sample: bool,
    /// Divides the logits.
    pub temperature: Option<f64>,
    /// Keeps this many of the most likely tokens; `None` (or 0 in the file) keeps all.
    pub top_k: Option<usize>,
    /// Keeps the most likely tokens that together have this probability.
    pub top_p: Option<f64>,
    /// Makes tokens less likely that were there before.
    pub repetition_penalty: Option<f64>,
    /// The most tokens to generate.
    pub max_new_tokens: Option<usize>,
}

impl GenerationConfig {
    /// Reads `generation_config.json` of a model directory; `None` if there is no such file.
    ///
    /// # Errors
    /// [`ModelError::Io`] where it cannot be read, and those of [`from_json`](Self::from_json).
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Option<Self>, ModelError> {
        let path = dir.as_ref().join(GENERATION_CONFIG_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::from_json(&text, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ModelError::io(&path)(error)),
        }
    }

    /// Reads the text of a `generation_config.json`; `path` is what errors call it. Unknown keys are ignored: the file
    /// also holds settings of decoding methods that are not built here.
    ///
    /// # Errors
    /// [`ModelError::Json`] where it is no JSON object, and [`ModelError::Config`] with every field of the wrong type.
    pub fn from_json(text: &str, path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let map: Map<String, Value> = serde_json::from_str(text)
            .map_err(|source| ModelError::Json { path: path.to_path_buf(), source })?;
        let mut problems = Vec::new();
        match read(&mut Fields::new(&map, &mut problems)) {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ModelError::Config { path: path.to_path_buf(), problems }),
        }
    }
}

fn read(fields: &mut Fields<'_>) -> Option<GenerationConfig> {
    let bos_token_id = fields.token("bos_token_id", None);
    let eos_token_ids = fields.tokens("eos_token_id", None);
    let pad_token_id = fields.token("pad_token_id", None);
    let do_sample = fields.bool("do_sample", false);
    // transformers turns sampling off for a temperature of 0 with a warning; as a number it means greedy.
    let temperature = fields.read("temperature", Some(None), "a number from 0", |value| {
        value.as_f64().filter(|number| *number >= 0.0 && number.is_finite()).map(Some)
    });
    let top_k = fields.read("top_k", Some(None), "an integer from 0", |value| {
        usize::try_from(value.as_u64()?).ok().map(|k| (k > 0).then_some(k))
    });
    let top_p = fields.read("top_p", Some(None), "a number above 0, at most 1", |value| {
        value.as_f64().filter(|number| *number > 0.0 && *number <= 1.0).map(Some)
    });
    let repetition_penalty = fields.read("repetition_penalty", Some(None), "a positive number", |value| {
        value.as_f64().filter(|number| *number > 0.0 && number.is_finite()).map(Some)
    });
    let max_new_tokens = fields.read("max_new_tokens", Some(None), "an integer from 0", |value| {
        usize::try_from(value.as_u64()?).ok().map(Some)
    });
    Some(GenerationConfig {
        bos_token_id: bos_token_id?,
        eos_token_ids: eos_token_ids?,
        pad_token_id: pad_token_id?,
        do_sample: do_sample?,
        temperature: temperature?,
        top_k: top_k?,
        top_p: top_p?,
        repetition_penalty: repetition_penalty?,
        max_new_tokens: max_new_tokens?,
    })
}
