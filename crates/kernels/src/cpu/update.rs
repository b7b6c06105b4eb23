//! Steps of optimizers in place, one pass over memory.

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{Tensor, TensorData},
};

use super::{flex_f32, tensor, values};
use crate::{AdamW, AdamWState, adamw_update};

/// Whether all are plain f32 tensors of Flex.
pub(crate) fn fits<'a, const D: usize>(tensors: impl IntoIterator<Item = &'a Tensor<D>>) -> bool {
    tensors.into_iter().all(|x| flex_f32(x).is_some())
}

/// As [`crate::adamw_step_reference`], in its order of operations, for tensors that [`fits`] takes. Memory that nobody
/// else holds is written in place.
///
/// # Panics
/// If a tensor does not fit.
pub(crate) fn adamw<const D: usize>(
    options: &AdamW,
    learning_rate: f64,
    step: u64,
    parameter: Tensor<D>,
    gradient: &Tensor<D>,
    state: Option<AdamWState<D>>,
) -> (Tensor<D>, AdamWState<D>) {
    let (shape, device) = (parameter.dims(), parameter.device());
    let state = state.unwrap_or_else(|| {
        let zeros = || tensor(vec![0.0f32; shape.iter().product()], shape, &device);
        AdamWState { m: zeros(), v: zeros() }
    });
    let [mut m, mut v] = [state.m, state.v].map(owned);
    let (parameter, ()) = with_values(parameter, gradient, |p, g| {
        adamw_update(options, learning_rate, step, p, g, m.storage_mut(), v.storage_mut());
    });
    let [m, v] = [m, v].map(Tensor::from_primitive::<Flex>);
    (parameter, AdamWState { m, v })
}

/// A step with one moment, which starts at 0, for tensors that [`fits`] takes.
///
/// # Panics
/// If a tensor does not fit.
pub(crate) fn with_momentum<const D: usize>(
    parameter: Tensor<D>,
    gradient: &Tensor<D>,
    momentum: Option<Tensor<D>>,
    update: impl FnOnce(&mut [f32], &[f32], &mut [f32]),
) -> (Tensor<D>, Tensor<D>) {
    let (shape, device) = (parameter.dims(), parameter.device());
    let zeros = || tensor(vec![0.0f32; shape.iter().product()], shape, &device);
    let mut momentum = owned(momentum.unwrap_or_else(zeros));
    let (parameter, ()) = with_values(parameter, gradient, |p, g| update(p, g, momentum.storage_mut()));
    (parameter, Tensor::from_primitive::<Flex>(momentum))
}

/// Hands values to `update`, for tensors that [`fits`] takes.
///
/// # Panics
/// If a tensor does not fit.
pub(crate) fn with_values<const D: usize, R>(
    parameter: Tensor<D>,
    gradient: &Tensor<D>,
    update: impl FnOnce(&mut [f32], &[f32]) -> R,
) -> (Tensor<D>, R) {
    let gradient = flex_f32(gradient).expect("an f32 tensor of Flex").to_contiguous();
    let mut parameter = owned(parameter);
    let result = update(parameter.storage_mut::<f32>(), values::<f32>(&gradient));
    (Tensor::from_primitive::<Flex>(parameter), result)
}

/// The storage of a tensor that fills it: its own if it does, else a copy. Moves the tensor, since a clone would be a
/// second owner.
fn owned<const D: usize>(x: Tensor<D>) -> FlexTensor {
    let x = x.try_into_primitive::<Flex>().expect("a tensor of Flex").to_contiguous();
    let values = values::<f32>(&x);
    if x.storage::<f32>().len() == values.len() {
        return x;
    }
    FlexTensor::from_data(TensorData::new(values.to_vec(), x.layout().shape().clone()))
}
