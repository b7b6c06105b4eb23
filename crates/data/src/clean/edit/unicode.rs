use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick};

use crate::clean::blocks::wide_runs;
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
        // ASCII is in every form, and nothing is put in order across it; what composes with it is no `Yes`.
        let is_normal = |run: &str| match self.form {
            NormalForm::Nfc => is_nfc_quick(run.chars()),
            NormalForm::Nfkc => is_nfkc_quick(run.chars()),
            NormalForm::Nfd => is_nfd_quick(run.chars()),
        };
        if wide_runs(text).all(|(_, run)| is_normal(run) == IsNormalized::Yes) {
            return None;
        }
        self.edit_reference(text)
    }

    fn edit_reference(&self, text: &str) -> Option<String> {
        let new: String = match self.form {
            NormalForm::Nfc => text.nfc().collect(),
            NormalForm::Nfkc => text.nfkc().collect(),
            NormalForm::Nfd => text.nfd().collect(),
        };
        (new != text).then_some(new)
    }
}
