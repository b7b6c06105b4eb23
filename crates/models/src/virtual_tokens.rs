//! Prompt tuning and prefix tuning: what a forward pass does with trained tokens before the text.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor},
};
use burnisher_lora::VirtualTokenShape;

use crate::{CausalLm, ModelError, ModelInput, config::ModelConfig, kv_cache::KvCache};

/// The sizes that virtual tokens of a model have.
pub(crate) fn shape(config: &ModelConfig) -> VirtualTokenShape {
    VirtualTokenShape {
        hidden_size: config.hidden_size,
        num_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
    }
}

/// The trained keys and values of one layer; as in PEFT, they have no positions.
#[derive(Module, Debug)]
pub(crate) struct LayerPrefix {
    /// Those of all layers, `[n, layers·2·heads·d]`.
    all: Param<Tensor<2>>,
    #[module(skip)]
    layer: usize,
}

impl LayerPrefix {
    /// Keys and values with the trained ones before them, `[b, heads, t, d] -> [b, heads, n + t, d]`.
    pub(crate) fn before(&self, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, _, dim] = keys.dims();
        let all = self.all.val();
        let (count, width) = (all.dims()[0], heads * dim);
        let join = |own: Tensor<4>, number: usize| {
            let found = all.clone().narrow(1, (2 * self.layer + number) * width, width);
            // [n, heads·d] -> [n, heads, d] -> [heads, n, d] -> [b, heads, n, d]
            let found = found.cast(FloatDType::from(own.dtype()));
            let found = found.reshape([count, heads, dim]).swap_dims(0, 1).unsqueeze::<4>();
            Tensor::cat(vec![found.expand([batch, heads, count, dim]), own], 2)
        };
        (join(keys, 0), join(values, 1))
    }
}

/// Positions and documents of a pass that virtual tokens take part in.
pub(crate) struct Shifted {
    positions: Vec<u32>,
    segments: Vec<u32>,
}

impl Shifted {
    pub(crate) fn of<'a>(&'a self, input: &ModelInput<'a>) -> ModelInput<'a> {
        ModelInput { positions: &self.positions, segments: &self.segments, ..input.clone() }
    }
}

impl CausalLm {
    /// Whether a batch can run behind the model's virtual tokens, if it has any.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] for a row of several documents, each of which would need virtual tokens of its own,
    /// and for padding on the left of a row behind trained keys and values.
    pub fn check_rows(&self, rows: usize, segments: &[u32]) -> Result<(), ModelError> {
        if self.virtual_tokens.count() == 0 {
            return Ok(());
        }
        let unsupported = |what: String, supported: &str| {
            Err(ModelError::Unsupported { what, supported: supported.to_owned() })
        };
        let length = segments.len() / rows.max(1);
        for (row, segments) in segments.chunks(length.max(1)).enumerate() {
            if let Some(document) = segments.iter().copied().find(|segment| *segment > 1) {
                let what = format!(
                    "packed rows with prompt or prefix tuning (row {row} has a document number {document})"
                );
                return unsupported(what, "rows of one document: pack without joining documents");
            }
            let is_padded_left = segments.first() == Some(&0) && segments.contains(&1);
            if is_padded_left && self.virtual_tokens.prefix().is_some() {
                return unsupported(
                    format!("padding on the left of row {row} with prefix tuning"),
                    "padding on the right",
                );
            }
        }
        Ok(())
    }

    /// The input as the layers see it: positions count virtual tokens, and where a text starts, so do segments for
    /// those of prompt tuning. `None` without virtual tokens.
    ///
    /// # Panics
    /// With the message of [`CausalLm::check_rows`].
    pub(crate) fn shifted_input(&self, input: &ModelInput<'_>, starts: bool) -> Option<Shifted> {
        let count = self.virtual_tokens.count();
        if count == 0 {
            return None;
        }
        if starts && let Err(error) = self.check_rows(input.rows, input.segments) {
            panic!("{error}");
        }
        let mut shifted = Shifted { positions: Vec::new(), segments: Vec::new() };
        let length = input.segments.len() / input.rows.max(1);
        let rows = input.positions.chunks(length.max(1)).zip(input.segments.chunks(length.max(1)));
        let is_prompt = starts && self.virtual_tokens.prompt().is_some();
        for (positions, segments) in rows {
            let at = if is_prompt { padding(segments) } else { 0 };
            let virtual_tokens = if is_prompt { count as u32 } else { 0 };
            let moved = |position: &u32| position + count as u32;
            shifted.positions.extend(positions[..at].iter().map(moved));
            shifted.positions.extend(0..virtual_tokens);
            shifted.positions.extend(positions[at..].iter().map(moved));
            shifted.segments.extend(&segments[..at]);
            shifted.segments.extend((0..virtual_tokens).map(|_| 1));
            shifted.segments.extend(&segments[at..]);
        }
        Some(shifted)
    }

    /// The embeddings of a text's first pass with those of prompt tuning before them, after padding on the left,
    /// `[b, t, h] -> [b, n + t, h]`.
    pub(crate) fn with_prompt(&self, x: Tensor<3>, segments: &[u32]) -> Tensor<3> {
        let Some(prompt) = self.virtual_tokens.prompt() else { return x };
        let [rows, length, width] = x.dims();
        let prompt = prompt.val().cast(FloatDType::from(x.dtype())).unsqueeze::<3>();
        let count = prompt.dims()[1];
        if segments.chunks(length.max(1)).all(|segments| padding(segments) == 0) {
            return Tensor::cat(vec![prompt.expand([rows, count, width]), x], 1);
        }
        let rows = segments.chunks(length.max(1)).enumerate().map(|(row, segments)| {
            let (x, at) = (x.clone().narrow(0, row, 1), padding(segments));
            let mut parts = vec![prompt.clone(), x.clone().narrow(1, at, length - at)];
            if at > 0 {
                parts.insert(0, x.narrow(1, 0, at));
            }
            Tensor::cat(parts, 1)
        });
        Tensor::cat(rows.collect(), 0)
    }

    /// The documents of the keys, row-major, where they are not those of the queries.
    pub(crate) fn key_segments(
        &self,
        input: &ModelInput<'_>,
        cache: Option<&mut KvCache>,
        starts: bool,
    ) -> Option<Vec<u32>> {
        let count =
            if starts && self.virtual_tokens.prefix().is_some() { self.virtual_tokens.count() } else { 0 };
        match cache {
            Some(cache) => {
                cache.advance(&vec![1; input.rows * count]);
                Some(cache.segments_with(input.segments))
            }
            None if count > 0 => {
                let length = input.segments.len() / input.rows.max(1);
                let rows = input.segments.chunks(length.max(1));
                Some(rows.flat_map(|row| std::iter::repeat_n(1, count).chain(row.iter().copied())).collect())
            }
            None => None,
        }
    }

    /// The trained keys and values of a layer, for a pass that a text starts with.
    pub(crate) fn layer_prefix(&self, layer: usize, starts: bool) -> Option<LayerPrefix> {
        let all = self.virtual_tokens.prefix().filter(|_| starts)?;
        Some(LayerPrefix { all: all.clone(), layer })
    }

    /// Positions of the output that belong to virtual tokens: those of prompt tuning come first in every row.
    pub(crate) fn virtual_outputs(&self) -> usize {
        self.virtual_tokens.prompt().map_or(0, |_| self.virtual_tokens.count())
    }
}

/// Tokens of padding before a row's first document; 0 for a row of nothing else.
fn padding(segments: &[u32]) -> usize {
    segments.iter().position(|segment| *segment != 0).unwrap_or(0)
}
