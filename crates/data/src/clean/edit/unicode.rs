use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick};

use crate::clean::rule::{Rule, Scratch};
use crate::clean::settings::settings;

/// A normal form of Unicode (UAX 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormalForm {
    /// Canonical, composed: é is one character.
    #[default]
    Nfc,
    /// Compatible, composed: ligatures, wide letters and superscripts become plain ones.
    Nfkc,
    /// Canonical, decomposed: é is e and an accent.
    Nfd,
}

settings! {
    /// Brings text into a normal form of Unicode.
    Unicode = "unicode" {
        /// `nfc`, `nfkc` or `nfd`.
        form / with_form: NormalForm = NormalForm::Nfc,
    }
}

impl Rule for Unicode {
    fn edits(&self) -> bool {
        true
    }

    fn edit(&self, text: &str, _scratch: &mut Scratch) -> Option<String> {
        if text.is_ascii() {
            return None;
        }
        let quick = match self.form {
            NormalForm::Nfc => is_nfc_quick(text.chars()),
            NormalForm::Nfkc => is_nfkc_quick(text.chars()),
            NormalForm::Nfd => is_nfd_quick(text.chars()),
        };
        if quick == IsNormalized::Yes {
            return None;
        }
        let new: String = match self.form {
            NormalForm::Nfc => text.nfc().collect(),
            NormalForm::Nfkc => text.nfkc().collect(),
            NormalForm::Nfd => text.nfd().collect(),
        };
        (new != text).then_some(new)
    }
}
