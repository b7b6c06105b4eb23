//! VeRA (Kopiczko et al. 2024, arXiv:2310.11454): two trained vectors per module, and fixed random matrices that all
//! modules share.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, FloatDType, Tensor, TensorData},
};
use burnisher_kernels::{Dropout, DropoutKeys, FrozenWeight, SharedInput, linear, scaled_features};

use super::{Folded, dropped, lora::stream};
use crate::{ParameterMut, projection::trainable, torch_random::TorchRandom};

/// The matrices `A [r, largest in]` and `B [largest out, r]` of all modules; a module takes the columns and rows it
/// needs.
#[derive(Module, Debug)]
pub(crate) struct SharedProjection {
    pub(crate) a: Tensor<2>,
    pub(crate) b: Tensor<2>,
}

impl SharedProjection {
    /// The matrices that PEFT makes of a `projection_prng_key`: torch's CPU generator, Kaiming's uniform distribution,
    /// `A` before `B` (PEFT 0.21, src/peft/tuners/vera/model.py `_init_vera_A_vera_B`).
    pub(crate) fn random(r: usize, [out, inn]: [usize; 2], key: u64, device: &Device) -> Self {
        let mut random = TorchRandom::new(key);
        let mut matrix = |shape: [usize; 2]| {
            // gain √2: U(-√6/√fan_in, √6/√fan_in), in Python's order of operations.
            let std = 2.0f64.sqrt() / (shape[1] as f64).sqrt();
            let bound = 3.0f64.sqrt() * std;
            let values = random.uniform(shape[0] * shape[1], -bound, bound);
            Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
        };
        let a = matrix([r, inn]);
        Self { a, b: matrix([out, r]) }
    }
}

/// `y = x·Wᵀ + λ_b ⊙ ((λ_d ⊙ (dropout(x)·Aᵀ))·Bᵀ)`: `λ_b [out]` and `λ_d [r]` are trained, `A` and `B` are not.
#[derive(Module, Debug)]
pub struct VeraAdapter {
    lambda_b: Param<Tensor<1>>,
    lambda_d: Param<Tensor<1>>,
    pub(crate) shared: SharedProjection,
    #[module(skip)]
    options: Options,
}

#[derive(Clone, Debug)]
struct Options {
    dims: [usize; 2],
    dropout: f64,
    stream: u64,
}

impl VeraAdapter {
    /// `λ_b = 0` and `λ_d = d_initial`: nothing changes yet.
    pub(crate) fn new(
        path: &str,
        dims: [usize; 2],
        shared: SharedProjection,
        d_initial: f64,
        dropout: f64,
    ) -> Self {
        let (r, device) = (shared.a.dims()[0], shared.a.device());
        Self {
            lambda_b: trainable(Tensor::zeros([dims[0]], (&device, DType::F32))),
            lambda_d: trainable(Tensor::full([r], d_initial, (&device, DType::F32))),
            shared,
            options: Options { dims, dropout, stream: stream(path) },
        }
    }

    /// `A [r, in]` and `B [out, r]` of this module.
    pub fn projection(&self) -> (Tensor<2>, Tensor<2>) {
        let [out, inn] = self.options.dims;
        (self.shared.a.clone().narrow(1, 0, inn), self.shared.b.clone().narrow(0, 0, out))
    }

    /// `λ_b [out]` and `λ_d [r]`.
    pub fn lambdas(&self) -> (Tensor<1>, Tensor<1>) {
        (self.lambda_b.val(), self.lambda_d.val())
    }

    pub(crate) fn forward<const D: usize>(
        &self,
        x: SharedInput<D>,
        weight: &FrozenWeight,
        keys: Option<&DropoutKeys>,
    ) -> Tensor<D> {
        let y = linear(&x, weight);
        let output = FloatDType::from(y.dtype());
        let ((a, b), (lambda_b, lambda_d)) = (self.projection(), self.lambdas());
        let x = x.tensor().clone().cast(FloatDType::F32);
        let x = match self.dropout(keys) {
            Some(dropout) => dropped(x, &dropout),
            None => x,
        };
        let h = scaled_features(linear(x, &FrozenWeight::Dense(a)), lambda_d);
        y + scaled_features(linear(h, &FrozenWeight::Dense(b)), lambda_b).cast(output)
    }

    fn dropout(&self, keys: Option<&DropoutKeys>) -> Option<Dropout> {
        let keys = keys.filter(|_| self.options.dropout > 0.0)?;
        Some(keys.layer(self.options.stream, self.options.dropout))
    }

    /// `W + (λ_b ⊙ B)·(λ_d ⊙ A)`, by rows.
    pub(crate) fn fold(&self, base: Folded) -> Folded {
        let ((a, b), (lambda_b, lambda_d)) = (self.projection(), self.lambdas());
        let (lambda_b, lambda_d) = (lambda_b.without_autodiff(), lambda_d.without_autodiff());
        let delta = (b * lambda_b.unsqueeze_dim(1)).matmul(a * lambda_d.unsqueeze_dim(1));
        Folded { weight: base.weight + delta, bias: base.bias }
    }

    pub(crate) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        visit(&format!("{path}.vera_lambda_b"), ParameterMut::Vector(&mut self.lambda_b));
        visit(&format!("{path}.vera_lambda_d"), ParameterMut::Vector(&mut self.lambda_d));
    }
}
