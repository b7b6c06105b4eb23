//! AdaLoRA's choice of triplets (Zhang et al. 2023, arXiv:2303.10512, section 3.2).

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use burnisher_lora::{AdaLoraConfig, Adaptable, ParameterMut, visit_parameters};

use crate::{Gradients, TrainError};

/// What is kept of each tensor, as checkpoints name it.
const SENSITIVITY: &str = "exp_avg_ipt";
const UNCERTAINTY: &str = "exp_avg_unc";
const MASK: &str = "mask";
/// The ends of the names of an AdaLoRA adapter's parameters.
const A: &str = ".lora_A";
const E: &str = ".lora_E";
const B: &str = ".lora_B";

/// Measures how important each triplet of the adapter is, and masks the singular values of the others.
///
/// A value's sensitivity is `|value · gradient|`, smoothed over the steps; its uncertainty is how far a step's
/// sensitivity is from the smoothed one, smoothed, too. The importance of a triplet is the sum of the product of both
/// for its singular value and of its means over the two vectors. As many triplets of all modules together as the
/// budget says keep their singular values; the budget falls with the cube of the steps that are left. The arithmetic
/// is that of PEFT 0.21 (src/peft/tuners/adalora/layer.py, `RankAllocator`).
#[derive(Clone, Debug)]
pub struct RankAllocator {
    config: AdaLoraConfig,
    moments: BTreeMap<String, Moments>,
    kept: BTreeMap<String, Vec<bool>>,
}

/// Flattened, f32.
#[derive(Clone, Debug)]
struct Moments {
    sensitivity: Tensor<1>,
    uncertainty: Tensor<1>,
}

impl RankAllocator {
    /// An allocator that has not seen a step.
    pub fn new(config: &AdaLoraConfig) -> Self {
        Self { config: config.clone(), moments: BTreeMap::new(), kept: BTreeMap::new() }
    }

    /// The configuration.
    pub fn config(&self) -> &AdaLoraConfig {
        &self.config
    }

    /// How many triplets of all modules are kept after `step` steps, from `initial` in `modules` modules, and whether
    /// they are chosen anew then.
    pub fn budget(&self, step: u64, initial: usize, modules: usize) -> (usize, bool) {
        let (config, target) = (&self.config, self.config.target_r() * modules);
        let last = config.total_step() - config.tfinal();
        if step <= config.tinit() {
            return (initial, false);
        }
        if step >= last {
            return (target.min(initial), step == last);
        }
        let done = (step - config.tinit()) as f64 / (last - config.tinit()) as f64;
        let above = initial as f64 - target as f64;
        let budget = (above * (1.0 - done).powi(3) + target as f64) as usize;
        (budget.min(initial), step.is_multiple_of(config.delta_t()))
    }

    /// Takes in the gradients of step `step`, counted from 1, that the optimizer has just taken, and masks what the
    /// budget leaves no room for. In the last `tfinal` steps the same triplets are masked again.
    pub fn update_and_allocate<M: Adaptable>(&mut self, model: &mut M, gradients: &Gradients, step: u64) {
        let last = self.config.total_step() - self.config.tfinal();
        if step < last {
            self.measure(model, gradients);
        }
        if step <= last {
            let ranks = ranks(model);
            let (budget, chooses) = self.budget(step, ranks.values().sum(), ranks.len());
            if chooses {
                self.kept = self.choose(&ranks, budget);
                mask(model, &self.kept);
            }
            if step == last {
                self.moments.clear();
            }
        } else {
            mask(model, &self.kept);
        }
    }

    fn measure<M: Adaptable>(&mut self, model: &mut M, gradients: &Gradients) {
        let (beta1, beta2) = (self.config.beta1(), self.config.beta2());
        visit_parameters(model, &mut |name, parameter| {
            let Some(gradient) = gradients.get(name).filter(|_| is_factor(name)) else { return };
            let now = (parameter.flat().cast(FloatDType::F32) * gradient.clone()).abs();
            let zeros = || Tensor::zeros_like(&now);
            let (sensitivity, uncertainty) = match self.moments.remove(name) {
                Some(before) => (before.sensitivity, before.uncertainty),
                None => (zeros(), zeros()),
            };
            let sensitivity = sensitivity.mul_scalar(beta1) + now.clone().mul_scalar(1.0 - beta1);
            let off = (now - sensitivity.clone()).abs();
            let uncertainty = uncertainty.mul_scalar(beta2) + off.mul_scalar(1.0 - beta2);
            self.moments.insert(name.to_owned(), Moments { sensitivity, uncertainty });
        });
    }

