//! What is attached to the token embedding: LoRA, or trained rows.

use burn::{
    module::{Module, Param},
    tensor::{Bool, Device, FloatDType, Tensor, TensorData},
};
use burnisher_kernels::{embedding, trained_linear};

use crate::{ParameterMut, projection::trainable};

/// The adapter of the embedding.
#[derive(Module, Debug)]
pub enum EmbeddingAdapter {
    /// LoRA: `s·(B·A)ᵀ` is added to the table.
    Lora(LoraEmbedding),
    /// Some rows of the table are trained in its place.
    Tokens(TrainableTokens),
}

impl EmbeddingAdapter {
    pub(crate) fn is_trained(&self) -> bool {
        match self {
            Self::Lora(lora) => lora.a.is_require_grad() || lora.b.is_require_grad(),
            Self::Tokens(tokens) => tokens.rows.is_require_grad(),
        }
    }

    /// `base [batch, t, hidden]` of `ids`, multiplied by the embedding's `scale`, with what the adapter changes.
    pub(crate) fn forward(&self, base: Tensor<3>, ids: &[u32], scale: Option<f64>) -> Tensor<3> {
        match self {
            Self::Lora(lora) => {
                let (dtype, batch) = (FloatDType::from(base.dtype()), base.dims()[0]);
                base + lora.forward(ids, batch, scale).cast(dtype)
            }
            Self::Tokens(tokens) => tokens.forward(base, ids, scale),
        }
    }

    /// The table `[vocab, hidden]` in f32, outside autodiff, with the adapter folded in.
    pub(crate) fn fold(&self, table: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Lora(lora) => table + lora.delta().cast(FloatDType::F32),
            Self::Tokens(tokens) => tokens.replaced(table, tokens.rows().without_autodiff()),
        }
    }

    /// Calls `visit` with every parameter of the adapter of the module at `path` and PEFT's name of it.
    pub(crate) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Lora(lora) => {
                visit(&format!("{path}.lora_embedding_A"), ParameterMut::Matrix(&mut lora.a));
                visit(&format!("{path}.lora_embedding_B"), ParameterMut::Matrix(&mut lora.b));
            }
            Self::Tokens(tokens) => {
                let name = format!("{path}.token_adapter.trainable_tokens_delta");
                visit(&name, ParameterMut::Matrix(&mut tokens.rows));
            }
        }
    }
}

/// The factors of the embedding, `A [r, vocab]` and `B [hidden, r]`, in f32 (PEFT 0.21, src/peft/tuners/lora/layer.py
/// `Embedding`): a token's row gets `s·A[:, token]ᵀ·Bᵀ`.
#[derive(Module, Debug)]
pub struct LoraEmbedding {
    a: Param<Tensor<2>>,
    b: Param<Tensor<2>>,
    #[module(skip)]
    pub(crate) scaling: f64,
}

impl LoraEmbedding {
    pub(crate) fn new(a: Tensor<2>, b: Tensor<2>, scaling: f64) -> Self {
        Self { a: trainable(a), b: trainable(b), scaling }
    }

    /// The rank `r`.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape().dims::<2>()[0]
    }

    /// `s·(B·A)ᵀ [vocab, hidden]`, outside autodiff.
    pub fn delta(&self) -> Tensor<2> {
        let (a, b) = (self.a.val().without_autodiff(), self.b.val().without_autodiff());
        b.matmul(a).transpose().mul_scalar(self.scaling)
    }

    /// The rows to add, `[batch, t, hidden]` in f32, multiplied by the embedding's own `scale` too.
    pub(crate) fn forward(&self, ids: &[u32], batch: usize, scale: Option<f64>) -> Tensor<3> {
        let columns = embedding(self.a.val().transpose(), ids, batch, None);
        trained_linear(columns, self.b.val()).mul_scalar(self.scaling * scale.unwrap_or(1.0))
    }
}

/// Rows of the embedding that are trained in the place of the table's own (PEFT 0.21,
/// src/peft/tuners/trainable_tokens/layer.py): whole rows, not differences, in f32.
#[derive(Module, Debug)]
pub struct TrainableTokens {
    rows: Param<Tensor<2>>,
    /// The token of each row.
    #[module(skip)]
    ids: Vec<u32>,
}

impl TrainableTokens {
    /// Starts with the rows that `table` has; `ids` are distinct and in the vocabulary.
    pub(crate) fn new(table: Tensor<2>, ids: &[u32]) -> Self {
        let width = table.dims()[1];
        let rows = embedding(table.without_autodiff(), ids, 1, None).cast(FloatDType::F32);
        Self { rows: trainable(rows.reshape([ids.len(), width])), ids: ids.to_vec() }
    }

    /// The tokens, in the order of the rows.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The rows `[tokens, hidden]`.
    pub fn rows(&self) -> Tensor<2> {
        self.rows.val()
    }

    /// `base [batch, t, hidden]` with the trained rows, times the embedding's `scale`, where their tokens stand.
    pub(crate) fn forward(&self, base: Tensor<3>, ids: &[u32], scale: Option<f64>) -> Tensor<3> {
        let slots: Vec<Option<usize>> =
            ids.iter().map(|id| self.ids.iter().position(|known| known == id)).collect();
        // Trained rows have a gradient even where a batch does without their tokens.
        if !self.rows.is_require_grad() && slots.iter().all(Option::is_none) {
            return base;
        }
        let dims = base.dims();
        let device: Device = base.device().without_autodiff();
        let is_trained: Vec<bool> = slots.iter().map(Option::is_some).collect();
        let mask = Tensor::<3, Bool>::from_data(TensorData::new(is_trained, [dims[0], dims[1], 1]), &device);
        let slots: Vec<u32> = slots.iter().map(|slot| slot.unwrap_or(0) as u32).collect();
        let rows = self.rows().cast(FloatDType::from(base.dtype()));
        base.mask_where(mask.expand(dims), embedding(rows, &slots, dims[0], scale))
    }

    /// `table [vocab, hidden]` with `rows` in their places: one copy.
    pub(crate) fn replaced(&self, table: Tensor<2>, rows: Tensor<2>) -> Tensor<2> {
        let vocab = table.dims()[0];
        let rows = rows.cast(FloatDType::from(table.dtype()));
        let mut order: Vec<usize> = (0..self.ids.len()).collect();
        order.sort_by_key(|&at| self.ids[at]);
        let (mut parts, mut start) = (Vec::new(), 0);
        for at in order {
            let id = self.ids[at] as usize;
            if id > start {
                parts.push(table.clone().narrow(0, start, id - start));
            }
            parts.push(rows.clone().narrow(0, at, 1));
            start = id + 1;
        }
        if start < vocab {
            parts.push(table.narrow(0, start, vocab - start));
        }
        Tensor::cat(parts, 0)
    }
}
