//! Activations multiplied by a vector that may be trained.

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, DispatchKindConversion, DispatchTensor,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};

use super::primitive;
use crate::ops::scaled_features as scale;

/// The operation at the level of backend primitives.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda", feature = "rocm")),
    Autodiff
)]
pub(crate) trait ScaleOps: Backend {
    /// `x [n, h], factor [h] -> [n, h]`.
    fn scaled_features(x: FloatTensor<Self>, factor: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Implements the operation of a backend by its forward on tensors.
macro_rules! forward_on_tensors {
    ($backend:ty) => {
        impl ScaleOps for $backend {
            fn scaled_features(x: FloatTensor<Self>, factor: FloatTensor<Self>) -> FloatTensor<Self> {
                let (x, factor) = (Tensor::from_primitive::<Self>(x), Tensor::from_primitive::<Self>(factor));
                primitive::<Self, _>(scale::forward(x, factor))
            }
        }
    };
}

#[cfg(feature = "flex")]
forward_on_tensors!(burn::backend::Flex);
#[cfg(feature = "ndarray")]
forward_on_tensors!(burn::backend::NdArray);
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda", feature = "rocm"))]
forward_on_tensors!(burn::backend::Cube);

impl<B, C> ScaleOps for Autodiff<B, C>
where
    B: Backend + ScaleOps,
    C: CheckpointStrategy,
    DispatchTensor: DispatchKindConversion<B>,
{
    fn scaled_features(x: FloatTensor<Self>, factor: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct ScaledFeatures;
        impl<B: Backend> Backward<B, 2> for ScaledFeatures
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = (Tensor<2>, Tensor<1>);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [of_x, of_factor] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let (x, factor) = ops.state;
                let (grad_x, grad_factor) = scale::backward(grad, x, factor);
                if let Some(node) = of_x {
                    grads.register::<B>(node.id, primitive::<B, _>(grad_x));
                }
                if let Some(node) = of_factor {
                    grads.register::<B>(node.id, primitive::<B, _>(grad_factor));
                }
            }
        }
        let parents = [x.node(), factor.node()];
        let x = Tensor::<2>::from_primitive::<B>(x.into_primitive());
        let factor = Tensor::<1>::from_primitive::<B>(factor.into_primitive());
        let out = primitive::<B, _>(scale::forward(x.clone(), factor.clone()));
        match ScaledFeatures.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, factor), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

pub(crate) fn scaled_features(x: Tensor<2>, factor: Tensor<1>) -> Tensor<2> {
    let (x, factor) = (x.into_dispatch(), factor.into_dispatch());
    Tensor::from_dispatch(<Dispatch as ScaleOps>::scaled_features(x, factor))
}
