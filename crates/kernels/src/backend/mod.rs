//! The bridge to Burn's backends: operations with a handwritten backward.
//!
//! A plain backend runs the operation's forward on tensors; `Autodiff` records one node for it.
//! Frozen weights and options travel as plain values: they are no parents of the node.

// Without a backend there is nothing to run on, and the whole bridge is unused.
#![cfg_attr(
    not(any(
        feature = "flex",
        feature = "ndarray",
        feature = "wgpu",
        feature = "vulkan",
        feature = "metal",
        feature = "cuda",
        feature = "rocm"
    )),
    allow(unused)
)]

pub(crate) mod block;
pub(crate) mod checkpoint;
pub(crate) mod scale;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, DispatchKindConversion, DispatchTensor, DispatchTensorKind,
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

use crate::{
    Dropout, FrozenWeight, LoraFactors, LossOptions, SharedInput,
    ops::{
        cross_entropy::{self, LossGradients},
        linear, lora_linear as lora,
    },
    shared_input::InputPanels,
};

/// Operations with a handwritten backward, at the level of backend primitives.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda", feature = "rocm")),
    Autodiff
)]
pub(crate) trait FineTuneOps: Backend {
    /// `x [n, in] -> x·Wᵀ [n, out]`.
    fn frozen_linear(x: FloatTensor<Self>, panels: InputPanels, weight: FrozenWeight) -> FloatTensor<Self>;

    /// `x [n, in], W [out, in] -> x·Wᵀ [n, out]`, with a gradient for `W`.
    fn trained_linear(
        x: FloatTensor<Self>,
        panels: InputPanels,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `x [n, in], A [r, in], B [out, r] -> x·Wᵀ + s·(x·Aᵀ)·Bᵀ [n, out]`.
    fn lora_linear(
        x: FloatTensor<Self>,
        panels: InputPanels,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        base: FrozenWeight,
        scaling: f64,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self>;

    /// `hidden [n, h], head [v, h] -> summed loss [1]`; `targets` has one entry per row.
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Vec<i64>,
        options: LossOptions,
    ) -> FloatTensor<Self>;
}

/// Implements the operations of a backend by their forward on tensors.
macro_rules! forward_on_tensors {
    ($backend:ty) => {
        impl FineTuneOps for $backend {
            fn frozen_linear(
                x: FloatTensor<Self>,
                panels: InputPanels,
                weight: FrozenWeight,
            ) -> FloatTensor<Self> {
                primitive::<Self, _>(weight.project(Tensor::from_primitive::<Self>(x), &panels))
            }

            fn trained_linear(
                x: FloatTensor<Self>,
                panels: InputPanels,
                weight: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                let (x, weight) = (Tensor::from_primitive::<Self>(x), Tensor::from_primitive::<Self>(weight));
                primitive::<Self, _>(FrozenWeight::Dense(weight).project(x, &panels))
            }

            fn lora_linear(
                x: FloatTensor<Self>,
                panels: InputPanels,
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                base: FrozenWeight,
                scaling: f64,
                dropout: Option<Dropout>,
            ) -> FloatTensor<Self> {
                let adapter = factors::<Self>(a, b, scaling);
                let x = SharedInput { x: Tensor::from_primitive::<Self>(x), panels };
                primitive::<Self, _>(lora::forward(x, &base, &adapter, dropout.as_ref()).0)
            }

            fn linear_cross_entropy(
                hidden: FloatTensor<Self>,
                head: FloatTensor<Self>,
                targets: Vec<i64>,
                options: LossOptions,
            ) -> FloatTensor<Self> {
                let hidden = Tensor::from_primitive::<Self>(hidden);
                let head = Tensor::from_primitive::<Self>(head);
                primitive::<Self, _>(cross_entropy::forward(&hidden, &head, &targets, options))
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

impl<B, C> FineTuneOps for Autodiff<B, C>
where
    B: Backend + FineTuneOps,
    C: CheckpointStrategy,
    DispatchTensor: DispatchKindConversion<B>,
{
    fn frozen_linear(x: FloatTensor<Self>, panels: InputPanels, weight: FrozenWeight) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct FrozenLinear;
        impl<B: Backend> Backward<B, 1> for FrozenLinear
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = FrozenWeight;
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [x] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                if let Some(x) = x {
                    grads.register::<B>(x.id, primitive::<B, _>(ops.state.project_back(grad)));
                }
            }
        }
        let parents = [x.node()];
        let out = B::frozen_linear(x.into_primitive(), panels, weight.clone());
        match FrozenLinear.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(weight, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn trained_linear(
        x: FloatTensor<Self>,
        panels: InputPanels,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct TrainedLinear;
        impl<B: Backend> Backward<B, 2> for TrainedLinear
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = (Tensor<2>, Tensor<2>);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [of_x, of_weight] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let (x, weight) = ops.state;
                if let Some(node) = of_weight {
                    let gradient = linear::weight_gradient(&grad, x);
                    grads.register::<B>(node.id, primitive::<B, _>(gradient));
                }
                if let Some(node) = of_x {
                    let gradient = FrozenWeight::Dense(weight).project_back(grad);
                    grads.register::<B>(node.id, primitive::<B, _>(gradient));
                }
            }
        }
        let parents = [x.node(), weight.node()];
        let x = Tensor::<2>::from_primitive::<B>(x.into_primitive());
        let weight = Tensor::<2>::from_primitive::<B>(weight.into_primitive());
        let out = primitive::<B, _>(FrozenWeight::Dense(weight.clone()).project(x.clone(), &panels));
        match TrainedLinear.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, weight), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn lora_linear(
        x: FloatTensor<Self>,
        panels: InputPanels,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        base: FrozenWeight,
        scaling: f64,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LoraLinear;
        #[derive(Clone, Debug)]
        struct Saved {
            x: Tensor<2>,
            h: Tensor<2>,
            adapter: LoraFactors,
            base: FrozenWeight,
            dropout: Option<Dropout>,
        }
        impl<B: Backend> Backward<B, 3> for LoraLinear
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = Saved;
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [x, a, b] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let saved = ops.state;
                let (grad_x, grad_a, grad_b) = lora::backward(
                    grad,
                    saved.x,
                    saved.h,
                    &saved.base,
                    &saved.adapter,
                    saved.dropout.as_ref(),
                    x.is_some(),
                );
                for (node, grad) in [(x, grad_x), (a, Some(grad_a)), (b, Some(grad_b))] {
                    if let (Some(node), Some(grad)) = (node, grad) {
                        grads.register::<B>(node.id, primitive::<B, _>(grad));
                    }
                }
            }
        }
        let parents = [x.node(), a.node(), b.node()];
        let x = Tensor::from_primitive::<B>(x.into_primitive());
        let adapter = factors::<B>(a.into_primitive(), b.into_primitive(), scaling);
        let shared = SharedInput { x: x.clone(), panels };
        let (out, h) = lora::forward(shared, &base, &adapter, dropout.as_ref());
        let out = primitive::<B, _>(out);
        match LoraLinear.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(Saved { x, h, adapter, base, dropout }, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Vec<i64>,
        options: LossOptions,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LinearCrossEntropy;
        impl<B: Backend> Backward<B, 2> for LinearCrossEntropy
        where
            DispatchTensor: DispatchKindConversion<B>,
        {
            type State = LossGradients;
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [hidden, head] = ops.parents;
                let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
                let found = ops.state.scaled(grad);
                if let Some(node) = hidden {
                    grads.register::<B>(node.id, primitive::<B, _>(found.hidden));
                }
                if let (Some(node), Some(grad)) = (head, found.head) {
                    grads.register::<B>(node.id, primitive::<B, _>(grad));
                }
            }
        }
        let parents = [hidden.node(), head.node()];
        // Burn tells whether gradients are wanted only of an operation as a whole: ask with the head as every parent.
        let probe = LinearCrossEntropy.prepare::<C>([head.node(), head.node()]).compute_bound().stateful();
        let wants_head = matches!(probe, OpsKind::Tracked(_));
        let hidden = Tensor::from_primitive::<B>(hidden.into_primitive());
        let head = Tensor::from_primitive::<B>(head.into_primitive());
        match LinearCrossEntropy.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (sum, gradients) =
                    cross_entropy::forward_with_gradients(&hidden, &head, &targets, options, wants_head);
                prep.finish(gradients, primitive::<B, _>(sum))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(primitive::<B, _>(cross_entropy::forward(&hidden, &head, &targets, options)))
            }
        }
    }
}

