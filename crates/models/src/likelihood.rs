//! How likely a model finds given tokens.

use burn::module::Module;
use burn::tensor::DType;
use burnisher_lora::check_rows;

use crate::{CausalLm, ModelError, ModelInput};

/// Tokens, and those before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The tokens before; at least one.
    pub context: Vec<u32>,
    /// The tokens whose likelihood is wanted; at least one.
    pub ids: Vec<u32>,
}

/// What a model makes of a [`Continuation`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContinuationLikelihood {
    /// ln p(tokens | tokens before), in nats: the sum over the tokens.
    pub log_likelihood: f64,
    /// Whether each token is the likeliest one after those before it; of equally likely ones the first.
    pub is_greedy: bool,
}

impl CausalLm {
    /// The log-likelihood of each continuation after its context, as one batch, without dropout; what
    /// `loglikelihood` of lm-eval 0.4.13's `HFLM` computes.
    ///
    /// # Errors
    /// [`ModelError`] for a context or continuation without tokens, a token outside the vocabulary, adapters that are
    /// chosen for another number of rows ([`with_row_adapters`](burnisher_lora::with_row_adapters)), and as
    /// [`CausalLm::check_rows`].
    pub fn log_likelihoods(
        &self,
        continuations: &[Continuation],
    ) -> Result<Vec<ContinuationLikelihood>, ModelError> {
        let rows = continuations.len();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let vocab = self.config().vocab_size;
        for (index, Continuation { context, ids }) in continuations.iter().enumerate() {
            if context.is_empty() || ids.is_empty() {
                let found = format!("{} tokens after {}", ids.len(), context.len());
                return Err(ModelError::prompt(index, &found, "at least one token after at least one"));
            }
            if let Some(id) = context.iter().chain(ids).find(|&&id| id as usize >= vocab) {
                return Err(ModelError::prompt(index, &format!("token {id}"), &format!("ids below {vocab}")));
            }
        }
        check_rows(self, rows)?;
        // Nothing follows the last token, so it need not be read.
        let length = |of: &Continuation| of.context.len() + of.ids.len() - 1;
        let width = continuations.iter().map(length).max().unwrap_or(0);
        let (mut ids, mut segments) = (Vec::new(), Vec::new());
        for row in continuations {
            let read = row.context.iter().chain(&row.ids).copied().take(length(row));
            ids.extend(read.chain(std::iter::repeat_n(0, width - length(row))));
            segments.extend((0..width).map(|at| u32::from(at < length(row))));
        }
        self.check_rows(rows, &segments)?;
        let positions: Vec<u32> = (0..rows).flat_map(|_| 0..width as u32).collect();
        // A trainable adapter would record a tape.
        let model = self.valid();
        let input = ModelInput { rows, ids: &ids, positions: &positions, segments: &segments, dropout: None };
        let hidden = model.hidden(&input);
        // Prompt tuning's own tokens stand before the others.
        let before = hidden.dims()[1] - width;
        let mut found = Vec::with_capacity(rows);
        for (row, continuation) in continuations.iter().enumerate() {
            let (start, count) = (before + continuation.context.len() - 1, continuation.ids.len());
            let logits = model.head(hidden.clone().narrow(0, row, 1).narrow(1, start, count), None);
            let vocab = logits.dims()[2];
            let logits: Vec<f32> = logits.to_data().convert_dtype(DType::F32).iter::<f32>().collect();
            found.push(likelihood(logits.chunks(vocab), &continuation.ids));
        }
        Ok(found)
    }
}

/// Adds up the log-probabilities of `ids`, one after each row of logits.
fn likelihood<'a>(logits: impl Iterator<Item = &'a [f32]>, ids: &[u32]) -> ContinuationLikelihood {
    let mut found = ContinuationLikelihood { log_likelihood: 0.0, is_greedy: true };
    for (logits, &id) in logits.zip(ids) {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
        let logit = logits[id as usize];
        found.log_likelihood += f64::from(logit - most) - sum.ln();
        found.is_greedy &= logits.iter().position(|&other| other == most) == Some(id as usize);
    }
    found
}
