//! The operations of a decoder block besides its projections: attention, norm, rotary positions, activation.

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
use crate::{
    Activation, AttentionMask, AttentionOptions, NormWeight,
    ops::{attention, embedding, gated_mlp, rms_norm, rope},
};

/// Operations with a handwritten backward, at the level of backend primitives.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda", feature = "rocm")),
    Autodiff
)]
pub(crate) trait BlockOps: Backend {
    /// `q [b, heads, t, d], k, v [b, kv_heads, s, d] -> [b, heads, t, d]`.
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: AttentionMask,
        options: AttentionOptions,
    ) -> FloatTensor<Self>;

    /// `x [n, h], weight [h] -> [n, h]`.
    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        form: NormWeight,
    ) -> FloatTensor<Self>;

    /// `x [b, heads, t, d] -> [b, heads, t, d]`; the tables are `[b, 1, t, d]`.
    fn rope(x: FloatTensor<Self>, cos: Tensor<4>, sin: Tensor<4>) -> FloatTensor<Self>;

    /// `gate [n], up [n] -> [n]`.
    fn gated_activation(gate: FloatTensor<Self>, up: FloatTensor<Self>, act: Activation)
    -> FloatTensor<Self>;

    /// `weight [vocab, h] -> scale · weight[ids] [n, h]`.
    fn embedding(weight: FloatTensor<Self>, ids: Arc<[u32]>, scale: Option<f64>) -> FloatTensor<Self>;
}