    /// The triplets above the score of the last one that has no room, by module.
    fn choose(&self, ranks: &BTreeMap<String, usize>, budget: usize) -> BTreeMap<String, Vec<bool>> {
        let scores: BTreeMap<&String, Vec<f32>> =
            ranks.iter().map(|(path, r)| (path, self.scores(path, *r))).collect();
        let mut sorted: Vec<f32> = scores.values().flatten().copied().collect();
        sorted.sort_by(f32::total_cmp);
        let masked = sorted.len().saturating_sub(budget);
        let threshold = masked.checked_sub(1).map(|last| sorted[last]);
        let keeps = |score: &f32| threshold.is_none_or(|threshold| *score > threshold);
        scores.into_iter().map(|(path, scores)| (path.clone(), scores.iter().map(keeps).collect())).collect()
    }

    /// The importance of each of the `r` triplets of the module at `path`.
    fn scores(&self, path: &str, r: usize) -> Vec<f32> {
        let score = |end: &str| {
            let moments = self.moments.get(&format!("{path}{end}"))?;
            Some(moments.sensitivity.clone() * moments.uncertainty.clone())
        };
        let (Some(a), Some(e), Some(b)) = (score(A), score(E), score(B)) else { return vec![0.0; r] };
        let (inn, out) = (a.dims()[0] / r, b.dims()[0] / r);
        let of_a: Tensor<1> = a.reshape([r, inn]).mean_dim(1).reshape([r]);
        let of_b: Tensor<1> = b.reshape([out, r]).mean_dim(0).reshape([r]);
        (e + (of_a + of_b)).to_data().iter::<f32>().collect()
    }

    /// The state as named tensors, flattened.
    pub(crate) fn to_tensors(&self, device: &Device) -> Vec<(String, Tensor<1>)> {
        let mut tensors = Vec::new();
        for (name, Moments { sensitivity, uncertainty }) in &self.moments {
            tensors.push((format!("{name}.{SENSITIVITY}"), sensitivity.clone()));
            tensors.push((format!("{name}.{UNCERTAINTY}"), uncertainty.clone()));
        }
        for (path, kept) in &self.kept {
            let values: Vec<f32> = kept.iter().map(|kept| f32::from(u8::from(*kept))).collect();
            tensors.push((format!("{path}.{MASK}"), flat(values, device)));
        }
        tensors
    }

    /// Takes over the state of [`RankAllocator::to_tensors`] for `model`.
    ///
    /// # Errors
    /// Every tensor that is not one of this model's adapter, or has another number of values.
    pub(crate) fn restore<M: Adaptable>(
        &mut self,
        model: &mut M,
        tensors: BTreeMap<String, TensorData>,
        device: &Device,
    ) -> Result<(), Vec<String>> {
        let mut wanted = BTreeMap::new();
        visit_parameters(model, &mut |name, parameter| {
            if is_factor(name) {
                let count = parameter.elements();
                wanted.insert(format!("{name}.{SENSITIVITY}"), count);
                wanted.insert(format!("{name}.{UNCERTAINTY}"), count);
            }
            if let Some(path) = name.strip_suffix(E) {
                wanted.insert(format!("{path}.{MASK}"), parameter.elements());
            }
        });
        let mut problems = Vec::new();
        let (mut kept, mut found) = (BTreeMap::new(), BTreeMap::new());
        for (name, data) in tensors {
            let values: Vec<f32> = data.iter::<f32>().collect();
            match wanted.get(&name) {
                None => problems.push(format!("{name}: not of this model's adapter")),
                Some(count) if *count != values.len() => {
                    problems.push(format!("{name}: found {} values, wanted {count}", values.len()));
                }
                Some(_) => match name.rsplit_once('.') {
                    Some((path, MASK)) => {
                        kept.insert(path.to_owned(), values.iter().map(|value| *value != 0.0).collect());
                    }
                    _ => {
                        found.insert(name, flat(values, device));
                    }
                },
            }
        }
        let mut moments = BTreeMap::new();
        while let Some((name, tensor)) = found.pop_first() {
            let Some(parameter) = name.strip_suffix(&format!(".{SENSITIVITY}")) else {
                problems.push(format!("{name}: without a smoothed sensitivity"));
                continue;
            };
            match found.remove(&format!("{parameter}.{UNCERTAINTY}")) {
                Some(uncertainty) => {
                    moments.insert(parameter.to_owned(), Moments { sensitivity: tensor, uncertainty });
                }
                None => problems.push(format!("{name}: without a smoothed uncertainty")),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        (self.moments, self.kept) = (moments, kept);
        Ok(())
    }

    /// Which triplets were kept last, by the path of their module; none before the first choice.
    pub fn kept(&self) -> &BTreeMap<String, Vec<bool>> {
        &self.kept
    }
}

/// Adds the gradient of AdaLoRA's orthogonality term to that of a step, and returns the term's value.
///
/// The term is `weight` times the mean over all `A` and `B` of `‖A·Aᵀ - I‖` and `‖Bᵀ·B - I‖`, Frobenius norms (peft
/// 0.21, src/peft/tuners/adalora/model.py `forward`). Its gradient comes in closed form, once a step, whatever the
/// number of micro-batches is.
///
/// # Errors
/// [`TrainError::NonFinite`] naming the factor whose norm is not finite.
pub fn add_orthogonality<M: Adaptable>(
    model: &M,
    gradients: &mut Gradients,
    weight: f64,
) -> Result<f64, TrainError> {
    let (mut sum, mut found) = (0.0, Vec::new());
    let mut failed = None;
    let mut count = 0;
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        let is_a = name.ends_with(A);
        if !(is_a || name.ends_with(B)) || !matches!(parameter, ParameterMut::Matrix(_)) {
            return;
        }
        count += 1;
        let shape = parameter.shape();
        if parameter.elements() == 0 || !parameter.is_trainable() {
            return;
        }
        let factor = parameter.flat().cast(FloatDType::F32).reshape([shape[0], shape[1]]);
        let rows: Tensor<2> = if is_a { factor } else { factor.transpose() };
        let (r, device) = (rows.dims()[0], rows.device());
        let off = rows.clone().matmul(rows.clone().transpose())
            - Tensor::<2>::eye(r, &device).cast(FloatDType::F32);
        let norm: f32 = off.clone().square().sum().sqrt().into_scalar();
        if !norm.is_finite() {
            failed.get_or_insert_with(|| name.to_owned());
            return;
        }
        sum += f64::from(norm);
        // At orthonormal vectors the norm has no slope.
        if norm > 0.0 {
            let slope = off.matmul(rows).mul_scalar(2.0 / f64::from(norm));
            let slope = if is_a { slope } else { slope.transpose() };
            found.push((name.to_owned(), slope.reshape([shape[0] * shape[1]])));
        }
    });
    if let Some(name) = failed {
        return Err(TrainError::non_finite_gradient(&name));
    }
    let share = weight / f64::from(count.max(1));
    for (name, slope) in found {
        gradients.add(&name, slope.mul_scalar(share));
    }
    Ok(sum * share)
}

