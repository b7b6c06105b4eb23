//! Records to token ids and loss masks.

mod cache;
mod report;

use rayon::prelude::*;
use serde_json::Value;

use crate::error::DataError;
use crate::mask;
use crate::prompt;
use crate::record::{Body, Message, Origin, Record};
use crate::tokenizer::Tokenizer;

pub use cache::CacheUse;
pub use report::EncodeReport;

/// The part of the records, one in so many, that truncation may drop.
const DROPPED_ALLOWED: usize = 20;
/// Dropped records that the error names.
const NAMED: usize = 5;

/// Which tokens are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TrainOn {
    /// What the assistant says: completions, outputs, the assistant's turns; all of a text record.
    #[default]
    Completions,
    /// Every token of every record.
    Everything,
}

/// How an [`Encoder`] encodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeConfig {
    /// Tokens that a record is cut to, on the right; at least 2.
    pub max_length: usize,
    /// Which tokens are learnt; completions by default.
    pub train_on: TrainOn,
    /// Whether EOS is appended to texts and completions that do not end in it; true by default. Conversations that a
    /// chat template renders end as the template ends them.
    pub append_eos: bool,
}

impl EncodeConfig {
    /// Records of at most `max_length` tokens, with the defaults above.
    pub fn new(max_length: usize) -> Self {
        Self { max_length, train_on: TrainOn::default(), append_eos: true }
    }

    /// Records of any length, for [`Packing::Wrapped`](crate::Packing::Wrapped), which cuts nothing off.
    pub fn untruncated() -> Self {
        Self::new(usize::MAX)
    }

    /// Sets which tokens are learnt.
    #[must_use]
    pub fn with_train_on(mut self, train_on: TrainOn) -> Self {
        self.train_on = train_on;
        self
    }

    /// Sets whether EOS is appended.
    #[must_use]
    pub fn with_append_eos(mut self, append_eos: bool) -> Self {
        self.append_eos = append_eos;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if `max_length` leaves no room for a token and a target.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.max_length < 2 {
            let found = self.max_length.to_string();
            return Err(DataError::InvalidConfig { field: "max_length", found, wanted: "at least 2" });
        }
        Ok(())
    }
}

/// An encoded record, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The token ids.
    pub ids: Vec<u32>,
    /// Whether token `i` is a target, to be predicted from the tokens before it. Token 0 never is, whatever stands here.
    pub loss_mask: Vec<bool>,
    /// The record's number in its set.
    pub index: u64,
    /// The number of the first token in the record: 0, unless [`Packing::Wrapped`](crate::Packing::Wrapped) cut the
    /// record. With `index` it keys dropout.
    pub offset: u32,
}

impl Encoded {
    /// A whole record.
    ///
    /// # Panics
    ///
    /// If the mask is not as long as the ids.
    pub fn new(ids: Vec<u32>, loss_mask: Vec<bool>, index: u64) -> Self {
        assert_eq!(ids.len(), loss_mask.len(), "a loss mask has one entry per token");
        Self { ids, loss_mask, index, offset: 0 }
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The number of targets.
    pub fn target_tokens(&self) -> usize {
        self.loss_mask.iter().skip(1).filter(|target| **target).count()
    }
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is there.
    Kept {
        /// Its tokens; `index` is 0.
        encoded: Encoded,
        /// Tokens that were cut off.
        cut: usize,
        /// Whether the tokens of the prompt are the first tokens of prompt and completion together.
        prompt_is_prefix: bool,
        /// Whether the token that ends an assistant's turn is a target.
        end_is_trained: bool,
    },
    /// Truncation took its whole trained part.
    Dropped {
        /// Tokens that were cut off.
        cut: usize,
    },
}

/// Encoded records.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodedSet {
    /// The records that were kept, in order. `index` is the record's number in the list that was encoded.
    pub encoded: Vec<Encoded>,
    /// What was counted on the way.
    pub report: EncodeReport,
}

