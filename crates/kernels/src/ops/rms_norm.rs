//! Root-mean-square normalisation.

use burn::tensor::{FloatDType, Tensor};

use crate::ops::lora_linear::float_dtype;

/// How a normalisation's weight is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormWeight {
    /// Factor `w` (Llama, Mistral).
    #[default]
    Plain,
    /// Factor `1 + w` (Gemma).
    OnePlus,
}

/// `y = x / √(mean(x²) + ε) · w`, or `· (1 + w)` (arXiv:1910.07467), statistics in f32.
///
/// Llama's form multiplies after rounding to the input's dtype, Gemma's before, as Hugging Face does.
///
/// # Shapes
/// - `x`: `[.., h]`, `weight`: `[h]`, output: as `x`
pub fn rms_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    epsilon: f64,
    form: NormWeight,
) -> Tensor<D> {
    let dtype = float_dtype(&x);
    let x = x.cast(FloatDType::F32);
    let mean = x.clone().square().mean_dim(D - 1).add_scalar(epsilon);
    let normed = x / mean.sqrt();
    match form {
        NormWeight::Plain => normed.cast(dtype) * weight.cast(dtype).unsqueeze(),
        NormWeight::OnePlus => {
            (normed * weight.cast(FloatDType::F32).add_scalar(1.0).unsqueeze()).cast(dtype)
        }
    }
}
