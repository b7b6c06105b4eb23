//! Activation checkpointing.

use std::{fmt::Debug, sync::Arc};

use burn::tensor::Tensor;

use crate::backend;

/// A part of a model whose activations are computed again in the backward pass.
pub trait Segment: Debug + Send + Sync {
    /// The segment on plain tensors, `[b, t, h] -> [b, t, h]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<3>;

    /// The gradients of `Σ y∘grad` by `x` and by the parameters, plain: the forward pass once more, on a tape of its
    /// own over fresh leaves.
    fn backward(&self, x: Tensor<3>, grad: Tensor<3>) -> (Tensor<3>, Tensor<1>);

    /// The segment on the tape, every activation kept: for backends that this crate was not built for.
    fn reference(&self, x: Tensor<3>) -> Tensor<3>;
}

/// Runs a segment without keeping its activations: the backward pass has `x` only, and computes the others again
/// (Chen et al., arXiv:1604.06174). Values and gradients are those of [`Segment::reference`] if the segment draws the
/// same random numbers each time.
///
/// # Shapes
/// - `x` and the output: `[b, t, h]`
/// - `parameters`: all trained values of the segment in one vector on the tape, in the order of the gradient that
///   [`Segment::backward`] returns
pub fn checkpoint(x: Tensor<3>, parameters: Tensor<1>, segment: Arc<dyn Segment>) -> Tensor<3> {
    if backend::has_extension(&x) {
        backend::checkpoint::checkpoint(x, parameters, segment)
    } else {
        segment.reference(x)
    }
}
