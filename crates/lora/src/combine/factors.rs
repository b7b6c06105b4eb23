//! The combined factors of one module.

use rand_chacha::ChaCha8Rng;

use crate::{
    combine::{
        CombinationType, CombineArithmetic, CombineConfig,
        config::Rule,
        parts::{Module, Part},
        task::{Real, disjoint_merge, keep_largest, keep_random, weighted_sum},
    },
    init::generator,
    linalg::{Matrix, Svd, qr, svd},
};

/// `A [r, in]` and `B [out, r]`.
pub(crate) fn combined(module: &Module, r: usize, config: &CombineConfig) -> (Vec<f32>, Vec<f32>) {
    match config.arithmetic {
        CombineArithmetic::Exact if !config.decomposes() => concatenated(module, r),
        CombineArithmetic::Exact if config.combination.rule() == Rule::Sum => low_rank_sum(module, r),
        CombineArithmetic::Exact => {
            let deltas: Vec<Vec<f64>> = module.parts.iter().map(|part| delta(module, part)).collect();
            let weights: Vec<f64> = module.parts.iter().map(|part| part.weight).collect();
            let merged = merged(deltas, &weights, config, &mut stream(config, module, 4));
            decomposed(&Matrix::new(module.out, module.inn, merged), r)
        }
        CombineArithmetic::Peft if config.decomposes() => {
            let deltas = module.parts.iter().map(|part| delta_f32(module, part)).collect();
            let weights: Vec<f32> = module.parts.iter().map(|part| part.weight as f32).collect();
            let merged = merged(deltas, &weights, config, &mut stream(config, module, 4));
            decomposed(&Matrix::from_f32(module.out, module.inn, &merged), r)
        }
        CombineArithmetic::Peft if config.combination == CombinationType::Cat => concatenated_f32(module, r),
        CombineArithmetic::Peft => apart(module, config),
    }
}

/// The random numbers of one module, by what they are for.
fn stream(config: &CombineConfig, module: &Module, purpose: u64) -> ChaCha8Rng {
    generator(config.seed, &module.path, purpose)
}

/// One task vector from several.
fn merged<T: Real>(
    mut tasks: Vec<Vec<T>>,
    weights: &[T],
    config: &CombineConfig,
    generator: &mut ChaCha8Rng,
) -> Vec<T> {
    let density = config.density.unwrap_or(1.0);
    let rule = config.combination.rule();
    match rule {
        Rule::Sum => {}
        Rule::Ties | Rule::MagnitudePrune => tasks.iter_mut().for_each(|task| keep_largest(task, density)),
        Rule::DareLinear | Rule::DareTies => {
            tasks.iter_mut().for_each(|task| keep_random(task, density, generator));
        }
    }
    match rule {
        Rule::Ties | Rule::DareTies => disjoint_merge(&tasks, weights, config.majority_sign),
        _ => weighted_sum(&tasks, weights),
    }
}

/// `A` and `B` by themselves, each with the root of the weight: PEFT's form of everything but `cat` and `svd`.
fn apart(module: &Module, config: &CombineConfig) -> (Vec<f32>, Vec<f32>) {
    let weights = module.parts.iter().map(|part| part.weight * part.scaling);
    let (mut for_a, mut for_b) = (Vec::new(), Vec::new());
    for weight in weights {
        let root = weight.abs().sqrt();
        for_a.push((if weight >= 0.0 { root } else { -root }) as f32);
        for_b.push(root as f32);
    }
    let take =
        |factor: fn(&Part) -> &Vec<f32>| module.parts.iter().map(|part| factor(part).clone()).collect();
    (
        merged(take(|part| &part.a), &for_a, config, &mut stream(config, module, 4)),
        merged(take(|part| &part.b), &for_b, config, &mut stream(config, module, 5)),
    )
}

