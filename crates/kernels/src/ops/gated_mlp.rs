//! The activation of a gated MLP.

use burn::tensor::{Tensor, activation};

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{
    backend,
    ops::precision::{float_dtype, statistics_dtype},
};

/// A gated MLP's activation function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x·σ(x)` (Llama, Mistral).
    #[default]
    Silu,
    /// GELU by its tanh approximation (Gemma).
    GeluTanh,
}

/// `act(gate) · up` (GLU variants, arXiv:2002.05202). The backward keeps `gate` and `up`.
///
/// # Shapes
/// - `gate`, `up` and the output: the same shape
///
/// # Panics
/// If the shapes differ.
pub fn gated_activation<const D: usize>(gate: Tensor<D>, up: Tensor<D>, act: Activation) -> Tensor<D> {
    let shape = gate.dims();
    assert_eq!(shape, up.dims(), "gated_activation: gate and up must have one shape");
    let count = shape.iter().product::<usize>();
    let (gate, up) = (gate.reshape([count]), up.reshape([count]));
    let y = if backend::has_extension(&gate) {
        backend::block::gated_activation(gate, up, act)
    } else {
        gated_activation_reference(gate, up, act)
    };
    y.reshape(shape)
}

/// [`gated_activation`] composed of Burn's differentiable operations.
pub fn gated_activation_reference(gate: Tensor<1>, up: Tensor<1>, act: Activation) -> Tensor<1> {
    let gate = match act {
        Activation::Silu => activation::silu(gate),
        Activation::GeluTanh => activation::gelu_approximate(gate),
    };
    gate * up
}

/// Forward on plain tensors.
pub(crate) fn forward(gate: Tensor<1>, up: Tensor<1>, act: Activation) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(y) = cpu::elementwise::gated_activation(&gate, &up, act) {
        return y;
    }
    gated_activation_reference(gate, up, act)
}

/// Backward on plain tensors: `dgate = dy∘up∘act'(gate)`, `dup = dy∘act(gate)`.
pub(crate) fn backward(grad: Tensor<1>, gate: Tensor<1>, up: Tensor<1>, act: Activation) -> [Tensor<1>; 2] {
    #[cfg(feature = "flex")]
    if let Some((dgate, dup)) = cpu::elementwise::gated_activation_backward(&grad, &gate, &up, act) {
        return [dgate, dup];
    }
    let (dtype, statistics) = (float_dtype(&gate), statistics_dtype(&gate));
    let [grad, gate, up] = [grad, gate, up].map(|x| x.cast(statistics));
    let (value, slope) = match act {
        Activation::Silu => {
            let sigmoid = activation::sigmoid(gate.clone());
            let rest = sigmoid.clone().neg().add_scalar(1.0);
            (gate.clone() * sigmoid.clone(), sigmoid * (gate * rest).add_scalar(1.0))
        }
        Activation::GeluTanh => {
            // √(2/π) and the cubic's factor (arXiv:1606.08415, §2).
            let (root, cube) = ((2.0 / std::f64::consts::PI).sqrt(), 0.044_715);
            let square = gate.clone().square();
            let inner = gate.clone() * square.clone().mul_scalar(cube).add_scalar(1.0);
            let tanh = inner.mul_scalar(root).tanh();
            let half = tanh.clone().add_scalar(1.0).mul_scalar(0.5);
            let bend = square.mul_scalar(3.0 * cube).add_scalar(1.0).mul_scalar(0.5 * root);
            let flat = tanh.square().neg().add_scalar(1.0);
            (gate.clone() * half.clone(), half + gate * bend * flat)
        }
    };
    [(grad.clone() * up * slope).cast(dtype), (grad * value).cast(dtype)]
}
