//! The adapter of one weight, and what it computes.

use std::cell::Cell;

use burn::{
    module::{Module, Param, Reparameterization},
    nn::{Embedding, Linear},
    tensor::{
        DType, FloatDType, Int, Tensor,
        module::{embedding, linear},
    },
};

/// The LoRA adapter of an `nn::Linear` (weight `[in, out]` in Burn) or an `nn::Embedding` (`[vocab, dim]`, with
/// `in = vocab` and `out = dim`): `A [r, in]` and `B [out, r]`, as PEFT has them.
///
/// It hangs on the layer's weight: `layer.weight.reparameterization::<ModuleLora>()`. `layer.weight.val()` is
/// `W + s·Aᵀ·Bᵀ`, on the tape for `A` and `B`; `layer.weight.base()` is `W`.
#[derive(Module, Debug)]
pub struct ModuleLora {
    pub(super) a: Param<Tensor<2>>,
    pub(super) b: Param<Tensor<2>>,
    #[module(skip)]
    scaling: f64,
}

impl ModuleLora {
    pub(super) fn new(a: Param<Tensor<2>>, b: Param<Tensor<2>>, scaling: f64) -> Self {
        Self { a, b, scaling }
    }

    /// `A [r, in]`.
    pub fn a(&self) -> Tensor<2> {
        self.a.val()
    }

    /// `B [out, r]`.
    pub fn b(&self) -> Tensor<2> {
        self.b.val()
    }

    /// The factor `s` of the product.
    pub fn scaling(&self) -> f64 {
        self.scaling
    }

    /// `Aᵀ [in, r]` and `s·Bᵀ [r, out]`.
    fn transposed(&self) -> (Tensor<2>, Tensor<2>) {
        (self.a.val().transpose(), self.b.val().transpose().mul_scalar(self.scaling))
    }
}

impl Reparameterization for ModuleLora {
    const NAME: &'static str = "burnisher_lora";

    /// `W + s·Aᵀ·Bᵀ`, summed in f32 and rounded once to the dtype of `W`; a weight quantized by Burn becomes f32.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        if !is_active() {
            return base;
        }
        let (a, b) = self.transposed();
        let delta = a.matmul(b).reshape(base.shape());
        match base.dtype() {
            DType::F64 => base + delta.cast(FloatDType::F64),
            dtype if dtype.is_float() => (base.cast(FloatDType::F32) + delta).cast(FloatDType::from(dtype)),
            _ => base.dequantize().cast(FloatDType::F32) + delta,
        }
    }
}

thread_local! {
    /// Whether adapters take part in what this thread computes.
    static ACTIVE: Cell<bool> = const { Cell::new(true) };
}

/// Runs `run` with every adapter of a Burn module switched off, on this thread: the base model's own results, such as
/// the reference of a preference loss (PEFT's `disable_adapter`). Parameters trained whole are
/// the original ones, too.
///
/// ```
/// # use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
/// # let device = Device::flex();
/// # let layer = LinearConfig::new(2, 2).init(&device);
/// let base = burnisher_lora::without_adapters(|| layer.forward(Tensor::<2>::ones([1, 2], &device)));
/// # assert_eq!(base.dims(), [1, 2]);
/// ```
pub fn without_adapters<T>(run: impl FnOnce() -> T) -> T {
    with_active(false, run)
}

pub(super) fn is_active() -> bool {
    ACTIVE.get()
}

/// Also puts the old setting back if `run` panics.
pub(super) fn with_active<T>(active: bool, run: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
        }
    }
    let _restore = Restore(ACTIVE.replace(active));
    run()
}

/// What `layer.forward(x)` computes, `[.., in] -> [.., out]`, with the adapter beside the weight:
/// `y = x·W + b + s·(x·Aᵀ)·Bᵀ`. No `W + s·Aᵀ·Bᵀ` is formed nor kept for the backward pass, and no gradient of that
/// size: for models whose `forward` can be changed. A layer without an adapter runs as always.
///
/// # Panics
/// If the last dimension of `x` is not `in`.
pub fn lora_forward<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let Some(lora) = active(&layer.weight) else { return layer.forward(x) };
    let (a, b) = lora.transposed();
    let y = linear(x.clone(), dense_base(&layer.weight), layer.bias.as_ref().map(Param::val));
    let low = linear(x.cast(FloatDType::F32), a, None);
    let dtype = FloatDType::from(y.dtype());
    y + linear(low, b, None).cast(dtype)
}

/// What `layer.forward(ids)` computes, `[batch, t] -> [batch, t, dim]`, with the adapter beside the table: only the
/// rows of `Aᵀ` that `ids` name are multiplied. See [`lora_forward`].
pub fn lora_embedding_forward(layer: &Embedding, ids: Tensor<2, Int>) -> Tensor<3> {
    let Some(lora) = active(&layer.weight) else { return layer.forward(ids) };
    let (a, b) = lora.transposed();
    let y = embedding(dense_base(&layer.weight), ids.clone());
    let dtype = FloatDType::from(y.dtype());
    y + linear(embedding(a, ids), b, None).cast(dtype)
}

fn active(weight: &Param<Tensor<2>>) -> Option<&ModuleLora> {
    weight.reparameterization::<ModuleLora>().filter(|_| is_active())
}

fn dense_base(weight: &Param<Tensor<2>>) -> Tensor<2> {
    let base = weight.base();
    if base.dtype().is_float() { base } else { base.dequantize() }
}
