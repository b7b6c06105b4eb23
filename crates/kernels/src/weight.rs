//! A weight that receives no gradient.

use burn::tensor::{DType, Device, FloatDType, Tensor};

#[cfg(feature = "flex")]
use crate::cpu;
use crate::{EightBitWeight, FourBitWeight, four_bit::panels, shared_input::InputPanels};

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

    /// `‖W_o‖²` of every row, `[out]`, in f32: by panels of rows, so that no weight is dense as a whole.
    pub fn squared_row_norms(&self) -> Tensor<1> {
        let squares = |panel: Tensor<2>| {
            let rows = panel.dims()[0];
            let panel = panel.cast(FloatDType::F32);
            (panel.clone() * panel).sum_dim(1).reshape([rows])
        };
        let found: Vec<Tensor<1>> = match self {
            Self::Dense(weight) => {
                let weight = weight.clone().without_autodiff();
                panels(weight.dims())
                    .map(|(start, count)| squares(weight.clone().narrow(0, start, count)))
                    .collect()
            }
            Self::FourBit(weight) => weight.dense_panels().map(squares).collect(),
            Self::EightBit(weight) => weight.dense_panels().map(squares).collect(),
        };
        match found.is_empty() {
            true => Tensor::zeros([0], (&self.device(), DType::F32)),
            false => Tensor::cat(found, 0),
        }
    }

    /// `x·Wᵀ` with the weight as it is restored: `[n, in] -> [n, out]`, outside autodiff. A projection by LLM.int8 rounds
    /// its input; this does not.
    pub fn restored_product(&self, x: Tensor<2>) -> Tensor<2> {
        let x = x.without_autodiff();
        match self {
            Self::EightBit(weight) => {
                let dtype = FloatDType::from(x.dtype());
                let parts: Vec<Tensor<2>> = weight
                    .dense_panels()
                    .map(|panel| x.clone().matmul(panel.cast(dtype).transpose()))
                    .collect();
                match parts.is_empty() {
                    true => Tensor::zeros([x.dims()[0], 0], (&x.device(), x.dtype())),
                    false => Tensor::cat(parts, 1),
                }
            }
            Self::Dense(_) | Self::FourBit(_) => self.project(x, &InputPanels::default()),
        }
    }

    fn device(&self) -> Device {
        match self {
            Self::Dense(weight) => weight.device().without_autodiff(),
            Self::FourBit(weight) => weight.device(),
            Self::EightBit(weight) => weight.device(),
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
            Self::Dense(_) => {
                let weight = self.dense(FloatDType::from(x.dtype()));
                x.matmul(weight.transpose())
            }
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
            Self::Dense(_) => {
                let weight = self.dense(FloatDType::from(grad.dtype()));
                grad.matmul(weight)
            }
            Self::FourBit(weight) => weight.project_back(grad),
            Self::EightBit(weight) => weight.project_back(grad),
        }
    }
}
