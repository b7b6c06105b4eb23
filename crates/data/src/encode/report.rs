use std::fmt;

use super::Outcome;
use crate::record::{Origin, Record};

/// Dropped records that the text of a report names.
const NAMED: usize = 20;

/// What [`Encoder::encode_all`](crate::Encoder::encode_all) counted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeReport {
    /// Records that were encoded.
    pub records: usize,
    /// Records that are there.
    pub kept: usize,
    /// The limit in tokens.
    pub max_length: usize,
    /// Kept records that were cut to the limit.
    pub truncated: usize,
    /// Tokens that the kept records lost.
    pub truncated_tokens: usize,
    /// Records that lost their whole trained part and are gone.
    pub dropped_no_target: Vec<Origin>,
    /// Tokens in the kept records.
    pub tokens: usize,
    /// Targets in the kept records.
    pub target_tokens: usize,
    /// Tokens in the longest record, before it was cut.
    pub longest: usize,
    /// Kept records whose prompt and completion were encoded apart, because a token spans the border.
    pub prompt_not_prefix: usize,
    /// Kept records in which the special token after an assistant's turn is not a target.
    pub end_not_trained: usize,
    /// Whether EOS was to be appended and the tokenizer has none.
    pub no_eos: bool,
}

impl EncodeReport {
    pub(super) fn new(max_length: usize) -> Self {
        Self {
            records: 0,
            kept: 0,
            max_length,
            truncated: 0,
            truncated_tokens: 0,
            dropped_no_target: Vec::new(),
            tokens: 0,
            target_tokens: 0,
            longest: 0,
            prompt_not_prefix: 0,
            end_not_trained: 0,
            no_eos: false,
        }
    }

    pub(super) fn count(&mut self, record: &Record, outcome: &Outcome) {
        self.records += 1;
        match outcome {
            Outcome::Kept { encoded, cut, prompt_is_prefix, end_is_trained } => {
                self.kept += 1;
                self.truncated += usize::from(*cut > 0);
                self.truncated_tokens += cut;
                self.tokens += encoded.len();
                self.target_tokens += encoded.target_tokens();
                self.longest = self.longest.max(encoded.len() + cut);
                self.prompt_not_prefix += usize::from(!prompt_is_prefix);
                self.end_not_trained += usize::from(!end_is_trained);
            }
            Outcome::Dropped { cut } => {
                self.dropped_no_target.push(record.origin.clone());
                self.longest = self.longest.max(self.max_length + cut);
            }
        }
    }

    /// What a person should look at before training, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.prompt_not_prefix > 0 {
            warnings.push(format!(
                "in {} of {} records a token spans the border between prompt and completion; the two were encoded apart",
                self.prompt_not_prefix, self.kept
            ));
        }
        if self.end_not_trained > 0 {
            warnings.push(format!(
                "in {} of {} records the token that ends an assistant's turn is not trained; the model may not learn to \
                 stop (the chat template should hold it inside the generation tags)",
                self.end_not_trained, self.kept
            ));
        }
        if self.no_eos {
            warnings.push(
                "the tokenizer has no EOS token, so none is appended to texts and completions".to_owned(),
            );
        }
        warnings
    }
}

impl fmt::Display for EncodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} records encoded: {} tokens, {} of them targets; the longest record has {}",
            self.kept, self.records, self.tokens, self.target_tokens, self.longest
        )?;
        if self.truncated > 0 {
            write!(
                f,
                "\n  {} cut to {} tokens, {} tokens lost",
                self.truncated, self.max_length, self.truncated_tokens
            )?;
        }
        if !self.dropped_no_target.is_empty() {
            let named: Vec<String> =
                self.dropped_no_target.iter().take(NAMED).map(Origin::to_string).collect();
            let more = self.dropped_no_target.len() - named.len();
            write!(
                f,
                "\n  {} dropped because nothing trained is left within {} tokens: {}",
                self.dropped_no_target.len(),
                self.max_length,
                named.join(", ")
            )?;
            if more > 0 {
                write!(f, " and {more} more")?;
            }
        }
        for warning in self.warnings() {
            write!(f, "\n  warning: {warning}")?;
        }
        Ok(())
    }
}
