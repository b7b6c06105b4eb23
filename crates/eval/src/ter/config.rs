//! TER's options.

use serde::{Deserialize, Serialize};

use super::Ter;

/// The options of TER. The default compares in lower case and changes nothing else, as sacrebleu 2.6.0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TerConfig {
    /// Set punctuation apart, as Tercom's `-N`.
    pub normalized: bool,
    /// Remove punctuation.
    pub no_punct: bool,
    /// With the two above, also treat characters and punctuation of Chinese and Japanese.
    pub asian_support: bool,
    /// Heed upper and lower case.
    pub case_sensitive: bool,
}

impl TerConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets punctuation apart, or not.
    pub fn with_normalized(mut self, normalized: bool) -> Self {
        self.normalized = normalized;
        self
    }

    /// Removes punctuation, or not.
    pub fn with_no_punct(mut self, no_punct: bool) -> Self {
        self.no_punct = no_punct;
        self
    }

    /// Treats Chinese and Japanese, or not.
    pub fn with_asian_support(mut self, asian_support: bool) -> Self {
        self.asian_support = asian_support;
        self
    }

    /// Heeds case, or not.
    pub fn with_case_sensitive(mut self, case_sensitive: bool) -> Self {
        self.case_sensitive = case_sensitive;
        self
    }

    /// TER with these options; any combination is one.
    pub fn init(&self) -> Ter {
        Ter { config: *self }
    }
}
