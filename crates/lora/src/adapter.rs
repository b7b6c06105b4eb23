//! One module's LoRA adapter.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use burnisher_kernels::{Dropout, DropoutKeys, LoraFactors};

use crate::projection::{frozen, trainable};

/// The trainable factors of one projection: `A [r, in]` and `B [out, r]`, in f32.
#[derive(Module, Debug)]
pub struct LoraAdapter {
    pub(crate) a: Param<Tensor<2>>,
    pub(crate) b: Param<Tensor<2>>,
    #[module(skip)]
    options: Options,
}

#[derive(Clone, Debug)]
struct Options {
    scaling: f64,
    dropout: f64,
    /// Distinguishes this module's dropout from other modules'.
    stream: u64,
}

impl LoraAdapter {
    /// An adapter of the module at `path`, trained if `is_trainable`.
    pub(crate) fn new(
        path: &str,
        a: Tensor<2>,
        b: Tensor<2>,
        scaling: f64,
        dropout: f64,
        is_trainable: bool,
    ) -> Self {
        let param = if is_trainable { trainable } else { frozen };
        let options = Options { scaling, dropout, stream: stream(path) };
        Self { a: param(a), b: param(b), options }
    }

    /// `A`, `B` and the scale.
    pub fn factors(&self) -> LoraFactors {
        LoraFactors { a: self.a.val(), b: self.b.val(), scaling: self.options.scaling }
    }

    /// The rank `r`.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape().dims::<2>()[0]
    }

    /// `s·B·A [out, in]`, outside autodiff.
    pub fn delta(&self) -> Tensor<2> {
        let (a, b) = (self.a.val().without_autodiff(), self.b.val().without_autodiff());
        b.matmul(a).mul_scalar(self.options.scaling)
    }

    pub(crate) fn dropout(&self, keys: Option<&DropoutKeys>) -> Option<Dropout> {
        let keys = keys.filter(|_| self.options.dropout > 0.0)?;
        Some(keys.layer(self.options.stream, self.options.dropout))
    }
}

/// FNV-1a of the module's path: the same in every run and on every platform.
fn stream(path: &str) -> u64 {
    path.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
