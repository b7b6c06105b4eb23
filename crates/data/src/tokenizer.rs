//! Text to token ids and back.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::DataError;
use crate::template::ChatTemplate;

/// The special tokens that a tokenizer configuration names.
const ROLES: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// A tokenizer as Hugging Face's model directories hold it, with its special tokens and chat template.
///
/// The work is done by the crate `tokenizers`, so ids are those of Python's fast tokenizers.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    /// In the order of [`ROLES`].
    special: [Option<SpecialToken>; 4],
    /// Ids of every token that `tokenizer.json` calls special.
    special_ids: HashSet<u32>,
    template: Option<ChatTemplate>,
}

#[derive(Debug, Clone)]
struct SpecialToken {
    text: String,
    id: u32,
}

impl Tokenizer {
    /// Reads a model directory.
    ///
    /// | file | what is read |
    /// |---|---|
    /// | `tokenizer.json` | everything that turns text into ids; its own truncation and padding are switched off |
    /// | `tokenizer_config.json` | `bos_token`, `eos_token`, `pad_token`, `unk_token`, each a string or an object with `content`; `chat_template` |
    /// | `special_tokens_map.json` | the special tokens that `tokenizer_config.json` does not name |
    /// | `chat_template.jinja` | the chat template; it wins over `tokenizer_config.json` |
    ///
    /// `chat_template` may be a list of named templates, of which `default` is taken. Only `tokenizer.json` must be
    /// there. Which special tokens are added around a text is for its post-processor to say (`add_bos_token` and the
    /// like are not looked at).
    ///
    /// # Errors
    ///
    /// [`DataError::Tokenizer`] naming the file that is missing or wrong, or the special tokens that are not in the
    /// vocabulary; [`DataError::Read`] if a file cannot be read.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        let dir = dir.as_ref();
        let mut tokenizer = Self::from_file(dir.join("tokenizer.json"))?;
        let config_path = dir.join("tokenizer_config.json");
        let config = read_object(&config_path)?.unwrap_or_default();
        tokenizer.read_special_tokens(&config, &config_path)?;
        let map_path = dir.join("special_tokens_map.json");
        if let Some(map) = read_object(&map_path)? {
            tokenizer.read_special_tokens(&map, &map_path)?;
        }
        let template_path = dir.join("chat_template.jinja");
        if let Some(source) = read(&template_path)? {
            return tokenizer.with_template_of(&source, &template_path);
        }
        match chat_template_of(&config, &config_path)? {
            Some(source) => tokenizer.with_template_of(&source, &config_path),
            None => Ok(tokenizer),
        }
    }

    /// Reads a `tokenizer.json` alone: without special tokens by role and without a chat template.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::from_dir`].
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let path = path.into();
        let Some(text) = read(&path)? else {
            let message = "no such file (a sentencepiece tokenizer.model has to be converted to a tokenizer.json first)";
            return Err(DataError::Tokenizer { path, message: message.to_owned() });
        };
        let mut inner = match tokenizers::Tokenizer::from_bytes(text) {
            Ok(inner) => inner,
            Err(error) => return Err(DataError::Tokenizer { path, message: error.to_string() }),
        };
        // A saved truncation or padding would change ids behind the caller's back.
        if let Err(error) = inner.with_truncation(None) {
            return Err(DataError::Tokenizer { path, message: error.to_string() });
        }
        inner.with_padding(None);
        let added = inner.get_added_tokens_decoder();
        let special_ids = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        Ok(Self { inner, path, special: [None, None, None, None], special_ids, template: None })
    }

    /// The same tokenizer with another chat template.
    ///
    /// # Errors
    ///
    /// [`DataError::Template`] if the source is no template.
    pub fn with_chat_template(mut self, source: &str) -> Result<Self, DataError> {
        let mut template = ChatTemplate::parse(source, self.bos_token(), self.eos_token())?;
        for (name, token) in ROLES.into_iter().zip(&self.special) {
            if let Some(token) = token {
                template = template.with_variable(name, token.text.as_str());
            }
        }
        self.template = Some(template);
        Ok(self)
    }

    fn with_template_of(self, source: &str, path: &Path) -> Result<Self, DataError> {
        self.with_chat_template(source)
            .map_err(|error| DataError::Tokenizer { path: path.to_owned(), message: error.to_string() })
    }

    /// Takes over the special tokens that are not known yet.
    fn read_special_tokens(&mut self, config: &Map<String, Value>, path: &Path) -> Result<(), DataError> {
        let mut wrong = Vec::new();
        for (role, slot) in ROLES.into_iter().zip(&mut self.special) {
            let text = match config.get(role) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => text,
                Some(Value::Object(token)) => match token.get("content") {
                    Some(Value::String(text)) => text,
                    _ => {
                        wrong.push(format!("{role} is an object without a string `content`"));
                        continue;
                    }
                },
                Some(_) => {
                    wrong.push(format!("{role} is neither a string nor an object"));
                    continue;
                }
            };
            if slot.is_none() {
                match self.inner.token_to_id(text) {
                    Some(id) => *slot = Some(SpecialToken { text: text.clone(), id }),
                    None => wrong.push(format!("{role} {text:?} is not in the vocabulary of tokenizer.json")),
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(DataError::Tokenizer { path: path.to_owned(), message: wrong.join("; ") })
    }

    /// The ids of a text; with `add_special`, the post-processor adds its special tokens (most often BOS in front).
    ///
    /// A special token that the text spells becomes that token, as in Python.
    ///
    /// # Errors
    ///
    /// [`DataError::Tokenizer`] if the vocabulary cannot spell the text and has no unknown token.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, DataError> {
        let encoding = self.inner.encode_fast(text, add_special).map_err(|error| self.error(error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text and the byte range of the text that each comes from, `(start, end)`.
    ///
    /// A token that holds a part of a character has the range of the whole character; one that stands for no text has
    /// an empty range.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_with_offsets(
        &self,
        text: &str,
        add_special: bool,
    ) -> Result<(Vec<u32>, Vec<(usize, usize)>), DataError> {
        let encoding = self.inner.encode(text, add_special).map_err(|error| self.error(error))?;
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().to_vec()))
    }

    /// The text of ids; with `skip_special`, special tokens are left out. Ids outside the vocabulary are skipped.
    ///
    /// # Errors
    ///
    /// [`DataError::Tokenizer`] if the decoder refuses the tokens.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, DataError> {
        self.inner.decode(ids, skip_special).map_err(|error| self.error(error))
    }

    /// The id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether `tokenizer.json` calls the token special.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// Tokens in the vocabulary, the added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of the token that begins a text.
    pub fn bos_id(&self) -> Option<u32> {
        self.role(0).map(|token| token.id)
    }

    /// The id of the token that ends a text.
    pub fn eos_id(&self) -> Option<u32> {
        self.role(1).map(|token| token.id)
    }

    /// The id of the padding token.
    pub fn pad_id(&self) -> Option<u32> {
        self.role(2).map(|token| token.id)
    }

    /// The id of the token for what the vocabulary cannot spell.
    pub fn unk_id(&self) -> Option<u32> {
        self.role(3).map(|token| token.id)
    }

    /// The id to pad with: the padding token's, else EOS's, else 0. Padding is masked by position, so any id serves.
    pub fn padding_id(&self) -> u32 {
        self.pad_id().or(self.eos_id()).unwrap_or(0)
    }

    /// The token that begins a text.
    pub fn bos_token(&self) -> Option<&str> {
        self.role(0).map(|token| token.text.as_str())
    }

    /// The token that ends a text.
    pub fn eos_token(&self) -> Option<&str> {
        self.role(1).map(|token| token.text.as_str())
    }

    /// The chat template, if the model has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    fn role(&self, index: usize) -> Option<&SpecialToken> {
        self.special[index].as_ref()
    }

    fn error(&self, error: tokenizers::Error) -> DataError {
        DataError::Tokenizer { path: self.path.clone(), message: error.to_string() }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("vocab_size", &self.vocab_size())
            .field("special", &self.special)
            .field("chat_template", &self.template.is_some())
            .finish_non_exhaustive()
    }
}

