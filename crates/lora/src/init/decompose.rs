//! Factors from a weight `[out, in]`: PiSSA, OLoRA, LoftQ. Matrices in, matrices out.
//!
//! The formulas are those of peft 0.21 (src/peft/tuners/lora/layer.py, src/peft/utils/loftq_utils.py);
//! decompositions are computed in f64, factors and weights rounded to f32.

use burn::tensor::Device;
use burnisher_quant::{Int8Weight, QuantConfig, QuantError, SourceDtype};

use crate::{
    init::{LoftqConfig, random::subspace_start},
    linalg::{Matrix, Svd, device_product, qr, svd, svd_low_rank},
};

/// The factors `A [r, in]` and `B [out, r]`, and what is left of the weight.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) base: Vec<f32>,
}

/// `W ≈ U·S·Vᵀ` of rank `r`: `A = √(S/s)·Vᵀ`, `B = U·√(S/s)`, base `W - s·B·A`. By subspace iterations if
/// their number is given; `path` then chooses their start.
pub(crate) fn pissa(
    weight: &Matrix,
    r: usize,
    scaling: f64,
    iterations: Option<usize>,
    path: &str,
    device: &Device,
) -> Split {
    let decomposed = match iterations {
        None => svd(weight),
        Some(iterations) => svd_low_rank(weight, &subspace_start(path, weight.cols, r), iterations, device),
    };
    let (a, b) = halves(decomposed, r, scaling);
    split(weight, &a, &b, scaling, device)
}

/// `W = Q·R`: `A = R[:r]`, `B = Q[:, :r]`, base `W - s·B·A`.
pub(crate) fn olora(weight: &Matrix, r: usize, scaling: f64, device: &Device) -> Split {
    let (q, upper) = qr(weight);
    split(weight, &upper.first_rows(r), &q.first_cols(r), scaling, device)
}

/// Rounds of `Q = quantize(W - B·A)` and `B·A ≈ W - Q`, starting from `B·A = 0`; the base is `Q`, in f32.
///
/// As in PEFT the scaling of the adapter has no part in it: the adapted model comes closest to the original with
/// `lora_alpha = r`.
///
/// # Errors
/// [`QuantError::NotFinite`] for a weight that is not finite.
pub(crate) fn loftq(
    weight: &Matrix,
    r: usize,
    config: LoftqConfig,
    device: &Device,
) -> Result<Split, QuantError> {
    let shape = [weight.rows, weight.cols];
    let original = weight.to_f32();
    let mut residual = original.clone();
    let mut round = 0;
    loop {
        let base = quantized(&residual, shape, config.bits)?;
        let lost: Vec<f32> = original.iter().zip(&base).map(|(weight, base)| weight - base).collect();
        let lost = Matrix::from_f32(weight.rows, weight.cols, &lost);
        let (a, b) = halves(svd(&lost), r, 1.0);
        let (a, b) = (a.to_f32(), b.to_f32());
        round += 1;
        if round >= config.iterations {
            return Ok(Split { a, b, base });
        }
        let product = device_product(
            &Matrix::from_f32(weight.rows, r, &b),
            &Matrix::from_f32(r, weight.cols, &a),
            device,
        );
        residual = original.iter().zip(product.to_f32()).map(|(weight, part)| weight - part).collect();
    }
}

/// The values that quantization leaves.
fn quantized(values: &[f32], shape: [usize; 2], bits: u32) -> Result<Vec<f32>, QuantError> {
    if bits == 8 {
        // bitsandbytes takes the rows in f16.
        let rounded: Vec<f32> = values.iter().map(|&value| SourceDtype::F16.round(value)).collect();
        return Ok(Int8Weight::quantize(&rounded, shape)?.dequantize());
    }
    Ok(QuantConfig::nf4().quantize(values, shape)?.dequantize())
}

