//! The activation of a gated MLP.

use burn::tensor::{Tensor, activation};

/// A gated MLP's activation function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x·σ(x)` (Llama, Mistral).
    #[default]
    Silu,
    /// GELU by its tanh approximation (Gemma).
    GeluTanh,
}

/// `act(gate) · up` (GLU variants, arXiv:2002.05202).
///
/// # Shapes
/// - `gate`, `up` and the output: the same shape
pub fn gated_activation<const D: usize>(gate: Tensor<D>, up: Tensor<D>, act: Activation) -> Tensor<D> {
    let gate = match act {
        Activation::Silu => activation::silu(gate),
        Activation::GeluTanh => activation::gelu_approximate(gate),
    };
    gate * up
}
