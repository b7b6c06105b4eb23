//! How a run goes.

use super::align::AlignConfig;
use super::chunk::ChunkConfig;
use super::format::AnswerFormat;
use super::prompt::PromptStyle;
use crate::error::DataError;

/// What becomes of extractions that are not in the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ungrounded {
    /// They stay, with [`Status::Ungrounded`](super::Status::Ungrounded) and without a span.
    #[default]
    Flag,
    /// They are left out and counted.
    Drop,
}

/// What becomes of extractions that the schema does not allow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Invalid {
    /// They stay, with flags.
    #[default]
    Flag,
    /// They are left out and counted.
    Drop,
}

/// How an [`Extractor`](super::Extractor) works.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtractConfig {
    /// How documents are cut.
    pub chunks: ChunkConfig,
    /// How many code points of the chunk before are shown as context; 0 for none.
    pub context_chars: usize,
    /// The layout of requests.
    pub style: PromptStyle,
    /// The form of answers.
    pub format: AnswerFormat,
    /// How extractions are found in the source; its tokenizer also cuts the documents.
    pub align: AlignConfig,
    /// How often every chunk is asked. More finds more, if the temperature is above 0.
    pub passes: u32,
    /// Requests at the same time.
    pub concurrency: usize,
    /// How often a chunk is asked whose answer cannot be read. Such answers are kept too: a run that goes on asks them
    /// again only with more attempts.
    pub attempts: u32,
    /// The sampling temperature; `None` leaves it to the model.
    pub temperature: Option<f64>,
    /// The most tokens of an answer; `None` leaves it to the model.
    pub max_tokens: Option<u32>,
    /// The seed of the first request; each pass and attempt adds one.
    pub seed: Option<u64>,
    /// What becomes of extractions that are not in the source.
    pub ungrounded: Ungrounded,
    /// What becomes of extractions that the schema does not allow.
    pub invalid: Invalid,
}

impl Default for ExtractConfig {
    fn default() -> Self {
        Self {
            chunks: ChunkConfig::new(1000),
            context_chars: 0,
            style: PromptStyle::default(),
            format: AnswerFormat::default(),
            align: AlignConfig::default(),
            passes: 1,
            concurrency: 8,
            attempts: 1,
            temperature: None,
            max_tokens: None,
            seed: None,
            ungrounded: Ungrounded::Flag,
            invalid: Invalid::Flag,
        }
    }
}

impl ExtractConfig {
    /// Sets how documents are cut.
    #[must_use]
    pub fn with_chunks(mut self, chunks: ChunkConfig) -> Self {
        self.chunks = chunks;
        self
    }

    /// Sets how much of the chunk before is shown.
    #[must_use]
    pub fn with_context_chars(mut self, chars: usize) -> Self {
        self.context_chars = chars;
        self
    }

    /// Sets the layout of requests.
    #[must_use]
    pub fn with_style(mut self, style: PromptStyle) -> Self {
        self.style = style;
        self
    }

    /// Sets the form of answers.
    #[must_use]
    pub fn with_format(mut self, format: AnswerFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets how extractions are found.
    #[must_use]
    pub fn with_align(mut self, align: AlignConfig) -> Self {
        self.align = align;
        self
    }

    /// Sets how often every chunk is asked.
    #[must_use]
    pub fn with_passes(mut self, passes: u32) -> Self {
        self.passes = passes;
        self
    }

    /// Sets the requests at the same time.
    #[must_use]
    pub fn with_concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests;
        self
    }

    /// Sets how often a chunk is asked whose answer cannot be read.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the temperature.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sets the most tokens of an answer.
    #[must_use]
    pub fn with_max_tokens(mut self, tokens: u32) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets the first seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets what becomes of extractions that are not in the source.
    #[must_use]
    pub fn with_ungrounded(mut self, ungrounded: Ungrounded) -> Self {
        self.ungrounded = ungrounded;
        self
    }

    /// Sets what becomes of extractions that the schema does not allow.
    #[must_use]
    pub fn with_invalid(mut self, invalid: Invalid) -> Self {
        self.invalid = invalid;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] for a 0 where one is needed, or as [`AlignConfig::validate`].
    pub fn validate(&self) -> Result<(), DataError> {
        let counts = [
            ("max_chars", self.chunks.max_chars),
            ("passes", self.passes as usize),
            ("concurrency", self.concurrency),
            ("attempts", self.attempts as usize),
        ];
        for (field, value) in counts {
            if value == 0 {
                return Err(DataError::InvalidConfig { field, found: "0".to_owned(), wanted: "1 or more" });
            }
        }
        self.align.validate()
    }
}