/// `√(S/s)·Vᵀ` and `U·√(S/s)`, the leading `r`.
fn halves(decomposed: Svd, r: usize, scaling: f64) -> (Matrix, Matrix) {
    let Svd { u, s, vt } = decomposed;
    // Zero singular values may come out as tiny negative ones.
    let roots: Vec<f64> = s[..r].iter().map(|s| (s.max(0.0) / scaling).sqrt()).collect();
    (vt.first_rows(r).scale_rows(&roots), u.first_cols(r).scale_cols(&roots))
}

/// The base that the rounded factors leave.
fn split(weight: &Matrix, a: &Matrix, b: &Matrix, scaling: f64, device: &Device) -> Split {
    let (a32, b32) = (a.to_f32(), b.to_f32());
    let product = device_product(
        &Matrix::from_f32(b.rows, b.cols, &b32),
        &Matrix::from_f32(a.rows, a.cols, &a32),
        device,
    );
    let base = weight.values.iter().zip(&product.values);
    let base = base.map(|(weight, product)| (weight - scaling * product) as f32).collect();
    Split { a: a32, b: b32, base }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(rows: usize, cols: usize) -> Matrix {
        let values = (0..rows * cols).map(|i| (i as f64 * 1.37).sin() + 0.3 * (i as f64 * 0.11).cos());
        let rounded: Vec<f32> = values.map(|value| value as f32).collect();
        Matrix::from_f32(rows, cols, &rounded)
    }

    /// The largest difference between the weight and `base + s·B·A`.
    fn gap(weight: &Matrix, split: &Split, r: usize, scaling: f64) -> f64 {
        let a = Matrix::from_f32(r, weight.cols, &split.a);
        let product = Matrix::from_f32(weight.rows, r, &split.b).matmul(&a);
        let parts = weight.values.iter().zip(&product.values).zip(&split.base);
        parts.map(|((w, p), base)| (w - scaling * p - f64::from(*base)).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn base_and_factors_add_up_to_the_weight() {
        let device = Device::flex();
        for (rows, cols) in [(12, 12), (20, 7), (7, 20)] {
            let weight = weight(rows, cols);
            for (r, scaling) in [(1, 2.0), (4, 0.5), (7, 2.0)] {
                let exact = pissa(&weight, r, scaling, None, "m", &device);
                let fast = pissa(&weight, r, scaling, Some(4), "m", &device);
                let triangular = olora(&weight, r, scaling, &device);
                for split in [&exact, &fast, &triangular] {
                    assert!(gap(&weight, split, r, scaling) < 1e-6, "{rows}×{cols}, r {r}");
                }
                let energy = |split: &Split| split.base.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
                // The singular triplets leave the least; subspace iterations almost that.
                assert!(energy(&exact) <= energy(&triangular) + 1e-6);
                assert!(
                    energy(&exact) <= energy(&fast) + 1e-6 && energy(&fast) <= 1.3 * energy(&exact) + 1e-6
                );
            }
        }
    }

    #[test]
    fn loftq_loses_less_with_every_round_and_less_than_quantization_alone() {
        let device = Device::flex();
        let weight = weight(64, 48);
        let error = |split: &Split| {
            let a = Matrix::from_f32(8, 48, &split.a);
            let product = Matrix::from_f32(64, 8, &split.b).matmul(&a);
            let parts = weight.values.iter().zip(&product.values).zip(&split.base);
            parts.map(|((w, p), base)| (w - p - f64::from(*base)).powi(2)).sum::<f64>()
        };
        for bits in [4, 8] {
            let run = |iterations| loftq(&weight, 8, LoftqConfig { bits, iterations }, &device).unwrap();
            let once = run(1);
            let alone: f64 =
                weight.values.iter().zip(&once.base).map(|(w, base)| (w - f64::from(*base)).powi(2)).sum();
            assert!(error(&once) < alone, "{bits} bits");
            assert!(error(&run(5)) < error(&once), "{bits} bits");
        }
    }
}
