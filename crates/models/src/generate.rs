//! Generation with a key/value cache.

use burn::{module::Module, tensor::DType};
use burnisher_data::Tokenizer;
use burnisher_lora::check_rows;

use crate::{CausalLm, GenerationConfig, ModelError, ModelInput, Sampling, kv_cache::KvCache, rope};

/// New tokens that the cache has room for at first; it grows when they are used up.
const FIRST_ROOM: usize = 256;

/// How to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// At most this many new tokens per prompt.
    pub max_new_tokens: usize,
    /// Tokens that end a sequence; they are not part of the result.
    pub stop_ids: Vec<u32>,
    /// Greedy, or how to sample.
    pub sampling: Sampling,
    /// The seed of sampling.
    pub seed: u64,
    /// The number of the first prompt among all that are asked, in several batches say: each draws its own numbers.
    pub first_row: usize,
}

impl GenerateConfig {
    /// Greedy, 128 new tokens, no stop tokens.
    pub fn new() -> Self {
        Self { max_new_tokens: 128, stop_ids: Vec::new(), sampling: Sampling::Greedy, seed: 0, first_row: 0 }
    }

    /// Sets the number of new tokens.
    #[must_use]
    pub fn with_max_new_tokens(self, max_new_tokens: usize) -> Self {
        Self { max_new_tokens, ..self }
    }

    /// Sets the tokens that end a sequence.
    #[must_use]
    pub fn with_stop_ids(self, stop_ids: Vec<u32>) -> Self {
        Self { stop_ids, ..self }
    }

    /// Sets the sampling and its seed.
    #[must_use]
    pub fn with_sampling(self, sampling: Sampling, seed: u64) -> Self {
        Self { sampling, seed, ..self }
    }