/// The text of a file; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<String>, DataError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Read { path: path.to_owned(), source }),
    }
}

/// The JSON object in a file; `None` if there is no such file.
fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, DataError> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    let message = match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => return Ok(Some(object)),
        Ok(_) => "not a JSON object".to_owned(),
        Err(error) => format!("not valid JSON: {error}"),
    };
    Err(DataError::Tokenizer { path: path.to_owned(), message })
}

/// The source in `chat_template`: a string, or the template named `default` (else the only one) of a list.
fn chat_template_of(config: &Map<String, Value>, path: &Path) -> Result<Option<String>, DataError> {
    let error = |message: String| DataError::Tokenizer { path: path.to_owned(), message };
    let named = match config.get("chat_template") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(source)) => return Ok(Some(source.clone())),
        Some(Value::Array(named)) => named,
        Some(_) => {
            return Err(error("chat_template is neither a string nor a list of named templates".to_owned()));
        }
    };
    let mut templates = Vec::with_capacity(named.len());
    for (index, entry) in named.iter().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        match (text("name"), text("template")) {
            (Some(name), Some(source)) => templates.push((name, source)),
            _ => return Err(error(format!("chat_template[{index}] has no strings `name` and `template`"))),
        }
    }
    let default = templates.iter().find(|(name, _)| *name == "default");
    match (default, templates.as_slice()) {
        (Some((_, source)), _) | (None, [(_, source)]) => Ok(Some((*source).to_owned())),
        (None, []) => Ok(None),
        (None, _) => {
            let names: Vec<&str> = templates.iter().map(|(name, _)| *name).collect();
            Err(error(format!("chat_template has no template named default, only {}", names.join(", "))))
        }
    }
}
