//! Initial values that are drawn, from nothing but a seed.
//!
//! The numbers are a function of the seed, the module's path and the factor alone: neither the
//! order in which modules are attached nor the device changes them. Distributions are those of
//! peft 0.21, src/peft/tuners/lora/layer.py `reset_lora_parameters`; the numbers are not torch's.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    config::InitLoraWeights,
    linalg::{Matrix, qr},
};

/// The factors `A` `[r, in_features]` and `B` `[out_features, r]` of a projection's fresh adapter, row-major.
///
/// Kaiming: `A ~ U(-1/√in, 1/√in)`, `B = 0`. Gaussian: `A ~ N(0, (1/r)²)`, `B = 0`.
/// Random: `A ~ U(-1/√in, 1/√in)`, `B ~ U(-1/√r, 1/√r)`. Orthogonal: see [`orthogonal`].
/// An initialisation from weights or data, whose values come from elsewhere, is Kaiming here.
pub(crate) fn factors(
    init: InitLoraWeights,
    seed: u64,
    path: &str,
    r: usize,
    in_features: usize,
    out_features: usize,
) -> (Vec<f32>, Vec<f32>) {
    let (mut for_a, mut for_b) = (generator(seed, path, 0), generator(seed, path, 1));
    let bound = |fan_in: usize| 1.0 / (fan_in as f64).sqrt();
    match init {
        InitLoraWeights::Gaussian => {
            (normal(&mut for_a, r * in_features, 1.0 / r as f64), vec![0.0; out_features * r])
        }
        InitLoraWeights::Random => (
            uniform(&mut for_a, r * in_features, bound(in_features)),
            uniform(&mut for_b, out_features * r, bound(r)),
        ),
        InitLoraWeights::Orthogonal => orthogonal(seed, path, r, in_features, out_features),
        _ => (uniform(&mut for_a, r * in_features, bound(in_features)), vec![0.0; out_features * r]),
    }
}

/// Factors that are both not zero while `B·A` is: `A = (N₁·Q₁)ᵀ/10` and `B = N₂·Q₂/10` with the even and
/// the odd rows `Q₁`, `Q₂` of a random orthogonal matrix `[r, r]`, `r` even, and standard normal `N₁ [in, r/2]`,
/// `N₂ [out, r/2]` (peft 0.21, `orthogonal_init`).
fn orthogonal(
    seed: u64,
    path: &str,
    r: usize,
    in_features: usize,
    out_features: usize,
) -> (Vec<f32>, Vec<f32>) {
    let draw = |factor: u64, rows: usize, cols: usize| {
        let values = normal(&mut generator(seed, path, factor), rows * cols, 1.0);
        Matrix::from_f32(rows, cols, &values)
    };
    let (q, _) = qr(&draw(2, r, r));
    let half = |first: usize| {
        let rows =
            (first..r).step_by(2).take(r / 2).flat_map(|row| q.row(row).iter().map(|value| value / 10.0));
        Matrix::new(r / 2, r, rows.collect())
    };
    let a = draw(0, in_features, r / 2).matmul(&half(0)).transpose();
    let b = draw(1, out_features, r / 2).matmul(&half(1));
    (a.to_f32(), b.to_f32())
}

/// Standard normal values for the start of a subspace iteration, the same for every seed: a file that only
/// names the initialisation then leads back to the same base.
pub(crate) fn subspace_start(path: &str, rows: usize, cols: usize) -> Matrix {
    Matrix::from_f32(rows, cols, &normal(&mut generator(0, path, 3), rows * cols, 1.0))
}

/// The stream of random numbers of one factor of one module.
pub(crate) fn generator(seed: u64, path: &str, factor: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&fnv1a(path).to_le_bytes());
    key[16..].copy_from_slice(b"burnisher-lora-1");
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(factor);
    generator
}