fn is_factor(name: &str) -> bool {
    [A, E, B].iter().any(|end| name.ends_with(end))
}

/// The number of triplets of each module that has some.
fn ranks<M: Adaptable>(model: &mut M) -> BTreeMap<String, usize> {
    let mut ranks = BTreeMap::new();
    visit_parameters(model, &mut |name, parameter| {
        if let Some(path) = name.strip_suffix(E) {
            ranks.insert(path.to_owned(), parameter.elements());
        }
    });
    ranks
}

/// Sets the singular values to 0 that are not kept.
fn mask<M: Adaptable>(model: &mut M, kept: &BTreeMap<String, Vec<bool>>) {
    visit_parameters(model, &mut |name, mut parameter| {
        let kept = name.strip_suffix(E).and_then(|path| kept.get(path));
        let Some(kept) = kept.filter(|kept| !kept.iter().all(|kept| *kept)) else { return };
        let values = parameter.flat();
        let device = values.device();
        let data = values.to_data();
        let values = data.iter::<f32>().zip(kept).map(|(value, kept)| if *kept { value } else { 0.0 });
        parameter.set_flat(flat(values.collect(), &device));
    });
}

fn flat(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), (device, DType::F32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It never grows, ends at the target, and is constant outside the middle of the training.
        #[test]
        fn the_budget_falls_to_the_target(
            (target_r, more) in (1usize..9, 0usize..9),
            (tinit, tfinal, between) in (0u64..20, 0u64..20, 1u64..40),
            modules in 1usize..7,
        ) {
            let config = AdaLoraConfig::new(tinit + tfinal + between)
                .with_init_r(target_r + more)
                .with_target_r(target_r)
                .with_tinit(tinit)
                .with_tfinal(tfinal);
            config.validate().unwrap();
            let (initial, target) = ((target_r + more) * modules, target_r * modules);
            let allocator = RankAllocator::new(&config);
            let mut before = initial;
            for step in 1..=config.total_step() {
                let (budget, chooses) = allocator.budget(step, initial, modules);
                prop_assert!(target <= budget && budget <= before, "{budget} after {before}");
                prop_assert!(step > tinit || (budget == initial && !chooses));
                prop_assert!(step < tinit + between || budget == target);
                prop_assert!(step != tinit + between || chooses);
                before = budget;
            }
        }
    }
}
