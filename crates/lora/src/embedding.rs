//! The token embedding.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use burnisher_kernels::embedding;

use crate::projection::frozen;

/// A table `[vocab, hidden]` of token embeddings, optionally scaled.
#[derive(Module, Debug)]
pub struct Embedding {
    pub(crate) weight: Param<Tensor<2>>,
    #[module(skip)]
    scale: Option<f64>,
}

impl Embedding {
    /// A frozen embedding; `scale` multiplies every row (Gemma's `√hidden`).
    pub fn new(weight: Tensor<2>, scale: Option<f64>) -> Self {
        Self { weight: frozen(weight), scale }
    }

    /// Token ids, row-major `[batch, t]`, to `[batch, t, hidden]`.
    ///
    /// # Panics
    /// If `ids` is not a multiple of `batch` or holds an id outside the vocabulary.
    pub fn forward(&self, ids: &[u32], batch: usize) -> Tensor<3> {
        embedding(self.weight.val(), ids, batch, self.scale)
    }

    /// The table `[vocab, hidden]`, on the tape if it is trained.
    pub fn weight(&self) -> Tensor<2> {
        self.weight.val()
    }
}