/// Turns records into token ids and loss masks, as TRL's SFT trainer does (1.16, `trainer/sft_trainer.py`).
///
/// | record | tokens | targets |
/// |---|---|---|
/// | text | the text with the tokenizer's special tokens, EOS appended | all |
/// | prompt + completion | both as one text with the tokenizer's special tokens, EOS appended | what follows the prompt's tokens |
/// | messages | the chat template's text without further special tokens | tokens that overlap what the template marks with `{% generation %}`; without such tags, what each assistant's turn adds to the rendered text |
/// | alpaca | with a chat template a user's turn (instruction, blank line, input) and an assistant's; else `### Instruction:` … `### Response:` as prompt | as above |
///
/// Nothing is put between prompt and completion. Where the prompt's own tokens are not the first tokens of both
/// together, because a token spans the border, prompt and completion are encoded apart (TRL only warns, and may mask a
/// token of the completion).
#[derive(Debug, Clone)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    config: EncodeConfig,
}

/// Tokens before truncation.
struct Draft {
    ids: Vec<u32>,
    mask: Vec<bool>,
    prompt_is_prefix: bool,
    end_is_trained: bool,
}

impl Draft {
    /// Tokens of which all from `trained` on are targets.
    fn trained_from(ids: Vec<u32>, trained: usize) -> Self {
        let mask = (0..ids.len()).map(|at| at >= trained).collect();
        Self { ids, mask, prompt_is_prefix: true, end_is_trained: true }
    }

    /// Whether there is a target; the first token is none, nothing predicts it.
    fn has_target(&self) -> bool {
        self.mask.iter().skip(1).any(|target| *target)
    }
}

impl<'a> Encoder<'a> {
    /// An encoder.
    ///
    /// # Errors
    ///
    /// As [`EncodeConfig::validate`].
    pub fn new(tokenizer: &'a Tokenizer, config: EncodeConfig) -> Result<Self, DataError> {
        config.validate()?;
        Ok(Self { tokenizer, config })
    }

    /// Encodes one record.
    ///
    /// # Errors
    ///
    /// [`DataError::NoAssistantText`] if the record has no target even before truncation;
    /// [`DataError::TemplateRequired`], [`DataError::TemplateRefused`] and [`DataError::TurnsRewritten`] for
    /// conversations; [`DataError::Tokenizer`] if the tokenizer cannot spell the text. All but the last name the line.
    pub fn encode(&self, record: &Record) -> Result<Outcome, DataError> {
        let mut draft = match &record.body {
            Body::Text(text) => self.text(text)?,
            Body::Completion { prompt, completion } => self.completion(prompt, completion)?,
            Body::Messages(messages) => self.messages(messages, record.tools(), &record.origin)?,
            Body::Alpaca { instruction, input, output } => {
                self.alpaca(instruction, input, output, &record.origin)?
            }
            Body::Question { question, context, answer } => {
                let asked = prompt::question_in_context(question, context);
                match self.tokenizer.chat_template() {
                    Some(_) => self.answer(asked, answer, &record.origin)?,
                    None => self.completion(&prompt::question_prompt(question, context), answer)?,
                }
            }
        };
        if self.config.train_on == TrainOn::Everything {
            draft.mask.fill(true);
            draft.end_is_trained = true;
        }
        if !draft.has_target() {
            let found = format!("none of its {} tokens is a target", draft.ids.len());
            return Err(DataError::NoAssistantText { origin: record.origin.clone(), found });
        }
        let cut = draft.ids.len().saturating_sub(self.config.max_length);
        draft.ids.truncate(self.config.max_length);
        draft.mask.truncate(self.config.max_length);
        if !draft.has_target() {
            return Ok(Outcome::Dropped { cut });
        }
        draft.mask[0] = false;
        Ok(Outcome::Kept {
            encoded: Encoded::new(draft.ids, draft.mask, 0),
            cut,
            prompt_is_prefix: draft.prompt_is_prefix,
            end_is_trained: draft.end_is_trained,
        })
    }

