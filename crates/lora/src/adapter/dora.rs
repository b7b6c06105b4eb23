//! DoRA (Liu et al. 2024, arXiv:2402.09353): a direction from LoRA, a trained norm for every row.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor},
};
use burnisher_kernels::{DropoutKeys, FrozenWeight, LoraFactors, SharedInput, linear, lora_linear};

use super::{Folded, LoraAdapter, dropped, scaled};
use crate::{ParameterMut, projection::trainable};

/// A squared norm below this counts as this: a row of zeros stays a row of zeros.
const SMALLEST: f64 = 1e-30;

/// LoRA's factors and a magnitude `m [out]`: the weight is `m_o · V_o / ‖V_o‖` with `V = W + s·B·A`.
///
/// The norm is a constant of the backward pass (§4.3) and comes in closed form, without `V`:
/// `‖V_o‖² = ‖W_o‖² + 2s·(B·(A·Wᵀ))_oo + s²·(B·(A·Aᵀ)·Bᵀ)_oo`, with the `‖W_o‖²` computed once.
#[derive(Module, Debug)]
pub struct DoraAdapter {
    pub(crate) lora: LoraAdapter,
    pub(crate) magnitude: Param<Tensor<1>>,
    /// `‖W_o‖²`, `[out]`.
    squares: Tensor<1>,
}

impl DoraAdapter {
    /// Puts magnitudes beside LoRA's factors: the norms of the rows of `W + s·B·A`, so that nothing changes yet.
    pub(crate) fn new(lora: LoraAdapter, weight: &FrozenWeight) -> Self {
        let squares = weight.squared_row_norms();
        let norms = norms(&lora.factors(), weight, squares.clone());
        Self { lora, magnitude: trainable(norms), squares }
    }

    /// The magnitudes `m [out]`.
    pub fn magnitude(&self) -> Tensor<1> {
        self.magnitude.val()
    }

    /// `‖W_o + s·(B·A)_o‖` of every row, `[out]`, outside autodiff.
    pub(crate) fn norms(&self, weight: &FrozenWeight) -> Tensor<1> {
        norms(&self.lora.factors(), weight, self.squares.clone())
    }

    pub(crate) fn stand_beside(&mut self, weight: &FrozenWeight) {
        self.squares = weight.squared_row_norms();
    }

    /// `(m/‖V‖) · (x·Wᵀ + s·(x·Aᵀ)·Bᵀ)`. Under dropout, as in PEFT 0.21 (src/peft/tuners/lora/dora.py),
    /// `x·Wᵀ + (m/‖V‖ - 1)·d·Wᵀ + (m/‖V‖)·s·(d·Aᵀ)·Bᵀ` with `d = dropout(x)`.
    pub(crate) fn forward<const D: usize>(
        &self,
        x: SharedInput<D>,
        weight: &FrozenWeight,
        keys: Option<&DropoutKeys>,
    ) -> Tensor<D> {
        let factor = self.magnitude.val() / self.norms(weight);
        let factors = self.lora.factors();
        let Some(dropout) = self.lora.dropout(keys) else {
            return scaled(lora_linear(x, weight, &factors, None), factor);
        };
        let x = x.tensor().clone();
        let dropped = dropped(x.clone(), &dropout);
        // x·Wᵀ - d·Wᵀ is one product.
        let kept = linear(x - dropped.clone(), weight);
        kept + scaled(lora_linear(dropped, weight, &factors, None), factor)
    }

    /// `(m/‖V‖) · V`.
    pub(crate) fn fold(&self, base: Folded) -> Folded {
        let weight = FrozenWeight::Dense(base.weight.clone());
        let norms = norms(&self.lora.factors(), &weight, weight.squared_row_norms());
        let factor = self.magnitude.val().without_autodiff().cast(FloatDType::F32) / norms;
        let Folded { weight, bias } = self.lora.fold(base);
        Folded { weight: weight * factor.unsqueeze_dim(1), bias }
    }

    pub(crate) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        self.lora.parameters(path, visit);
        visit(&format!("{path}.lora_magnitude_vector"), ParameterMut::Vector(&mut self.magnitude));
    }
}

/// The norms of the rows of `W + s·B·A`, given the squared norms of those of `W`.
fn norms(factors: &LoraFactors, weight: &FrozenWeight, squares: Tensor<1>) -> Tensor<1> {
    let plain = |tensor: &Tensor<2>| tensor.clone().without_autodiff().cast(FloatDType::F32);
    let (a, b, scaling) = (plain(&factors.a), plain(&factors.b), factors.scaling);
    let out = b.dims()[0];
    // [r, out]: a product as of a batch of r rows, by the weight as it is stored.
    let through = linear(a.clone(), weight);
    let cross = (b.clone() * through.transpose()).sum_dim(1).reshape([out]);
    let own = (b.clone().matmul(a.clone().matmul(a.transpose())) * b).sum_dim(1).reshape([out]);
    let squared = squares + cross.mul_scalar(2.0 * scaling) + own.mul_scalar(scaling * scaling);
    squared.clamp_min(SMALLEST).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, Distribution};

    #[test]
    fn the_closed_form_is_the_norm_of_the_sum() {
        let device = Device::flex();
        for (out, inn, r) in [(1, 1, 1), (7, 5, 3), (64, 96, 8), (33, 130, 16)] {
            let random = |shape: [usize; 2]| {
                Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), (&device, DType::F32))
            };
            let (weight, a, b) = (random([out, inn]), random([r, inn]), random([out, r]));
            let factors = LoraFactors { a: a.clone(), b: b.clone(), scaling: 0.7 };
            let sum = weight.clone() + b.matmul(a).mul_scalar(0.7);
            let want = (sum.clone() * sum).sum_dim(1).reshape([out]).sqrt();
            let weight = FrozenWeight::Dense(weight);
            let got = norms(&factors, &weight, weight.squared_row_norms());
            let error = ((got - want.clone()) / want).abs().max().into_scalar::<f32>();
            assert!(error <= 1e-5, "[{out}, {inn}] r = {r}: {error}");
        }
    }
}
