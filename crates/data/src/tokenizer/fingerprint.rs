use xxhash_rust::xxh3::Xxh3;

use super::Tokenizer;
use crate::error::DataError;

impl Tokenizer {
    /// A hash of everything that decides the tokens of a record: the tokenizer as `tokenizer.json` would hold it, the
    /// roles of its special tokens, and the chat template with its variables (XXH3, 128 bits).
    ///
    /// # Errors
    ///
    /// [`DataError::Tokenizer`] if the tokenizer cannot be written as JSON.
    pub(crate) fn fingerprint(&self) -> Result<u128, DataError> {
        let mut hash = Xxh3::new();
        let mut update = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        update(self.inner.to_string(false).map_err(|wrong| self.error(wrong))?.as_bytes());
        for token in &self.special {
            match token {
                Some(token) => update(format!("{} {}", token.id, token.text).as_bytes()),
                None => update(b""),
            }
        }
        match &self.template {
            Some(template) => {
                update(template.source().as_bytes());
                update(template.settings().as_bytes());
            }
            None => update(b"no template"),
        }
        Ok(hash.digest128())
    }
}