    /// Encodes a set, on all cores; order is kept.
    ///
    /// # Errors
    ///
    /// The first record's error, as [`Encoder::encode`]; [`DataError::TooManyDropped`] if truncation took the whole
    /// trained part of more than 5 % of the records.
    pub fn encode_all(&self, records: &[Record]) -> Result<EncodedSet, DataError> {
        let outcomes: Vec<Result<Outcome, DataError>> =
            records.par_iter().map(|record| self.encode(record)).collect();
        let mut encoded = Vec::with_capacity(records.len());
        let mut report = EncodeReport::new(self.config.max_length);
        report.no_eos = self.config.append_eos && self.tokenizer.eos_id().is_none();
        for (index, (record, outcome)) in records.iter().zip(outcomes).enumerate() {
            let outcome = outcome?;
            report.count(record, &outcome);
            if let Outcome::Kept { encoded: mut kept, .. } = outcome {
                kept.index = index as u64;
                encoded.push(kept);
            }
        }
        let dropped = report.dropped_no_target.len();
        if dropped * DROPPED_ALLOWED > records.len() {
            return Err(DataError::TooManyDropped {
                dropped,
                records: records.len(),
                percent: 100.0 * dropped as f64 / records.len() as f64,
                max_length: self.config.max_length,
                first: report.dropped_no_target.iter().take(NAMED).cloned().collect(),
            });
        }
        Ok(EncodedSet { encoded, report })
    }

    fn text(&self, text: &str) -> Result<Draft, DataError> {
        let mut ids = self.tokenizer.encode(text, true)?;
        self.append_eos(&mut ids);
        Ok(Draft::trained_from(ids, 0))
    }

    fn completion(&self, prompt: &str, completion: &str) -> Result<Draft, DataError> {
        let prompt_ids = self.tokenizer.encode_prompt(prompt)?;
        let trained = prompt_ids.len();
        let together = self.tokenizer.encode(&format!("{prompt}{completion}"), true)?;
        let prompt_is_prefix = together.starts_with(&prompt_ids);
        let mut ids = together;
        if !prompt_is_prefix {
            ids = prompt_ids;
            ids.extend(self.tokenizer.encode(completion, false)?);
        }
        self.append_eos(&mut ids);
        Ok(Draft { prompt_is_prefix, ..Draft::trained_from(ids, trained) })
    }

    /// A conversation of two turns.
    fn answer(&self, question: String, answer: &str, origin: &Origin) -> Result<Draft, DataError> {
        self.messages(&[Message::new("user", question), Message::new("assistant", answer)], &[], origin)
    }

    fn messages(&self, messages: &[Message], tools: &[Value], origin: &Origin) -> Result<Draft, DataError> {
        let Some(template) = self.tokenizer.chat_template() else {
            return Err(DataError::TemplateRequired { origin: origin.clone() });
        };
        let rendered = template
            .refuse_hidden_tools(messages, tools)
            .and_then(|()| template.render_with_tools(messages, tools, false))
            .map_err(|error| mask::refused(origin, error))?;
        let (ids, offsets) = self.tokenizer.encode_with_offsets(&rendered.text, false)?;
        if self.config.train_on == TrainOn::Everything {
            return Ok(Draft::trained_from(ids, 0));
        }
        let ranges = if rendered.has_generation_tags {
            rendered.assistant
        } else {
            mask::ranges_by_prefixes(template, messages, tools, &rendered.text, origin)?
        };
        let mask = mask::overlapping(&offsets, &ranges);
        let end_is_trained = !mask::ends_untrained(&ids, &mask, |id| self.tokenizer.is_special(id));
        Ok(Draft { ids, mask, prompt_is_prefix: true, end_is_trained })
    }

    fn alpaca(
        &self,
        instruction: &str,
        input: &str,
        output: &str,
        origin: &Origin,
    ) -> Result<Draft, DataError> {
        if self.tokenizer.chat_template().is_some() {
            let question = prompt::alpaca_question(instruction, input);
            return self.answer(question, output, origin);
        }
        self.completion(&prompt::alpaca_prompt(instruction, input), output)
    }

    fn append_eos(&self, ids: &mut Vec<u32>) {
        if self.config.append_eos
            && let Some(eos) = self.tokenizer.eos_id()
            && ids.last() != Some(&eos)
        {
            ids.push(eos);
        }
    }
}
