//! Rows to batches of token arrays.

use xxhash_rust::xxh3::Xxh3;

use crate::pack::Row;
use crate::split::splitmix64;

/// The label of a token that is not learnt, as in PyTorch's and Hugging Face's losses.
const NOT_TRAINED: i64 = -100;

/// The most batches whose rows are sorted by length together.
const GROUP_BATCHES: usize = 50;
/// A small set has at least so many groups, where it has the rows: else each epoch had the same batches.
const GROUPS_AT_LEAST: usize = 4;

/// In which order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Order {
    /// As they were given, in every epoch.
    Given,
    /// Shuffled anew in every epoch.
    #[default]
    Shuffled,
    /// Shuffled, but such that rows of one batch have about the same length and little padding is needed: as `group_by_length`
    /// of Hugging Face's trainer (`get_length_grouped_indices`), the shuffled rows are cut into groups of up to 50
    /// batches, each is sorted by falling length, and the longest row of all comes first, so that what does not fit into
    /// memory fails at once.
    LengthGrouped {
        /// Rows per batch, at least one.
        batch_size: usize,
    },
}

/// How [`Batches`] makes batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConfig {
    /// The seed of the order; 0 by default.
    pub seed: u64,
    /// The order of the rows; shuffled by default.
    pub order: Order,
    /// The id of padding tokens, see [`Tokenizer::padding_id`](crate::Tokenizer::padding_id). It may be that of EOS:
    /// padding is masked by position.
    pub pad_id: u32,
}

impl BatchConfig {
    /// Shuffled batches that are padded with `pad_id`, with seed 0.
    pub fn new(pad_id: u32) -> Self {
        Self { seed: 0, order: Order::default(), pad_id }
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets whether the rows are shuffled: [`Order::Shuffled`] or [`Order::Given`].
    #[must_use]
    pub fn with_shuffle(self, shuffle: bool) -> Self {
        self.with_order(if shuffle { Order::Shuffled } else { Order::Given })
    }

    /// Sets the order of the rows.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }
}

/// Rows of tokens for one forward pass.
///
/// # Shapes
///
/// Every array is `[rows, seq_len]`, row-major, padded on the right to the longest row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// The number of rows.
    pub rows: usize,
    /// The length of the longest row.
    pub seq_len: usize,
    /// The token ids.
    pub input_ids: Vec<u32>,
    /// The labels, not shifted, as Hugging Face has them: the token's own id where it is a target, else −100. The first
    /// token of each document has −100.
    pub labels: Vec<i64>,
    /// Positions, which restart at 0 with each document; 0 at padding.
    pub position_ids: Vec<u32>,
    /// The document within its row, counted from 1; 0 at padding. A token sees tokens with its own number only.
    pub segment_ids: Vec<u32>,
    /// Record number · 2³² + the token's number in its record: a key that stays with the token however rows are packed
    /// and batched, for counter-based dropout. [`u64::MAX`] at padding.
    pub token_keys: Vec<u64>,
}

impl TokenBatch {
    /// The number of labels that are not −100.
    pub fn target_tokens(&self) -> usize {
        self.labels.iter().filter(|label| **label != NOT_TRAINED).count()
    }

    fn padded(rows: usize, seq_len: usize, pad_id: u32) -> Self {
        let size = rows * seq_len;
        Self {
            rows,
            seq_len,
            input_ids: vec![pad_id; size],
            labels: vec![NOT_TRAINED; size],
            position_ids: vec![0; size],
            segment_ids: vec![0; size],
            token_keys: vec![u64::MAX; size],
        }
    }

    fn fill_row(&mut self, number: usize, row: &Row) {
        let mut at = number * self.seq_len;
        for (segment, document) in (1..).zip(&row.documents) {
            let tokens = document.ids.iter().zip(&document.loss_mask);
            for (position, (id, target)) in (0_u32..).zip(tokens) {
                self.input_ids[at] = *id;
                if *target && position > 0 {
                    self.labels[at] = i64::from(*id);
                }
                self.position_ids[at] = position;
                self.segment_ids[at] = segment;
                let in_record = document.offset.wrapping_add(position);
                self.token_keys[at] = (document.index << 32) | u64::from(in_record);
                at += 1;
            }
        }
    }
}

/// A set of rows with an order for every epoch.
#[derive(Debug, Clone)]
pub struct Batches {
    rows: Vec<Row>,
    config: BatchConfig,
}

impl Batches {
    /// A set over these rows.
    pub fn new(rows: Vec<Row>, config: BatchConfig) -> Self {
        Self { rows, config }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in the order in which they were given.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The number of targets in all rows.
    pub fn target_tokens(&self) -> usize {
        self.rows.iter().map(Row::target_tokens).sum()
    }

    /// A hash of every row's tokens, targets and record numbers, in order (XXH3, 64 bits): sets with another content,
    /// order or packing have another one. It is the same on every machine.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        for row in &self.rows {
            hash.update(&(row.documents.len() as u64).to_le_bytes());
            for document in &row.documents {
                hash.update(&document.index.to_le_bytes());
                hash.update(&(document.len() as u64).to_le_bytes());
                for (id, target) in document.ids.iter().zip(&document.loss_mask) {
                    hash.update(&id.to_le_bytes());
                    hash.update(&[u8::from(*target)]);
                }
            }
        }
        hash.digest()
    }

    /// The largest token id of all rows and of the padding; a model's vocabulary must be larger.
    pub fn largest_token(&self) -> u32 {
        let tokens = self.rows.iter().flat_map(|row| &row.documents).flat_map(|document| &document.ids);
        tokens.copied().max().unwrap_or(0).max(self.config.pad_id)
    }

    /// The row numbers in the order of an epoch, which depends on the seed, the epoch and the number of rows alone.
    ///
    /// A Fisher–Yates shuffle from the last row down: row `i` changes places with row `⌊u·(i+1) / 2⁶⁴⌋`, where `u` is
    /// output number `n−1−i` of the splitmix64 stream that starts at output number `epoch` of the one that `seed`
    /// starts. For [`Order::LengthGrouped`] the shuffled rows are then grouped; for [`Order::Given`] nothing moves.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        if self.config.order != Order::Given {
            let stream = splitmix64(self.config.seed, epoch);
            for (position, last) in (0..).zip((1..order.len()).rev()) {
                let draw = u128::from(splitmix64(stream, position));
                let other = (draw * (last as u128 + 1)) >> 64;
                order.swap(last, other as usize);
            }
        }
        if let Order::LengthGrouped { batch_size } = self.config.order {
            self.group_by_length(&mut order, batch_size.max(1));
        }
        order
    }

    fn group_by_length(&self, order: &mut [usize], batch_size: usize) {
        let length = |row: &usize| self.rows[*row].len();
        let batches = (order.len() / (batch_size * GROUPS_AT_LEAST)).clamp(1, GROUP_BATCHES);
        for group in order.chunks_mut(batches * batch_size) {
            group.sort_by_key(|row| std::cmp::Reverse(length(row)));
        }
        let longest = (0..order.len()).rev().max_by_key(|at| length(&order[*at]));
        if let Some(longest) = longest {
            order.swap(0, longest);
        }
    }

    /// The batch of these rows, by number, in this order.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn batch(&self, numbers: &[usize]) -> TokenBatch {
        let seq_len = numbers.iter().map(|number| self.rows[*number].len()).max().unwrap_or(0);
        let mut batch = TokenBatch::padded(numbers.len(), seq_len, self.config.pad_id);
        for (place, number) in numbers.iter().enumerate() {
            batch.fill_row(place, &self.rows[*number]);
        }
        batch
    }
}
