//! AdamW over a parameter and its moments in place, one pass over memory.

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{Tensor, TensorData},
};
use rayon::prelude::*;

use super::{flex_f32, level::Level, tensor, values};
use crate::{AdamW, AdamWState};

/// Values of one piece of work.
const PIECE: usize = 1 << 14;

/// Whether all are plain f32 tensors of Flex.
pub(crate) fn fits<const D: usize>(
    parameter: &Tensor<D>,
    gradient: &Tensor<D>,
    state: Option<&AdamWState<D>>,
) -> bool {
    let of_state = state.into_iter().flat_map(|state| [&state.m, &state.v]);
    [parameter, gradient].into_iter().chain(of_state).all(|x| flex_f32(x).is_some())
}

/// As [`crate::adamw_step_reference`], in its order of operations, for tensors that [`fits`] takes. Memory that nobody
/// else holds is written in place.
///
/// # Panics
/// If a tensor does not fit.
pub(crate) fn step<const D: usize>(
    options: &AdamW,
    learning_rate: f64,
    step: u64,
    parameter: Tensor<D>,
    gradient: &Tensor<D>,
    state: Option<AdamWState<D>>,
) -> (Tensor<D>, AdamWState<D>) {
    let gradients = flex_f32(gradient).expect("an f32 tensor of Flex").to_contiguous();
    let gradients = values::<f32>(&gradients);
    let (shape, device) = (parameter.dims(), parameter.device());
    let state = state.unwrap_or_else(|| {
        let zeros = || tensor(vec![0.0f32; gradients.len()], shape, &device);
        AdamWState { m: zeros(), v: zeros() }
    });
    let [mut parameter, mut m, mut v] = [parameter, state.m, state.v].map(owned);
    let AdamW { beta1, beta2, epsilon, weight_decay } = *options;
    let (rest1, beta2, rest2) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
    let correction1 = 1.0 - beta1.powi(step as i32);
    let correction2 = (1.0 - options.beta2.powi(step as i32)).sqrt() as f32;
    let (decay, epsilon) = ((1.0 - learning_rate * weight_decay) as f32, epsilon as f32);
    let factor = (learning_rate / correction1) as f32;
    let pieces = parameter.storage_mut::<f32>().par_chunks_mut(PIECE);
    let moments =
        m.storage_mut::<f32>().par_chunks_mut(PIECE).zip(v.storage_mut::<f32>().par_chunks_mut(PIECE));
    pieces.zip(moments).zip(gradients.par_chunks(PIECE)).for_each(|((p, (m, v)), g)| {
        Level::current().run(
            #[inline(always)]
            || {
                for (((p, m), v), g) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(g) {
                    *m += (g - *m) * rest1;
                    *v = *v * beta2 + g * g * rest2;
                    *p = *p * decay - *m / (v.sqrt() / correction2 + epsilon) * factor;
                }
            },
        );
    });
    let [parameter, m, v] = [parameter, m, v].map(Tensor::from_primitive::<Flex>);
    (parameter, AdamWState { m, v })
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
