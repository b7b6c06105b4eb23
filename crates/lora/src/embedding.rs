//! The token embedding.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use burnisher_kernels::embedding;

use crate::{
    adapter::EmbeddingAdapter,
    projection::frozen,
    several::{Named, Other},
};

/// A table `[vocab, hidden]` of token embeddings, optionally scaled, which an adapter can change.
#[derive(Module, Debug)]
pub struct Embedding {
    pub(crate) weight: Param<Tensor<2>>,
    /// Of several adapters, the first in use.
    pub(crate) adapter: Option<EmbeddingAdapter>,
    /// Further adapters, in use or at rest.
    pub(crate) others: Vec<Other<EmbeddingAdapter>>,
    /// The table as it was, while the adapter is merged into `weight`.
    pub(crate) unmerged: Option<Param<Tensor<2>>>,
    #[module(skip)]
    pub(crate) scale: Option<f64>,
    #[module(skip)]
    pub(crate) named: Named,
}

impl Embedding {
    /// A frozen embedding; `scale` multiplies every row (Gemma's `√hidden`).
    pub fn new(weight: Tensor<2>, scale: Option<f64>) -> Self {
        let weight = frozen(weight);
        Self { weight, adapter: None, others: Vec::new(), unmerged: None, scale, named: Named::default() }
    }

    /// Token ids, row-major `[batch, t]`, to `[batch, t, hidden]`.
    ///
    /// # Panics
    /// If `ids` is not a multiple of `batch` or holds an id outside the vocabulary, or `batch` is another number than
    /// [`with_row_adapters`](crate::with_row_adapters) chose adapters for.
    pub fn forward(&self, ids: &[u32], batch: usize) -> Tensor<3> {
        let base = embedding(self.weight.val(), ids, batch, self.scale);
        if self.unmerged.is_some() {
            return base;
        }
        if let Some(routes) = &self.named.routes {
            return self.routed(routes, base, ids);
        }
        let y = match &self.adapter {
            None => base,
            Some(adapter) => adapter.forward(base, ids, self.scale),
        };
        self.others_in_use().fold(y, |y, adapter| adapter.forward(y, ids, self.scale))
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
        let adapter = self.adapter.as_ref().filter(|_| self.unmerged.is_none());
        self.weight.is_require_grad() || adapter.is_some_and(EmbeddingAdapter::is_trained)
    }

    /// The attached adapter; of several, the first in use.
    pub fn adapter(&self) -> Option<&EmbeddingAdapter> {
        self.adapter.as_ref()
    }

    /// Whether there are adapters, in use or at rest, merged or not.
    pub fn has_adapters(&self) -> bool {
        self.adapter.is_some() || !self.others.is_empty()
    }

    /// Whether the adapter is merged into the table.
    pub fn is_merged(&self) -> bool {
        self.unmerged.is_some()
    }

    fn active(&self) -> Option<&EmbeddingAdapter> {
        self.adapter.as_ref().filter(|_| self.unmerged.is_none() && self.named.routes.is_none())
    }
}
