//! Gradient checkpointing of decoder blocks: less memory for one more forward pass.

use std::sync::Arc;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{FloatDType, Gradients, Tensor},
};
use burnisher_kernels::{Segment, checkpoint};

use crate::{attention::PassContext, decoder::Block, virtual_tokens::LayerPrefix};

/// Which activations of a block training keeps. The others are computed again in the backward pass; values and
/// gradients stay the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GradientCheckpointing {
    /// All of them.
    #[default]
    None,
    /// The block's input only.
    Block,
    /// The input and all of attention; the feed-forward half, the wider one, is computed again.
    BlockKeepAttention,
}

/// Runs a block, and keeps of it what `kind` says. `is_tracked` tells whether `x` depends on trained values.
pub(crate) fn run(
    block: &Block,
    prefix: Option<LayerPrefix>,
    x: Tensor<3>,
    context: &PassContext,
    kind: GradientCheckpointing,
    is_tracked: &mut bool,
) -> Tensor<3> {
    let mut trained = Trained::default();
    block.visit(&mut trained);
    prefix.visit(&mut trained);
    *is_tracked |= !trained.ids.is_empty();
    if !*is_tracked {
        return block.forward(x, context, prefix.as_ref());
    }
    let (x, part) = match kind {
        GradientCheckpointing::None => return block.forward(x, context, prefix.as_ref()),
        GradientCheckpointing::Block => (x, Part::Block),
        GradientCheckpointing::BlockKeepAttention => {
            let mut in_mlp = Trained::default();
            block.visit_feed_forward(&mut in_mlp);
            trained = in_mlp;
            (x.clone() + block.attend(x, context, prefix.as_ref(), None), Part::FeedForward)
        }
    };
    let device = x.device().without_autodiff();
    let parameters = match trained.values.is_empty() {
        true => Tensor::zeros([1], &device),
        false => Tensor::cat(trained.values, 0),
    };
    let segment = BlockSegment {
        plain: (block.clone(), prefix.clone()).map(&mut Plain),
        tracked: (block.clone(), prefix),
        trained: trained.ids,
        context: context.clone(),
        part,
    };
    checkpoint(x, parameters, Arc::new(segment))
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Block,
    FeedForward,
}

/// A block and what stands before its keys and values.
type Whole = (Block, Option<LayerPrefix>);

/// A block, or its second half, outside the tape.
#[derive(Debug)]
struct BlockSegment {
    plain: Whole,
    tracked: Whole,
    trained: Vec<ParamId>,
    context: PassContext,
    part: Part,
}

impl BlockSegment {
    fn run(&self, (block, prefix): &Whole, x: Tensor<3>) -> Tensor<3> {
        match self.part {
            Part::Block => block.forward(x, &self.context, prefix.as_ref()),
            Part::FeedForward => x.clone() + block.feed_forward(x, &self.context),
        }
    }
}

impl Segment for BlockSegment {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.run(&self.plain, x)
    }

    fn backward(&self, x: Tensor<3>, grad: Tensor<3>) -> (Tensor<3>, Tensor<1>) {
        // Fresh leaves: the tape of the pass that waits for this one is locked.
        let block = self.plain.clone().map(&mut Fresh(&self.trained));
        let x = x.autodiff().require_grad();
        let y = self.run(&block, x.clone());
        let mut gradients = (y * grad).sum().backward();
        let grad_x = x.grad_remove(&mut gradients).expect("the output depends on the input");
        let mut found = Found { gradients, ids: &self.trained, values: Vec::new() };
        block.visit(&mut found);
        let parameters = match found.values.is_empty() {
            true => Tensor::zeros([1], &grad_x.device()),
            false => Tensor::cat(found.values, 0),
        };
        (grad_x, parameters)
    }

    fn reference(&self, x: Tensor<3>) -> Tensor<3> {
        self.run(&self.tracked, x)
    }
}

/// The trained parameters of a module, each as a vector in f32 on the tape.
#[derive(Default)]
struct Trained {
    ids: Vec<ParamId>,
    values: Vec<Tensor<1>>,
}

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.ids.push(param.id);
            self.values.push(flat(param.val()));
        }
    }
}

/// Takes every parameter off the tape.
struct Plain;

impl ModuleMapper for Plain {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        Param::initialized(param.id, param.val().without_autodiff())
    }
}

/// Makes leaves of a new tape of the parameters named.
struct Fresh<'a>(&'a [ParamId]);

impl ModuleMapper for Fresh<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.0.contains(&param.id) {
            return param;
        }
        Param::initialized(param.id, param.val().autodiff().require_grad())
    }
}

/// The gradients of the parameters named, in the order of [`Trained`].
struct Found<'a> {
    gradients: Gradients,
    ids: &'a [ParamId],
    values: Vec<Tensor<1>>,
}

impl ModuleVisitor for Found<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.ids.contains(&param.id) {
            let value = param.val();
            let gradient = value.grad_remove(&mut self.gradients);
            self.values.push(flat(gradient.unwrap_or_else(|| value.without_autodiff().zeros_like())));
        }
    }
}

fn flat<const D: usize>(value: Tensor<D>) -> Tensor<1> {
    let count = value.shape().num_elements();
    value.reshape([count]).cast(FloatDType::F32)
}