/// The 64-bit FNV-1a hash: the same on every machine and in every version, unlike std's.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A number in [0, 1) with 53 random bits.
pub(crate) fn unit(generator: &mut ChaCha8Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn uniform(generator: &mut ChaCha8Rng, count: usize, bound: f64) -> Vec<f32> {
    (0..count).map(|_| ((2.0 * unit(generator) - 1.0) * bound) as f32).collect()
}

/// Box and Muller's transform, two values from two uniform ones.
pub(crate) fn normal(generator: &mut ChaCha8Rng, count: usize, std: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // 1 - u is never 0, so the logarithm is finite.
        let radius = std * (-2.0 * (1.0 - unit(generator)).ln()).sqrt();
        let angle = TAU * unit(generator);
        values.push((radius * angle.cos()) as f32);
        values.push((radius * angle.sin()) as f32);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "model.layers.0.self_attn.q_proj";

    fn draw(init: InitLoraWeights, seed: u64, path: &str) -> (Vec<f32>, Vec<f32>) {
        factors(init, seed, path, 16, 1024, 512)
    }

    /// Mean, standard deviation and largest magnitude.
    fn moments(values: &[f32]) -> (f64, f64, f32) {
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let square = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / count;
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        (mean, (square - mean * mean).sqrt(), largest)
    }

    /// The standard deviation of n normal values is off by about 1/√(2n) of itself: 0.8 % for the smaller factor.
    #[test]
    fn factors_have_the_distributions_of_peft() {
        // U(-b, b) has the standard deviation b/√3: b is 1/32 for A and 1/4 for B.
        let (a_std, b_std) = (1.0 / 32.0 / 3_f64.sqrt(), 0.25 / 3_f64.sqrt());
        for (init, a_wanted, b_wanted) in [
            (InitLoraWeights::Kaiming, a_std, 0.0),
            (InitLoraWeights::Gaussian, 1.0 / 16.0, 0.0),
            (InitLoraWeights::Random, a_std, b_std),
        ] {
            let (a, b) = draw(init, 7, PATH);
            assert_eq!((a.len(), b.len()), (16 * 1024, 512 * 16));
            for (values, wanted) in [(&a, a_wanted), (&b, b_wanted)] {
                let (mean, std, _) = moments(values);
                assert!(mean.abs() <= 0.05 * wanted, "{init:?}: mean {mean}");
                assert!((std - wanted).abs() <= 0.03 * wanted, "{init:?}: {std}, not {wanted}");
            }
        }
        let (a, b) = draw(InitLoraWeights::Random, 7, PATH);
        assert!(moments(&a).2 <= 1.0 / 32.0);
        assert!(moments(&b).2 <= 0.25);
    }

    #[test]
    fn numbers_depend_on_seed_path_and_factor_alone() {
        let random = |seed, path| draw(InitLoraWeights::Random, seed, path);
        let (a, b) = random(1, PATH);
        assert_eq!((&a, &b), (&random(1, PATH).0, &random(1, PATH).1));
        assert_ne!(a, random(2, PATH).0);
        assert_ne!(a, random(1, "model.layers.1.self_attn.q_proj").0);
        assert_ne!(a[0] * 32.0, b[0] * 4.0);
    }

    #[test]
    fn orthogonal_factors_start_unchanged_and_have_gradients() {
        let (r, inn, out) = (6, 40, 24);
        let (a, b) = factors(InitLoraWeights::Orthogonal, 3, PATH, r, inn, out);
        let (a, b) = (Matrix::from_f32(r, inn, &a), Matrix::from_f32(out, r, &b));
        let largest =
            |matrix: &Matrix| matrix.values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        assert!(largest(&b.matmul(&a)) < 1e-7);
        // r/2 products of N(0, 1) with unit rows, over 10: each row of A has variance of about 1/200.
        for factor in [&a, &b] {
            let mean =
                factor.values.iter().map(|value| value * value).sum::<f64>() / factor.values.len() as f64;
            assert!((0.5..2.0).contains(&(mean * 200.0)), "{mean}");
        }
        assert_ne!(
            a,
            Matrix::from_f32(r, inn, &factors(InitLoraWeights::Orthogonal, 4, PATH, r, inn, out).0)
        );
    }

    #[test]
    fn odd_and_empty_sizes() {
        for count in [0, 1, 3] {
            assert_eq!(normal(&mut generator(0, PATH, 0), count, 1.0).len(), count);
        }
    }
}
