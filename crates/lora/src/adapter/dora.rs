//! DoRA (Liu et al. 2024, arXiv:2402.09353): a direction from LoRA, a trained norm for every row.

use burn::{
    module::{Module, Param, ParamId},
    tensor::{FloatDType, Tensor},
};
use burnisher_kernels::{
    DropoutKeys, FrozenWeight, LoraFactors, SharedInput, linear, lora_linear, scaled_features,
};

use super::{Folded, LoraAdapter, dropped};
use crate::{ParameterMut, projection::trainable};

/// A squared norm below this counts as this: a row of zeros stays a row of zeros.
const SMALLEST: f64 = 1e-30;

/// LoRA's factors and a magnitude `m [out]`: the weight is `m_o · V_o / ‖V_o‖` with `V = W + s·B·A`.
///
/// The norm is a constant of the backward pass (§4.3) and comes in closed form, without `V`:
/// `‖V_o‖² = ‖W_o‖² + 2s·(B·(A·Wᵀ))_oo + s²·(B·(A·Aᵀ)·Bᵀ)_oo`, with the `‖W_o‖²` computed once. It is as exact as its
/// largest term: a row that `s·B·A` all but cancels loses digits.
#[derive(Module, Debug)]
pub struct DoraAdapter {
    pub(crate) lora: LoraAdapter,
    pub(crate) magnitude: Param<Tensor<1>>,
    /// `‖W_o‖²`, `[out]`.
    squares: Tensor<1>,
    /// The norms for the factors that have these identities, while those are frozen.
    settled: Option<Settled>,
}

#[derive(Module, Debug)]
struct Settled {
    norms: Tensor<1>,
    #[module(skip)]
    factors: [ParamId; 2],
}

impl DoraAdapter {
    /// Puts magnitudes beside LoRA's factors: the norms of the rows of `W + s·B·A`, so that nothing changes yet.
    pub(crate) fn new(lora: LoraAdapter, weight: &FrozenWeight) -> Self {
        let squares = weight.squared_row_norms();
        let norms = norms(&lora.factors(), weight, squares.clone());
        Self { lora, magnitude: trainable(norms), squares, settled: None }
    }

    /// The magnitudes `m [out]`.
    pub fn magnitude(&self) -> Tensor<1> {
        self.magnitude.val()
    }

    /// `‖W_o + s·(B·A)_o‖` of every row, `[out]`, outside autodiff.
    pub(crate) fn norms(&self, weight: &FrozenWeight) -> Tensor<1> {
        match &self.settled {
            // New values are new parameters.
            Some(settled) if settled.factors == self.identities() => settled.norms.clone(),
            _ => norms(&self.lora.factors(), weight, self.squares.clone()),
        }
    }

    fn identities(&self) -> [ParamId; 2] {
        [self.lora.a.id, self.lora.b.id]
    }

    /// Keeps the norms, if the factors are frozen: a pass over one token would take twice the time.
    pub(crate) fn settle(&mut self, weight: &FrozenWeight) {
        if !self.lora.a.is_require_grad() && !self.lora.b.is_require_grad() {
            let factors = self.identities();
            self.settled = Some(Settled { norms: self.norms(weight), factors });
        }
    }

    pub(crate) fn stand_beside(&mut self, weight: &FrozenWeight) {
        self.squares = weight.squared_row_norms();
        self.settled = None;
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
            return scaled_features(lora_linear(x, weight, &factors, None), factor);
        };
        let x = x.tensor().clone();
        let dropped = dropped(x.clone(), &dropout);
        // x·Wᵀ - d·Wᵀ is one product.
        let kept = linear(x - dropped.clone(), weight);
        kept + scaled_features(lora_linear(dropped, weight, &factors, None), factor)
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
    let through = weight.restored_product(a.clone());
    let cross = (b.clone() * through.transpose()).sum_dim(1).reshape([out]);
    let own = (b.clone().matmul(a.clone().matmul(a.transpose())) * b).sum_dim(1).reshape([out]);
    let squared = squares + cross.mul_scalar(2.0 * scaling) + own.mul_scalar(scaling * scaling);
    squared.clamp_min(SMALLEST).sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use burnisher_kernels::{EightBitWeight, FourBitWeight};
    use burnisher_quant::{Int8Weight, QuantConfig};
    use proptest::prelude::*;

    use super::*;

    fn normal(seed: u64, shape: [usize; 2]) -> Vec<f32> {
        crate::init::normal(&mut crate::init::generator(seed, "test", 0), shape[0] * shape[1], 1.0)
    }