    /// Sets the number of the first prompt among all, so that batches of any size draw the same numbers.
    #[must_use]
    pub fn with_first_row(self, first_row: usize) -> Self {
        Self { first_row, ..self }
    }
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl CausalLm {
    /// Continues each prompt. Prompts of different lengths run as one batch, padded on the left.
    ///
    /// # Errors
    /// [`ModelError`] for an empty prompt, a token outside the vocabulary, an invalid sampling setting, or adapters that
    /// are chosen for another number of prompts ([`with_row_adapters`](burnisher_lora::with_row_adapters)).
    pub fn generate_ids(
        &self,
        prompts: &[Vec<u32>],
        config: &GenerateConfig,
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        self.generate_ids_until(prompts, config, &mut |_, _| false)
    }

    /// [`CausalLm::generate_ids`] that also ends a prompt's continuation when `ended` says so: it is asked after each
    /// new token, with the prompt's position and the new tokens up to this one, which stays in the result.
    ///
    /// # Errors
    /// As [`CausalLm::generate_ids`].
    pub fn generate_ids_until(
        &self,
        prompts: &[Vec<u32>],
        config: &GenerateConfig,
        ended: &mut dyn FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        self.check_prompts(prompts)?;
        check_rows(self, prompts.len())?;
        // Padding would stand between the keys of prefix tuning and a shorter prompt.
        let is_even = prompts.windows(2).all(|pair| pair[0].len() == pair[1].len());
        if self.virtual_tokens.prefix().is_some() && !is_even {
            let one = |row: usize| self.generate_rows(&prompts[row..=row], row, config, ended);
            return (0..prompts.len()).map(one).collect::<Result<Vec<_>, _>>().map(|rows| rows.concat());
        }
        self.generate_rows(prompts, 0, config, ended)
    }

    /// Continues prompts as one batch; the first one is number `first` of all.
    fn generate_rows(
        &self,
        prompts: &[Vec<u32>],
        first: usize,
        config: &GenerateConfig,
        ended: &mut dyn FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        // A trainable adapter would record a tape of the whole generation.
        let model = self.valid();
        let rows = prompts.len();
        let mut outputs = vec![Vec::new(); rows];
        if rows == 0 || config.max_new_tokens == 0 {
            return Ok(outputs);
        }
        // All tokens of every row, also those behind a stop token.
        let mut tokens = prompts.to_vec();
        let mut input = Padded::new(&tokens);
        let empty_cache = |room| KvCache::new(self.config(), rows, room, self.dtype(), &self.device());
        let mut cache = empty_cache(input.width() + config.max_new_tokens.min(FIRST_ROOM));
        let mut was_long = self.is_long(&input);
        let mut seen: Vec<Vec<u32>> = prompts.to_vec();
        let mut running = vec![true; rows];
        for step in 0..config.max_new_tokens {
            if self.is_long(&input) && !was_long {
                // Keys that were turned by other frequencies are of no use.
                was_long = true;
                input = Padded::new(&tokens);
                cache = empty_cache(input.width() + (config.max_new_tokens - step).min(FIRST_ROOM));
            }
            let Padded { ids, positions, segments, .. } = &input;
            let input_of_step = ModelInput { rows, ids, positions, segments, dropout: None };
            let hidden = model.pass(&input_of_step, Some(&mut cache));
            let length = hidden.dims()[1];
            let logits = model.head(hidden.narrow(1, length - 1, 1), None);
            let vocab = logits.dims()[2];
            let logits: Vec<f32> = logits.to_data().convert_dtype(DType::F32).iter::<f32>().collect();
            let mut next = Vec::with_capacity(rows);
            for (row, logits) in logits.chunks(vocab).enumerate() {
                let stream = ((config.first_row + first + row) as u64) << 32 | step as u64;
                let id = config.sampling.pick(logits, &seen[row], config.seed, stream)?;
                next.push(id);
                tokens[row].push(id);
                if running[row] && config.stop_ids.contains(&id) {
                    running[row] = false;
                }
                if running[row] {
                    outputs[row].push(id);
                    seen[row].push(id);
                    running[row] = !ended(first + row, &outputs[row]);
                }
            }
            if !running.contains(&true) {
                break;
            }
            let positions = prompts.iter().map(|prompt| (prompt.len() + step) as u32).collect();
            input = Padded { rows, ids: next, positions, segments: vec![1; rows] };
        }
        Ok(outputs)
    }

    /// Continues a text. Ends at the model's and the tokenizer's end-of-sequence tokens, besides those of `config`.
    ///
    /// # Errors
    /// As [`CausalLm::generate_ids`], and for a text that the tokenizer cannot encode.
    pub fn generate(
        &self,
        tokenizer: &Tokenizer,
        prompt: &str,
        config: &GenerateConfig,
    ) -> Result<String, ModelError> {
        let ids = tokenizer.encode(prompt, true)?;
        let mut config = config.clone();
        config.stop_ids.extend(stop_ids(None, self, Some(tokenizer)));
        let outputs = self.generate_ids(&[ids], &config)?;
        Ok(tokenizer.decode(&outputs[0], true)?)
    }

    /// Whether LongRoPE's frequencies for long texts are those of these positions.
    fn is_long(&self, input: &Padded) -> bool {
        let last = input.positions.iter().copied().max().unwrap_or(0);
        rope::is_long(&self.config().rope, last + self.virtual_tokens.count() as u32)
    }

    fn check_prompts(&self, prompts: &[Vec<u32>]) -> Result<(), ModelError> {
        let vocab = self.config().vocab_size;
        for (index, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() {
                return Err(ModelError::prompt(index, "no tokens", "at least one token"));
            }
            if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab) {
                return Err(ModelError::prompt(index, &format!("token {id}"), &format!("ids below {vocab}")));
            }
        }
        Ok(())
    }
}

/// Rows of one length, padded on the left.
struct Padded {
    rows: usize,
    ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<u32>,
}

impl Padded {
    fn new(tokens: &[Vec<u32>]) -> Self {
        let width = tokens.iter().map(Vec::len).max().unwrap_or(0);
        let (mut ids, mut positions, mut segments) = (Vec::new(), Vec::new(), Vec::new());
        for row in tokens {
            let padding = width - row.len();
            ids.extend(std::iter::repeat_n(0, padding).chain(row.iter().copied()));
            positions.extend(std::iter::repeat_n(0, padding).chain(0..row.len() as u32));
            segments.extend(std::iter::repeat_n(0, padding).chain(std::iter::repeat_n(1, row.len())));
        }
        Self { rows: tokens.len(), ids, positions, segments }
    }

    /// Tokens and padding of a row.
    fn width(&self) -> usize {
        self.ids.len() / self.rows.max(1)
    }
}

/// The stop tokens of a model: its generation configuration's, else its configuration's, and the
/// tokenizer's end of sequence.
pub fn stop_ids(
    generation: Option<&GenerationConfig>,
    model: &CausalLm,
    tokenizer: Option<&Tokenizer>,
) -> Vec<u32> {
    let mut ids = generation.map(|config| config.eos_token_ids.clone()).unwrap_or_default();
    if ids.is_empty() {
        ids.clone_from(&model.config().eos_token_ids);
    }
    if let Some(eos) = tokenizer.and_then(Tokenizer::eos_id)
        && !ids.contains(&eos)
    {
        ids.push(eos);
    }
    ids
}
