//! LoRA-FA's gradient of B (Zhang et al. 2023, arXiv:2308.03303).

use std::collections::BTreeMap;

use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use burnisher_lora::{Adaptable, Site};

use crate::Gradients;

/// What is added to the diagonal of `A·Aᵀ`.
const DELTA: f64 = 1e-8;

/// Turns the gradient of `B` beside a frozen `A` into the one that moves `W + s·B·A` most as full fine-tuning would:
/// `g·(A·Aᵀ + 10⁻⁸·I)⁻¹ / s²` (PEFT 0.21, src/peft/optimizers/lorafa.py, which takes a pseudo-inverse in f32).
///
/// `A` does not change, so the inverses are computed once. [`LoraFa::apply`] comes after clipping and before the
/// optimizer's step, as in PEFT.
#[derive(Clone, Debug)]
pub struct LoraFa {
    /// `(A·Aᵀ + 10⁻⁸·I)⁻¹ / s² [r, r]` by the name of `B`.
    inverses: BTreeMap<String, Tensor<2>>,
}

impl LoraFa {
    /// For every adapter of `model` whose `B` is trained and whose `A` is not.
    pub fn new<M: Adaptable>(model: &M) -> Self {
        let mut inverses = BTreeMap::new();
        model.clone().sites(&mut |path, site| {
            let (Site::Projection(projection) | Site::Head(projection)) = site else { return };
            let Some(lora) = projection.adapter().and_then(|adapter| adapter.lora()) else { return };
            let factors = lora.factors();
            if factors.a.is_require_grad() || !factors.b.is_require_grad() {
                return;
            }
            let a = factors.a.without_autodiff().cast(FloatDType::F32);
            let (r, device) = (a.dims()[0], a.device());
            let rows: Vec<f64> = a.to_data().iter::<f32>().map(f64::from).collect();
            let scale = factors.scaling.powi(-2);
            let inverse = inverse(&gram(&rows, r), r).into_iter().map(|value| (value * scale) as f32);
            let data = TensorData::new(inverse.collect::<Vec<f32>>(), [r, r]);
            inverses.insert(format!("{path}.lora_B.weight"), Tensor::from_data(data, (&device, DType::F32)));
        });
        Self { inverses }
    }

    /// The names of the parameters whose gradients it changes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.inverses.keys().map(String::as_str)
    }

    /// Changes the gradients of a step.
    pub fn apply(&self, gradients: &mut Gradients) {
        for (name, inverse) in &self.inverses {
            let r = inverse.dims()[0];
            gradients.change(name, |gradient| {
                let count = gradient.dims()[0];
                gradient.reshape([count / r, r]).matmul(inverse.clone()).reshape([count])
            });
        }
    }
}

/// `A·Aᵀ + 10⁻⁸·I [r, r]`, row-major.
fn gram(a: &[f64], r: usize) -> Vec<f64> {
    let inn = a.len() / r;
    let row = |i: usize| &a[i * inn..(i + 1) * inn];
    let dot = |i: usize, j: usize| row(i).iter().zip(row(j)).map(|(x, y)| x * y).sum::<f64>();
    (0..r * r).map(|at| dot(at / r, at % r) + if at / r == at % r { DELTA } else { 0.0 }).collect()
}

/// The inverse of a positive definite matrix `[r, r]`, by elimination with the largest pivots.
fn inverse(matrix: &[f64], r: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = (0..r)
        .map(|i| {
            let unit = (0..r).map(|j| f64::from(u8::from(i == j)));
            matrix[i * r..(i + 1) * r].iter().copied().chain(unit).collect()
        })
        .collect();
    for column in 0..r {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..r).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        rows.swap(column, pivot);
        let scale = rows[column][column].recip();
        rows[column].iter_mut().for_each(|value| *value *= scale);
        let base = rows[column].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(index, _)| *index != column) {
            let factor = row[column];
            row.iter_mut().zip(&base).for_each(|(value, base)| *value -= factor * base);
        }
    }
    rows.into_iter().flat_map(|row| row.into_iter().skip(r)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_inverse_is_one(r in 1usize..9, values in prop::collection::vec(-1.0f64..1.0, 8 * 24)) {
            let matrix = gram(&values[..r * 24], r);
            let inverse = inverse(&matrix, r);
            for i in 0..r {
                for j in 0..r {
                    let product: f64 = (0..r).map(|k| matrix[i * r + k] * inverse[k * r + j]).sum();
                    prop_assert!((product - f64::from(u8::from(i == j))).abs() < 1e-6, "{product} at {i}, {j}");
                }
            }
        }
    }
}