    fn tensor(values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F32))
    }

    proptest! {
        #[test]
        fn the_closed_form_is_the_norm_of_the_sum(
            (out, inn, r) in (1usize..40, 1usize..70, 1usize..9),
            scaling in 0.1f64..4.0,
            storage in 0..3,
            seed in any::<u64>(),
        ) {
            let values = normal(seed, [out, inn]);
            let device = Device::flex();
            let weight = match storage {
                0 => FrozenWeight::Dense(tensor(values, [out, inn])),
                1 => {
                    let config = QuantConfig::nf4().with_double_quant(true);
                    let state = config.quantize(&values, [out, inn]).unwrap();
                    FrozenWeight::FourBit(FourBitWeight::from_state(&state, &device))
                }
                // A projection would round A, which the norms must not.
                _ => {
                    let weight = Int8Weight::quantize(&values, [out, inn]).unwrap();
                    FrozenWeight::EightBit(EightBitWeight::from_int8(&weight, &device))
                }
            };
            let (a, b) = (tensor(normal(seed ^ 1, [r, inn]), [r, inn]), tensor(normal(seed ^ 2, [out, r]), [out, r]));
            let factors = LoraFactors { a: a.clone(), b: b.clone(), scaling };
            let square = |rows: Tensor<2>| (rows.clone() * rows).sum_dim(1).reshape([out]);
            let want = square(weight.dense(FloatDType::F32) + b.clone().matmul(a.clone()).mul_scalar(scaling));
            let squares = weight.squared_row_norms();
            let got = norms(&factors, &weight, squares.clone());
            // Terms that cancel, of the sum or of a product, leave their rounding errors.
            let terms = squares + square(b) * (a.clone() * a).sum().mul_scalar(scaling * scaling);
            let error = ((got.clone() * got - want).abs() / terms).max().into_scalar::<f32>();
            prop_assert!(error <= 2e-6, "{error}");
        }
    }

    /// Values and gradients of `x·Wᵀ + (m/‖V‖ - 1)·d·Wᵀ + (m/‖V‖)·s·(d·Aᵀ)·Bᵀ`, written out.
    #[test]
    fn both_terms_see_the_same_dropped_input() {
        let (out, inn, r, rows) = (6, 10, 3, 5);
        let keys = DropoutKeys::new(3, 1, vec![1, 2, 3, 4, 5]);
        let weight = tensor(normal(1, [out, inn]), [out, inn]);
        let (a, b) = (tensor(normal(2, [r, inn]), [r, inn]), tensor(normal(3, [out, r]), [out, r]));
        let lora = LoraAdapter::new("m", a, b, 0.5, 0.4, true);
        let frozen_weight = FrozenWeight::Dense(weight.clone());
        let mut dora = DoraAdapter::new(lora, &frozen_weight);
        let magnitude = dora.magnitude().without_autodiff().mul_scalar(1.3);
        dora.magnitude = trainable(magnitude);
        let x = tensor(normal(4, [rows, inn]), [rows, inn]).autodiff().require_grad();

        let written_out = || {
            let LoraFactors { a, b, scaling } = dora.lora.factors();
            let sum = weight.clone() + b.clone().matmul(a.clone()).without_autodiff().mul_scalar(scaling);
            let norm = (sum.clone() * sum).sum_dim(1).sqrt().reshape([out]);
            let factor = (dora.magnitude() / norm).unsqueeze::<2>();
            let dropout = dora.lora.dropout(Some(&keys)).unwrap();
            let d = dropped(x.clone(), &dropout);
            let base = |x: Tensor<2>| x.matmul(weight.clone().transpose());
            let low = d.clone().matmul(a.transpose()).matmul(b.transpose()).mul_scalar(scaling);
            base(x.clone()) + (factor.clone() - 1.0) * base(d) + factor * low
        };
        let check = |y: Tensor<2>| {
            let weights = tensor(normal(5, [rows, out]), [rows, out]);
            let mut gradients = (y.clone() * weights).sum().backward();
            let mut found = vec![y.without_autodiff().reshape([rows * out])];
            found.push(x.grad_remove(&mut gradients).unwrap().reshape([rows * inn]));
            found.push(dora.lora.a.val().grad_remove(&mut gradients).unwrap().reshape([r * inn]));
            found.push(dora.lora.b.val().grad_remove(&mut gradients).unwrap().reshape([out * r]));
            found.push(dora.magnitude().grad_remove(&mut gradients).unwrap());
            found
        };
        let (got, want) =
            (check(dora.forward(x.clone().into(), &frozen_weight, Some(&keys))), check(written_out()));
        for (got, want) in got.into_iter().zip(want) {
            let error = (got - want).abs().max().into_scalar::<f32>();
            assert!(error <= 1e-4, "{error}");
        }
    }

    #[test]
    fn a_row_of_zeros_stays_a_row_of_zeros() {
        let weight = FrozenWeight::Dense(tensor(vec![0.0, 0.0, 3.0, 4.0], [2, 2]));
        let (a, b) = (tensor(vec![1.0, 2.0], [1, 2]), tensor(vec![0.0, 0.0], [2, 1]));
        let dora = DoraAdapter::new(LoraAdapter::new("m", a, b, 1.0, 0.0, true), &weight);
        let x = tensor(vec![1.0, 1.0], [1, 2]);
        let y: Vec<f32> = dora.forward(x.into(), &weight, None).to_data().iter::<f32>().collect();
        assert_eq!(y, [0.0, 7.0]);
    }
}
