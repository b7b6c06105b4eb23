//! Keys and values of the tokens seen so far.

use burn::tensor::{Device, FloatDType, Tensor};

use crate::config::ModelConfig;

/// The cache of a batch: one entry per layer, and which document each cached token belongs to.
#[derive(Debug)]
pub(crate) struct KvCache {
    pub(crate) layers: Vec<LayerCache>,
    rows: usize,
    /// Per row, the segment number of every cached token.
    segments: Vec<Vec<u32>>,
}

impl KvCache {
    /// Room for `capacity` tokens in each of `rows` sequences.
    pub(crate) fn new(
        config: &ModelConfig,
        rows: usize,
        capacity: usize,
        dtype: FloatDType,
        device: &Device,
    ) -> Self {
        let shape = [rows, config.num_key_value_heads, capacity, config.head_dim];
        let zeros = || Tensor::<4>::zeros(shape, (device, dtype.into()));
        let layers = (0..config.num_hidden_layers)
            .map(|_| LayerCache { keys: Some(zeros()), values: Some(zeros()), length: 0 })
            .collect();
        Self { layers, rows, segments: vec![Vec::new(); rows] }
    }

    /// Whether no token was seen.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.iter().all(Vec::is_empty)
    }

    /// The cached segments followed by new ones (`[rows, t]`), row-major.
    pub(crate) fn segments_with(&self, new: &[u32]) -> Vec<u32> {
        let length = new.len() / self.rows.max(1);
        let rows = self.segments.iter().zip(new.chunks(length.max(1)));
        rows.flat_map(|(old, new)| old.iter().chain(new).copied()).collect()
    }

    /// Remembers the segments of tokens that a pass has just added.
    pub(crate) fn advance(&mut self, new: &[u32]) {
        let length = new.len() / self.rows.max(1);
        for (old, new) in self.segments.iter_mut().zip(new.chunks(length.max(1))) {
            old.extend_from_slice(new);
        }
    }
}

/// One layer's keys and values, `[rows, kv_heads, capacity, head_dim]`, filled up to `length`.
#[derive(Debug)]
pub(crate) struct LayerCache {
    keys: Option<Tensor<4>>,
    values: Option<Tensor<4>>,
    length: usize,
}

impl LayerCache {
    /// Writes new keys and values behind the cached ones and returns all of them. Full buffers double.
    pub(crate) fn append(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let added = k.dims()[2];
        let (start, end) = (self.length, self.length + added);
        self.length = end;
        (write(&mut self.keys, k, start, end), write(&mut self.values, v, start, end))
    }
}

/// The buffer is taken while it is written, so that it is unique and changes in place.
fn write(slot: &mut Option<Tensor<4>>, new: Tensor<4>, start: usize, end: usize) -> Tensor<4> {
    let [rows, heads, _, dim] = new.dims();
    let buffer = match slot.take() {
        Some(buffer) if buffer.dims()[2] >= end => {
            buffer.slice_assign([0..rows, 0..heads, start..end, 0..dim], new)
        }
        Some(buffer) => {
            let room = (end.max(2 * buffer.dims()[2])) - start;
            let space = Tensor::zeros([rows, heads, room, dim], (&new.device(), new.dtype()));
            let grown = Tensor::cat(vec![buffer.narrow(2, 0, start), space], 2);
            grown.slice_assign([0..rows, 0..heads, start..end, 0..dim], new)
        }
        None => new,
    };
    let seen = buffer.clone().narrow(2, 0, end);
    *slot = Some(buffer);
    seen
}