/// Implements the operations of a backend by their forward on tensors.
macro_rules! forward_on_tensors {
    ($backend:ty) => {
        impl BlockOps for $backend {
            fn attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
                mask: AttentionMask,
                options: AttentionOptions,
            ) -> FloatTensor<Self> {
                let [q, k, v] = [q, k, v].map(Tensor::from_primitive::<Self>);
                primitive::<Self, _>(attention::forward(q, k, v, &mask, options))
            }

            fn rms_norm(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                epsilon: f64,
                form: NormWeight,
            ) -> FloatTensor<Self> {
                let (x, weight) = (Tensor::from_primitive::<Self>(x), Tensor::from_primitive::<Self>(weight));
                primitive::<Self, _>(rms_norm::forward(x, weight, epsilon, form))
            }

            fn rope(x: FloatTensor<Self>, cos: Tensor<4>, sin: Tensor<4>) -> FloatTensor<Self> {
                primitive::<Self, _>(rope::forward(Tensor::from_primitive::<Self>(x), cos, sin))
            }

            fn gated_activation(
                gate: FloatTensor<Self>,
                up: FloatTensor<Self>,
                act: Activation,
            ) -> FloatTensor<Self> {
                let (gate, up) = (Tensor::from_primitive::<Self>(gate), Tensor::from_primitive::<Self>(up));
                primitive::<Self, _>(gated_mlp::forward(gate, up, act))
            }

            fn embedding(
                weight: FloatTensor<Self>,
                ids: Arc<[u32]>,
                scale: Option<f64>,
            ) -> FloatTensor<Self> {
                let weight = Tensor::from_primitive::<Self>(weight);
                primitive::<Self, _>(embedding::forward(weight, &ids, scale))
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

impl<B, C> BlockOps for Autodiff<B, C>
where
    B: Backend + BlockOps,
    C: CheckpointStrategy,
    DispatchTensor: DispatchKindConversion<B>,
{
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: AttentionMask,
        options: AttentionOptions,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Attention;
        #[derive(Clone, Debug)]
        struct Saved {
            /// q, k, v and the output.
            tensors: [Tensor<4>; 4],
            mask: AttentionMask,
            options: AttentionOptions,
        }
        impl<B: Backend> Backward<B, 3> for Attention
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = Saved;
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let Saved { tensors, mask, options } = ops.state;
                let results = attention::backward(grad, tensors, &mask, options);
                for (node, grad) in ops.parents.into_iter().zip(results) {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, primitive::<B, _>(grad));
                    }
                }
            }
        }
        let parents = [q.node(), k.node(), v.node()];
        let [q, k, v] = [q, k, v].map(|x| Tensor::<4>::from_primitive::<B>(x.into_primitive()));
        let out = attention::forward(q.clone(), k.clone(), v.clone(), &mask, options);
        match Attention.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let saved = Saved { tensors: [q, k, v, out.clone()], mask, options };
                prep.finish(saved, primitive::<B, _>(out))
            }
            OpsKind::UnTracked(prep) => prep.finish(primitive::<B, _>(out)),
        }
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        form: NormWeight,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct RmsNorm;
        impl<B: Backend> Backward<B, 2> for RmsNorm
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = (Tensor<2>, Tensor<1>, f64, NormWeight);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [x, weight] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let (saved, factor, epsilon, form) = ops.state;
                let (grad_x, grad_weight) = rms_norm::backward(grad, saved, factor, epsilon, form);
                if let Some(node) = x {
                    grads.register::<B>(node.id, primitive::<B, _>(grad_x));
                }
                if let Some(node) = weight {
                    grads.register::<B>(node.id, primitive::<B, _>(grad_weight));
                }
            }
        }
        let parents = [x.node(), weight.node()];
        let x = Tensor::<2>::from_primitive::<B>(x.into_primitive());
        let weight = Tensor::<1>::from_primitive::<B>(weight.into_primitive());
        let out = primitive::<B, _>(rms_norm::forward(x.clone(), weight.clone(), epsilon, form));
        match RmsNorm.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, weight, epsilon, form), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn rope(x: FloatTensor<Self>, cos: Tensor<4>, sin: Tensor<4>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Rope;
        impl<B: Backend> Backward<B, 1> for Rope
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = (Tensor<4>, Tensor<4>);
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [x] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let (cos, sin) = ops.state;
                if let Some(node) = x {
                    grads.register::<B>(node.id, primitive::<B, _>(rope::backward(grad, cos, sin)));
                }
            }
        }
        let parents = [x.node()];
        let x = Tensor::from_primitive::<B>(x.into_primitive());
        let out = primitive::<B, _>(rope::forward(x, cos.clone(), sin.clone()));
        match Rope.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((cos, sin), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn gated_activation(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        act: Activation,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct GatedActivation;
        impl<B: Backend> Backward<B, 2> for GatedActivation
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = (Tensor<1>, Tensor<1>, Activation);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let (gate, up, act) = ops.state;
                let results = gated_mlp::backward(grad, gate, up, act);
                for (node, grad) in ops.parents.into_iter().zip(results) {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, primitive::<B, _>(grad));
                    }
                }
            }
        }
        let parents = [gate.node(), up.node()];
        let gate = Tensor::<1>::from_primitive::<B>(gate.into_primitive());
        let up = Tensor::<1>::from_primitive::<B>(up.into_primitive());
        let out = primitive::<B, _>(gated_mlp::forward(gate.clone(), up.clone(), act));
        match GatedActivation.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((gate, up, act), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn embedding(weight: FloatTensor<Self>, ids: Arc<[u32]>, scale: Option<f64>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Embedding;
        impl<B: Backend> Backward<B, 1> for Embedding
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = (Arc<[u32]>, usize, Option<f64>);
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [weight] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let (ids, vocab, scale) = ops.state;
                if let Some(node) = weight {
                    let gradient = embedding::backward(grad, &ids, vocab, scale);
                    grads.register::<B>(node.id, primitive::<B, _>(gradient));
                }
            }
        }
        let parents = [weight.node()];
        let weight = Tensor::<2>::from_primitive::<B>(weight.into_primitive());
        let vocab = weight.dims()[0];
        let out = primitive::<B, _>(embedding::forward(weight, &ids, scale));
        match Embedding.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((ids, vocab, scale), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

pub(crate) fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Tensor<4> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as BlockOps>::attention(q, k, v, mask.clone(), options))
}

pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64, form: NormWeight) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as BlockOps>::rms_norm(x, weight, epsilon, form))
}

pub(crate) fn rope(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as BlockOps>::rope(x.into_dispatch(), cos, sin))
}

pub(crate) fn gated_activation(gate: Tensor<1>, up: Tensor<1>, act: Activation) -> Tensor<1> {
    let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(<Dispatch as BlockOps>::gated_activation(gate, up, act))
}

pub(crate) fn embedding(weight: Tensor<2>, ids: &[u32], scale: Option<f64>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as BlockOps>::embedding(weight.into_dispatch(), ids.into(), scale))
}
