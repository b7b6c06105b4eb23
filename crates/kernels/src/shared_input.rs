//! An input that several projections share.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use crate::cpu::product::Panels;

/// An input `[.., in]` of several projections, such as q, k and v, or gate and up: on the CPU it is packed into panels
/// once, not once per projection. The panels live as long as this value and its clones; they are as large as an f32
/// input, and up to three times as large as one in bf16.
///
/// Every projection takes one, or a plain tensor:
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burnisher_kernels::{FrozenWeight, SharedInput, linear};
///
/// let device = Device::flex();
/// let weight = |value| FrozenWeight::Dense(Tensor::full([3, 2], value, &device));
/// let x = SharedInput::from(Tensor::<2>::ones([1, 2], &device));
/// let (gate, up) = (linear(&x, &weight(1.0)), linear(&x, &weight(2.0)));
/// assert_eq!(gate.to_data().try_to_vec::<f32>().unwrap(), vec![2.0; 3]);
/// assert_eq!(up.to_data().try_to_vec::<f32>().unwrap(), vec![4.0; 3]);
/// ```
#[derive(Clone, Debug)]
pub struct SharedInput<const D: usize> {
    pub(crate) x: Tensor<D>,
    pub(crate) panels: InputPanels,
}

impl<const D: usize> SharedInput<D> {
    /// The input itself.
    pub fn tensor(&self) -> &Tensor<D> {
        &self.x
    }
}

impl<const D: usize> From<Tensor<D>> for SharedInput<D> {
    fn from(x: Tensor<D>) -> Self {
        Self { x, panels: InputPanels::default() }
    }
}

impl<const D: usize> From<&SharedInput<D>> for SharedInput<D> {
    fn from(input: &SharedInput<D>) -> Self {
        input.clone()
    }
}

/// The panels packed from one input, filled on first use.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputPanels {
    #[cfg(feature = "flex")]
    pub(crate) panels: Panels,
}
