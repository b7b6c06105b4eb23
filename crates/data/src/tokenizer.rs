//! Text to token ids and back.

mod beside;
mod files;
mod fingerprint;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::beside::Beside;
use self::files::{chat_template_of, error, read, read_object, token_text};
use crate::error::DataError;
use crate::sentencepiece::{
    Conversion, SentencePieceAlgorithm, SentencePieceModel, post_processor, to_tokenizer,
};
use crate::template::{BuiltinTemplate, ChatTemplate};

/// The special tokens that a tokenizer configuration names.
const ROLES: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// Where it lists those without a role.
const ADDITIONAL: &str = "additional_special_tokens";

/// A tokenizer as Hugging Face's model directories hold it, with its special tokens and chat template.
///
/// The work is done by the crate `tokenizers`, so ids are those of Python's fast tokenizers.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    /// In the order of [`ROLES`].
    special: [Option<SpecialToken>; 4],
    /// Ids of every token that the tokenizer's file calls special.
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
    /// | `tokenizer.model` | the same, where there is no `tokenizer.json`: a SentencePiece model, see below |
    /// | `tokenizer_config.json` | `bos_token`, `eos_token`, `pad_token`, `unk_token`, each a string or an object with `content`; `chat_template` |
    /// | `special_tokens_map.json` | the special tokens that `tokenizer_config.json` does not name |
    /// | `chat_template.jinja` | the chat template; it wins over `tokenizer_config.json` |
    ///
    /// `chat_template` may be a list of named templates, of which `default` is taken. Only `tokenizer.json` or
    /// `tokenizer.model` must be there. Which special tokens are added around a text is for the post-processor of
    /// `tokenizer.json` to say (`add_bos_token` and the like are not looked at).
    ///
    /// A SentencePiece model is converted as transformers 4 does it. Its control pieces and the unknown piece are the
    /// special tokens, and its own `<s>`, `</s>` and padding piece fill the roles that no other file mentions. More is
    /// read beside it: `added_tokens_decoder` of `tokenizer_config.json`, else `added_tokens.json`, whose ids must
    /// follow the model's; and of `tokenizer_config.json` `legacy` (true if it is not there: text behind a special
    /// token gets a space in front), `add_prefix_space` (as the model says), `add_bos_token` (true for BPE, false for
    /// Unigram) and `add_eos_token` (false).
    ///
    /// # Errors
    ///
    /// [`DataError::Tokenizer`] naming the file that is missing or wrong, or the special tokens that are not in the
    /// vocabulary; [`DataError::Read`] if a file cannot be read.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        let dir = dir.as_ref();
        let config_path = dir.join("tokenizer_config.json");
        let config = read_object(&config_path)?.unwrap_or_default();
        let (json, model_path) = (dir.join("tokenizer.json"), dir.join("tokenizer.model"));
        let (mut tokenizer, model) = match read(&json)? {
            Some(text) => (Self::from_json(json, &text)?, None),
            None => {
                let Some(model) = SentencePieceModel::read(&model_path)? else {
                    return Err(error(&json, "no such file, and no tokenizer.model beside it"));
                };
                let beside = Beside::read(dir, &config, &config_path)?;
                (Self::from_sentencepiece(model_path, &model, &beside)?, Some((model, beside)))
            }
        };
        tokenizer.read_special_tokens(&config, &config_path)?;
        let map_path = dir.join("special_tokens_map.json");
        let map = read_object(&map_path)?.unwrap_or_default();
        tokenizer.read_special_tokens(&map, &map_path)?;
        if let Some((model, beside)) = model {
            tokenizer.take_roles(&model, |role| config.contains_key(role) || map.contains_key(role));
            tokenizer.add_around(&model, &beside)?;
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

    /// Reads a `tokenizer.json` alone: without special tokens by role and without a chat template. A file with the
    /// extension `model` is read as a SentencePiece model, with the special tokens that it names.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::from_dir`].
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let path = path.into();
        if path.extension() == Some(OsStr::new("model")) {
            let Some(model) = SentencePieceModel::read(&path)? else {
                return Err(error(&path, "no such file"));
            };
            let beside = Beside::default();
            let mut tokenizer = Self::from_sentencepiece(path, &model, &beside)?;
            tokenizer.take_roles(&model, |_| false);
            tokenizer.add_around(&model, &beside)?;
            return Ok(tokenizer);
        }
        match read(&path)? {
            Some(text) => Self::from_json(path, &text),
            None => Err(error(&path, "no such file")),
        }
    }

    fn from_json(path: PathBuf, text: &str) -> Result<Self, DataError> {
        let mut inner =
            tokenizers::Tokenizer::from_bytes(text).map_err(|wrong| error(&path, wrong.to_string()))?;
        // A saved truncation or padding would change ids behind the caller's back.
        inner.with_truncation(None).map_err(|wrong| error(&path, wrong.to_string()))?;
        inner.with_padding(None);
        Ok(Self::of(inner, path))
    }

    /// The model with the tokens added to it; roles, and what is put around a text, are for the caller.
    fn from_sentencepiece(
        path: PathBuf,
        model: &SentencePieceModel,
        beside: &Beside,
    ) -> Result<Self, DataError> {
        let wrong = |message: tokenizers::Error| error(&path, message.to_string());
        let conversion =
            Conversion { legacy: beside.legacy.unwrap_or(true), add_prefix_space: beside.add_prefix_space };
        let mut inner = to_tokenizer(model, conversion).map_err(wrong)?;
        for (id, token) in &beside.added {
            inner.add_tokens([token.clone()]).map_err(wrong)?;
            let found = inner.token_to_id(&token.content);
            if found != Some(*id) {
                let found = found.map_or("none".to_owned(), |found| found.to_string());
                let message = format!(
                    "the added token {:?} has the id {id} in the files beside, here {found}",
                    token.content
                );
                return Err(error(&path, message));
            }
        }
        Ok(Self::of(inner, path))
    }

    fn of(inner: tokenizers::Tokenizer, path: PathBuf) -> Self {
        let added = inner.get_added_tokens_decoder();
        let special_ids = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        Self { inner, path, special: [None, None, None, None], special_ids, template: None }
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

    /// The same tokenizer with a chat template of this crate, which takes the tokenizer's BOS and EOS.
    ///
    /// # Errors
    ///
    /// [`DataError::Tokenizer`] if the template needs a BOS or EOS that the tokenizer lacks, or if a token that marks turns
    /// is not one token of the vocabulary: the model would have to learn to spell it.
    pub fn with_builtin_template(self, template: BuiltinTemplate) -> Result<Self, DataError> {
        let source = template.source();
        let mut missing: Vec<&str> = template
            .turn_tokens()
            .iter()
            .copied()
            .filter(|token| self.token_to_id(token).is_none())
            .collect();
        for (name, token) in [("bos_token", self.bos_token()), ("eos_token", self.eos_token())] {
            if source.contains(name) && token.is_none() {
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            let message =
                format!("the chat template {template} needs {}, which it lacks", missing.join(", "));
            return Err(error(&self.path, message));
        }
        self.with_chat_template(source)
    }

    fn with_template_of(self, source: &str, path: &Path) -> Result<Self, DataError> {
        self.with_chat_template(source).map_err(|wrong| error(path, wrong.to_string()))
    }

    /// Takes over the special tokens that are not known yet.
    fn read_special_tokens(&mut self, config: &Map<String, Value>, path: &Path) -> Result<(), DataError> {
        let mut wrong = Vec::new();
        for (role, slot) in ROLES.into_iter().zip(&mut self.special) {
            let text = match token_text(config, role) {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                Err(message) => {
                    wrong.push(message);
                    continue;
                }
            };
            if slot.is_none() {
                match self.inner.token_to_id(text) {
                    Some(id) => *slot = Some(SpecialToken { text: text.to_owned(), id }),
                    None => {
                        let file = self.path.file_name().unwrap_or_default().display();
                        wrong.push(format!("{role} {text:?} is not in the vocabulary of {file}"));
                    }
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(error(path, wrong.join("; "))) }
    }

    /// Fills the roles that no file mentions with the model's own pieces.
    fn take_roles(&mut self, model: &SentencePieceModel, is_mentioned: impl Fn(&str) -> bool) {
        let ids = [model.bos_id(), model.eos_id(), model.pad_id(), Some(model.unk_id())];
        for ((role, slot), id) in ROLES.into_iter().zip(&mut self.special).zip(ids) {
            if slot.is_none() && !is_mentioned(role) {
                *slot = id.map(|id| SpecialToken { text: model.pieces()[id as usize].text.clone(), id });
            }
        }
    }

    /// Sets what a SentencePiece model's tokenizer puts around a text.
    fn add_around(&mut self, model: &SentencePieceModel, beside: &Beside) -> Result<(), DataError> {
        let by_default = [model.algorithm() == SentencePieceAlgorithm::Bpe, false];
        let asked = [("add_bos_token", beside.add_bos_token), ("add_eos_token", beside.add_eos_token)];
        let mut around = [None, None];
        for (index, (key, asked)) in asked.into_iter().enumerate() {
            let token = self.special[index].as_ref();
            if asked == Some(true) && token.is_none() {
                return Err(error(&self.path, format!("{key} is true, and there is no such token")));
            }
            let token = token.map(|token| (token.text.as_str(), token.id));
            around[index] = token.filter(|_| asked.unwrap_or(by_default[index]));
        }
        let [bos, eos] = around;
        let template = post_processor(bos, eos).map_err(|wrong| self.error(wrong))?;
        self.inner.with_post_processor(template);
        Ok(())
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

    /// Whether the tokenizer's file calls the token special.
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

    fn error(&self, wrong: tokenizers::Error) -> DataError {
        error(&self.path, wrong.to_string())
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
