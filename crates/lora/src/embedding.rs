//! The token embedding.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor},
};
use burnisher_kernels::embedding;

use crate::{adapter::EmbeddingAdapter, projection::frozen};

/// A table `[vocab, hidden]` of token embeddings, optionally scaled, which an adapter can change.
#[derive(Module, Debug)]
pub struct Embedding {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) adapter: Option<EmbeddingAdapter>,
    /// The table as it was, while the adapter is merged into `weight`.
    pub(crate) unmerged: Option<Param<Tensor<2>>>,
    #[module(skip)]
    scale: Option<f64>,
}

impl Embedding {
    /// A frozen embedding; `scale` multiplies every row (Gemma's `√hidden`).
    pub fn new(weight: Tensor<2>, scale: Option<f64>) -> Self {
        Self { weight: frozen(weight), adapter: None, unmerged: None, scale }
    }

    /// Token ids, row-major `[batch, t]`, to `[batch, t, hidden]`.
    ///
    /// # Panics
    /// If `ids` is not a multiple of `batch` or holds an id outside the vocabulary.
    pub fn forward(&self, ids: &[u32], batch: usize) -> Tensor<3> {
        let base = embedding(self.weight.val(), ids, batch, self.scale);
        match self.active() {
            None => base,
            Some(EmbeddingAdapter::Lora(lora)) => {
                let dtype = FloatDType::from(base.dtype());
                base + lora.forward(ids, batch, self.scale).cast(dtype)
            }
            Some(EmbeddingAdapter::Tokens(tokens)) => tokens.forward(base, ids, self.scale),
        }
    }

    /// The table `[vocab, hidden]` without the adapter (unless merged), on the tape if it is trained.
    pub fn weight(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// The weight `[vocab, hidden]` of an output projection that is tied to this embedding: the table with its trained
    /// rows. LoRA cannot be attached to a tied embedding.
    pub fn head_weight(&self) -> Tensor<2> {
        match self.active() {
            Some(EmbeddingAdapter::Tokens(tokens)) => tokens.replaced(self.weight.val(), tokens.rows()),
            _ => self.weight.val(),
        }
    }

    /// Whether what comes out depends on trained values.
    pub fn is_trained(&self) -> bool {
        self.weight.is_require_grad() || self.active().is_some_and(EmbeddingAdapter::is_trained)
    }

    /// The attached adapter.
    pub fn adapter(&self) -> Option<&EmbeddingAdapter> {
        self.adapter.as_ref()
    }

    /// Whether the adapter is merged into the table.
    pub fn is_merged(&self) -> bool {
        self.unmerged.is_some()
    }

    fn active(&self) -> Option<&EmbeddingAdapter> {
        self.adapter.as_ref().filter(|_| self.unmerged.is_none())
    }
}