/// Whether this crate was built with the extension of the tensor's backend: calling it on another
/// backend panics, so such a backend takes the reference.
pub(crate) fn has_extension<const D: usize>(x: &Tensor<D>) -> bool {
    match x.clone().without_autodiff().into_dispatch().kind {
        #[cfg(feature = "flex")]
        DispatchTensorKind::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        DispatchTensorKind::NdArray(_) => true,
        #[cfg(any(
            feature = "wgpu",
            feature = "vulkan",
            feature = "metal",
            feature = "cuda",
            feature = "rocm"
        ))]
        DispatchTensorKind::Cube(_) => true,
        #[allow(unreachable_patterns)]
        _ => false,
    }
}

pub(crate) fn frozen_linear(input: SharedInput<2>, weight: FrozenWeight) -> Tensor<2> {
    let SharedInput { x, panels } = input;
    Tensor::from_dispatch(<Dispatch as FineTuneOps>::frozen_linear(x.into_dispatch(), panels, weight))
}

pub(crate) fn trained_linear(input: SharedInput<2>, weight: Tensor<2>) -> Tensor<2> {
    let (x, weight) = (input.x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FineTuneOps>::trained_linear(x, input.panels, weight))
}

pub(crate) fn lora_linear(
    input: SharedInput<2>,
    base: FrozenWeight,
    adapter: LoraFactors,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    let (a, b) = (adapter.a.into_dispatch(), adapter.b.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FineTuneOps>::lora_linear(
        input.x.into_dispatch(),
        input.panels,
        a,
        b,
        base,
        adapter.scaling,
        dropout,
    ))
}

pub(crate) fn linear_cross_entropy(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: Vec<i64>,
    options: LossOptions,
) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as FineTuneOps>::linear_cross_entropy(
        hidden.into_dispatch(),
        head.into_dispatch(),
        targets,
        options,
    ))
}

fn factors<B: Backend>(a: FloatTensor<B>, b: FloatTensor<B>, scaling: f64) -> LoraFactors
where
    DispatchTensor: DispatchKindConversion<B>,
{
    LoraFactors { a: Tensor::from_primitive::<B>(a), b: Tensor::from_primitive::<B>(b), scaling }
}

/// The primitive of a tensor that was just computed on backend `B`.
fn primitive<B: Backend, const D: usize>(tensor: Tensor<D>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    tensor.try_into_primitive::<B>().expect("a result stays on its operands' backend")
}
