//! A weight that receives no gradient.

use burn::tensor::{FloatDType, Tensor};

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{EightBitWeight, FourBitWeight, shared_input::InputPanels};

/// A projection's weight `[out, in]` that receives no gradient, in the form it is stored in.
#[derive(Clone, Debug)]
pub enum FrozenWeight {
    /// Every value, in f32, bf16 or f16: `[out, in]`.
    Dense(Tensor<2>),
    /// 4 bits a value with a scale per block.
    FourBit(FourBitWeight),
    /// LLM.int8: 8 bits a value with a scale per row, and inputs quantized, too.
    EightBit(EightBitWeight),
}

impl FrozenWeight {
    /// The shape `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(weight) => weight.dims(),
            Self::FourBit(weight) => weight.dims(),
            Self::EightBit(weight) => weight.dims(),
        }
    }

    /// The dense weight `[out, in]` in `dtype`; a copy for quantized weights.
    pub fn dense(&self, dtype: FloatDType) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.clone().without_autodiff().cast(dtype),
            Self::FourBit(weight) => weight.dequantize(dtype),
            Self::EightBit(weight) => weight.dequantize(dtype),
        }
    }

    /// `x·Wᵀ` for plain tensors: `[n, in] -> [n, out]`; the panels are those of `x`.
    pub(crate) fn project(&self, x: Tensor<2>, panels: &InputPanels) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let Some(y) = cpu::linear::project(&x, panels, self) {
            return y;
        }
        let _ = panels;
        match self {
            Self::Dense(weight) => x.matmul(weight.clone().without_autodiff().transpose()),
            Self::FourBit(weight) => weight.project(x),
            Self::EightBit(weight) => weight.project(x),
        }
    }

    /// `dy·W` for plain tensors: `[n, out] -> [n, in]`, the gradient of [`Self::project`].
    pub(crate) fn project_back(&self, grad: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let Some(dx) = cpu::linear::project_back(&grad, self) {
            return dx;
        }
        match self {
            Self::Dense(weight) => grad.matmul(weight.clone().without_autodiff()),
            Self::FourBit(weight) => weight.project_back(grad),
            Self::EightBit(weight) => weight.project_back(grad),
        }
    }
}
