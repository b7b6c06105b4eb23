//! A segment of a model as one node of the tape.

use std::sync::Arc;

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
use crate::ops::checkpoint::Segment;

/// What the backend sees of a segment.
type Shared = Arc<dyn Segment>;

/// The operation at the level of backend primitives.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda", feature = "rocm")),
    Autodiff
)]
pub(crate) trait CheckpointOps: Backend {
    /// `x [b, t, h] -> [b, t, h]`; `parameters` carries gradients only.
    fn checkpoint(x: FloatTensor<Self>, parameters: FloatTensor<Self>, segment: Shared) -> FloatTensor<Self>;
}

macro_rules! forward_on_tensors {
    ($backend:ty) => {
        impl CheckpointOps for $backend {
            fn checkpoint(x: FloatTensor<Self>, _: FloatTensor<Self>, segment: Shared) -> FloatTensor<Self> {
                primitive::<Self, _>(segment.forward(Tensor::from_primitive::<Self>(x)))
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

impl<B, C> CheckpointOps for Autodiff<B, C>
where
    B: Backend + CheckpointOps,
    C: CheckpointStrategy,
    DispatchTensor: DispatchKindConversion<B>,
{
    fn checkpoint(x: FloatTensor<Self>, parameters: FloatTensor<Self>, segment: Shared) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Checkpoint;
        impl<B: Backend> Backward<B, 2> for Checkpoint
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = (Tensor<3>, Shared);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [of_x, of_parameters] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let (x, segment) = ops.state;
                let (grad_x, grad_parameters) = segment.backward(x, grad);
                if let Some(node) = of_x {
                    grads.register::<B>(node.id, primitive::<B, _>(grad_x));
                }
                if let Some(node) = of_parameters {
                    grads.register::<B>(node.id, primitive::<B, _>(grad_parameters));
                }
            }
        }
        let parents = [x.node(), parameters.node()];
        let x = Tensor::<3>::from_primitive::<B>(x.into_primitive());
        let out = primitive::<B, _>(segment.forward(x.clone()));
        match Checkpoint.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, segment), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

pub(crate) fn checkpoint(x: Tensor<3>, parameters: Tensor<1>, segment: Shared) -> Tensor<3> {
    let (x, parameters) = (x.into_dispatch(), parameters.into_dispatch());
    Tensor::from_dispatch(<Dispatch as CheckpointOps>::checkpoint(x, parameters, segment))
}