/// `A = [wᵢ·sᵢ·Aᵢ; 0]`, `B = [Bᵢ, 0]`, each value rounded once.
fn concatenated(module: &Module, r: usize) -> (Vec<f32>, Vec<f32>) {
    concatenated_by(module, r, |value, part| (f64::from(value) * (part.weight * part.scaling)) as f32)
}

/// As [`concatenated`], with PEFT's two roundings.
fn concatenated_f32(module: &Module, r: usize) -> (Vec<f32>, Vec<f32>) {
    concatenated_by(module, r, |value, part| value * part.weight as f32 * part.scaling as f32)
}

fn concatenated_by(module: &Module, r: usize, scale: impl Fn(f32, &Part) -> f32) -> (Vec<f32>, Vec<f32>) {
    let mut a: Vec<f32> =
        module.parts.iter().flat_map(|part| part.a.iter().map(|value| scale(*value, part))).collect();
    a.resize(r * module.inn, 0.0);
    let mut b = Vec::with_capacity(module.out * r);
    for row in 0..module.out {
        for part in &module.parts {
            b.extend_from_slice(&part.b[row * part.r..][..part.r]);
        }
        b.resize((row + 1) * r, 0.0);
    }
    (a, b)
}

/// The best rank `r` of `Σ wᵢ·sᵢ·Bᵢ·Aᵢ` without forming it: with `[Bᵢ] = Q·R` and `[Aᵢ]ᵀ = P·T` the sum is
/// `Q·(R·D·Tᵀ)·Pᵀ`, and the matrix in the middle is small.
fn low_rank_sum(module: &Module, r: usize) -> (Vec<f32>, Vec<f32>) {
    let a: Vec<Matrix> = module.parts.iter().map(|part| part.a(module.inn)).collect();
    let b: Vec<Matrix> = module.parts.iter().map(|part| part.b(module.out).transpose()).collect();
    let weights: Vec<f64> = module
        .parts
        .iter()
        .flat_map(|part| std::iter::repeat_n(part.weight * part.scaling, part.r))
        .collect();
    let (q, left) = qr(&Matrix::stack(&b.iter().collect::<Vec<_>>()).transpose());
    let (p, right) = qr(&Matrix::stack(&a.iter().collect::<Vec<_>>()).transpose());
    let Svd { u, s, vt } = svd(&left.scale_cols(&weights).matmul(&right.transpose()));
    let decomposition = Svd { u: q.matmul(&u), s, vt: vt.matmul(&p.transpose()) };
    leading(&decomposition, r)
}

fn decomposed(delta: &Matrix, r: usize) -> (Vec<f32>, Vec<f32>) {
    leading(&svd(delta), r)
}

/// `A = Vᵀ`, `B = U·S`, filled up with zeros where there are fewer triplets.
fn leading(decomposition: &Svd, r: usize) -> (Vec<f32>, Vec<f32>) {
    let Svd { u, s, vt } = decomposition;
    let count = r.min(s.len());
    let mut a = vt.first_rows(count).to_f32();
    a.resize(r * vt.cols, 0.0);
    let scaled = u.first_cols(count).scale_cols(&s[..count]);
    let mut b = Vec::with_capacity(u.rows * r);
    for row in 0..u.rows {
        b.extend(scaled.row(row).iter().map(|value| *value as f32));
        b.resize((row + 1) * r, 0.0);
    }
    (a, b)
}

/// `s·B·A`.
fn delta(module: &Module, part: &Part) -> Vec<f64> {
    let product = part.b(module.out).matmul(&part.a(module.inn));
    product.values.into_iter().map(|value| value * part.scaling).collect()
}

/// `s·B·A`, the product and its multiple both rounded to f32, as PEFT has it.
fn delta_f32(module: &Module, part: &Part) -> Vec<f32> {
    let product = part.b(module.out).matmul(&part.a(module.inn));
    product.values.into_iter().map(|value| value as f32 * part.scaling as f32).collect()
}
