//! A tensor's values as slices, for arithmetic whose state lies elsewhere.

use burn::tensor::{DType, Tensor, TensorData};

#[cfg(feature = "flex")]
use crate::cpu;

/// Values of one piece of work.
pub(crate) const PIECE: usize = 1 << 14;

/// Runs plain loops with the vector instructions of this processor where they are looked for.
#[inline]
pub(crate) fn vectorised(run: impl FnMut()) {
    #[cfg(feature = "flex")]
    cpu::level::Level::current().run(run);
    #[cfg(not(feature = "flex"))]
    {
        let mut run = run;
        run();
    }
}

/// Hands the values of a parameter and of its gradient to `update`, and makes a tensor of what it leaves.
///
/// For optimizers whose state lies on the host, as 8-bit codes or in a file. Plain flattened f32 tensors of one length.
/// On Flex the parameter is written in place if it is passed by its only owner; from other devices both are copied to
/// the host and the result back.
///
/// # Panics
/// If a tensor is not f32.
pub fn update_values<R>(
    parameter: Tensor<1>,
    gradient: &Tensor<1>,
    update: impl FnOnce(&mut [f32], &[f32]) -> R,
) -> (Tensor<1>, R) {
    #[cfg(feature = "flex")]
    if cpu::update::fits([&parameter, gradient]) {
        return cpu::update::with_values(parameter, gradient, update);
    }
    let (device, gradient) = (parameter.device(), gradient.to_data());
    let mut values = parameter.into_data().try_to_vec::<f32>().expect("f32 values of a parameter");
    let result = update(&mut values, gradient.as_slice::<f32>().expect("f32 values of a gradient"));
    let count = values.len();
    (Tensor::from_data(TensorData::new(values, [count]), (&device, DType::F32)), result)
}
