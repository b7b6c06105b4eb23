//! Combinations of adapters: PEFT's numbers, and what must always hold.

use std::{collections::BTreeMap, fs};

use burnisher_lora::{
    AdapterTensor, CombinationType, CombineArithmetic, CombineConfig, InitLoraWeights, LoraConfig, LoraError,
    MajoritySign, PeftFiles, TargetModules, combine,
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::config::fixture;

/// The adapters `a`, `b` and `c`, the cases, and PEFT's tensors.
struct Reference {
    adapters: BTreeMap<String, PeftFiles>,
    cases: Vec<Value>,
    tensors: BTreeMap<String, Vec<f32>>,
}

fn reference() -> Option<Reference> {
    let cases: Value =
        serde_json::from_str(&fs::read_to_string(fixture("merge/merge.json")?).unwrap()).unwrap();
    let bytes = fs::read(fixture("merge/merge.safetensors")?).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let values = view.data().chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap()));
        (name, values.collect())
    });
    let read =
        |name: &str| PeftFiles::read(fixture(&format!("merge/{name}/adapter_config.json"))?.parent()?).ok();
    let adapters = ["a", "b", "c"].into_iter().map(|name| (name.to_owned(), read(name).unwrap()));
    Some(Reference {
        adapters: adapters.collect(),
        cases: cases["cases"].as_array().unwrap().clone(),
        tensors: tensors.collect(),
    })
}

impl Reference {
    fn combined(&self, case: &Value, arithmetic: CombineArithmetic, seed: u64) -> PeftFiles {
        let kind = CombinationType::from_name(case["combination_type"].as_str().unwrap()).unwrap();
        let mut config = CombineConfig::new(kind).with_arithmetic(arithmetic).with_seed(seed);
        if let Some(density) = case["density"].as_f64() {
            config = config.with_density(density);
        }
        if let Some(rank) = case["svd_rank"].as_u64() {
            config = config.with_svd_rank(rank as usize);
        }
        if case["majority_sign_method"] == "frequency" {
            config = config.with_majority_sign(MajoritySign::Frequency);
        }
        let names =
            case["adapters"].as_array().unwrap().iter().map(|name| &self.adapters[name.as_str().unwrap()]);
        let weights = case["weights"].as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap());
        combine(&names.zip(weights).collect::<Vec<_>>(), &config).unwrap()
    }
}

fn modules(files: &PeftFiles) -> Vec<String> {
    let names = files.tensors.keys().filter_map(|name| name.strip_suffix(".lora_A.weight"));
    names.map(|name| name.trim_start_matches("base_model.model.").to_owned()).collect()
}

fn factor<'a>(files: &'a PeftFiles, module: &str, part: &str) -> &'a AdapterTensor {
    &files.tensors[&format!("base_model.model.{module}.{part}.weight")]
}

/// `s·B·A` of a module, in f64.
fn delta(files: &PeftFiles, module: &str) -> Vec<f64> {
    let (a, b) = (factor(files, module, "lora_A"), factor(files, module, "lora_B"));
    let (_, scaling) = files.config.lora().unwrap().scaling_for(module).unwrap();
    let ([r, inn], [out, _]) = (a.shape[..].try_into().unwrap(), b.shape[..].try_into().unwrap());
    let mut delta = vec![0.0; out * inn];
    for row in 0..out {
        for k in 0..r {
            let left = scaling * f64::from(b.values[row * r + k]);
            for col in 0..inn {
                delta[row * inn + col] += left * f64::from(a.values[k * inn + col]);
            }
        }
    }
    delta
}

fn far(a: impl IntoIterator<Item = f64>, b: impl IntoIterator<Item = f64>) -> f64 {
    a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn wide(values: &[f32]) -> impl Iterator<Item = f64> {
    values.iter().map(|value| f64::from(*value))
}

#[test]
fn peft_arithmetic_gives_the_numbers_of_peft() {
    let Some(reference) = reference() else { return };
    let mut compared = 0;
    for case in reference.cases.iter().filter(|case| case["seeded"].is_null()) {
        let id = case["id"].as_str().unwrap();
        let files = reference.combined(case, CombineArithmetic::Peft, 0);
        assert_eq!(Some(files.config.lora().unwrap().r() as u64), case["r"].as_u64(), "{id}");
        assert_eq!(Some(files.config.lora().unwrap().lora_alpha()), case["lora_alpha"].as_f64(), "{id}");
        for module in modules(&files) {
            assert_eq!(
                Some(files.config.lora().unwrap().scaling_for(&module).unwrap().1),
                case["scaling"][&module].as_f64()
            );
            for part in ["lora_A", "lora_B"] {
                if let Some(wanted) = reference.tensors.get(&format!("{id}.{module}.{part}")) {
                    let found = &factor(&files, &module, part).values;
                    let error = far(wide(found), wide(wanted));
                    assert!(error <= 1e-6, "{id} {module} {part}: {error}");
                    compared += 1;
                }
            }
            if let Some(wanted) = reference.tensors.get(&format!("{id}.{module}.BA")) {
                let error = far(delta(&files, &module), wide(wanted));
                assert!(error <= 1e-6, "{id} {module}: {error}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 64, "tensors compared");
}

#[test]
fn exact_arithmetic_is_the_weighted_sum_of_the_deltas() {
    let Some(reference) = reference() else { return };
    for id in ["linear", "linear_negative", "cat", "cat3"] {
        let case = reference.cases.iter().find(|case| case["id"] == id).unwrap();
        let files = reference.combined(case, CombineArithmetic::Exact, 0);
        for module in modules(&files) {
            let mut wanted = vec![0.0; delta(&files, &module).len()];
            let names = case["adapters"].as_array().unwrap().iter();
            for (name, weight) in names.zip(case["weights"].as_array().unwrap()) {
                let part = delta(&reference.adapters[name.as_str().unwrap()], &module);
                let weight = weight.as_f64().unwrap();
                wanted.iter_mut().zip(part).for_each(|(sum, value)| *sum += weight * value);
            }
            let error = far(delta(&files, &module), wanted);
            assert!(error <= 1e-7, "{id} {module}: {error}");
        }
    }
    // For decompositions of the sum there is nothing to correct: PEFT's result, without forming the sum.
    for id in ["svd", "svd_rank", "ties_svd", "magnitude_prune_svd"] {
        let case = reference.cases.iter().find(|case| case["id"] == id).unwrap();
        let files = reference.combined(case, CombineArithmetic::Exact, 0);
        for module in modules(&files) {
            if let Some(wanted) = reference.tensors.get(&format!("{id}.{module}.BA")) {
                let error = far(delta(&files, &module), wide(wanted));
                assert!(error <= 1e-6, "{id} {module}: {error}");
            }
        }
    }
}

/// PEFT's masks come from torch's generator; what they leave of the adapters is the same on average.
#[test]
fn dare_drops_as_many_and_keeps_the_mean() {
    let Some(reference) = reference() else { return };
    let named = |id: &str| reference.cases.iter().find(|case| case["id"] == id).unwrap();
    let (case, module) = (named("dare_linear_seeded"), "model.layers.0.self_attn.q_proj");
    let mut linear = case.clone();
    linear["combination_type"] = "linear".into();
    linear["density"] = Value::Null;
    let whole = reference.combined(&linear, CombineArithmetic::Peft, 0);
    let whole = wide(&factor(&whole, module, "lora_A").values).collect::<Vec<_>>();
    let theirs = &reference.tensors[&format!("dare_linear_seeded.{module}.lora_A")];
    let share =
        |values: &[f32]| values.iter().filter(|value| **value != 0.0).count() as f64 / values.len() as f64;
    let runs = 400;
    let mut mean = vec![0.0; whole.len()];
    for seed in 0..runs {
        let files = reference.combined(case, CombineArithmetic::Peft, seed);
        let values = &factor(&files, module, "lora_A").values;
        // Of 512 values 3/4 have one of two masks on: ±0.09 is more than four standard deviations.
        assert!((share(values) - 0.75).abs() < 0.09 && (share(values) - share(theirs)).abs() < 0.12);
        mean.iter_mut().zip(wide(values)).for_each(|(mean, value)| *mean += value / runs as f64);
    }
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let gap: Vec<f64> = mean.iter().zip(&whole).map(|(mean, whole)| mean - whole).collect();
    assert!(norm(&gap) < 0.15 * norm(&whole), "{} of {}", norm(&gap), norm(&whole));
    assert_eq!(
        reference.combined(case, CombineArithmetic::Exact, 3),
        reference.combined(case, CombineArithmetic::Exact, 3)
    );
}

/// An adapter of `q` with the given rank and values.
fn adapter(r: usize, alpha: f64, rslora: bool, [out, inn]: [usize; 2], values: &[f32]) -> PeftFiles {
    let config = LoraConfig::new(r)
        .with_lora_alpha(alpha)
        .with_use_rslora(rslora)
        .with_target_modules(TargetModules::suffixes(["q"]));
    let value = |index: usize| values[index % values.len()];
    let a = AdapterTensor::new([r, inn], (0..r * inn).map(value).collect());
    let b = AdapterTensor::new([out, r], (0..out * r).map(|index| value(index * 3 + 1)).collect());
    let key = |part: &str| format!("base_model.model.q.{part}.weight");
    PeftFiles { config: config.into(), tensors: [(key("lora_A"), a), (key("lora_B"), b)].into() }
}

proptest! {
    /// The delta of `cat` is the sum of the deltas, up to one rounding of each `w·s·A`; the full-rank decomposition too.
    #[test]
    fn cat_is_the_sum(
        ranks in proptest::collection::vec(1_usize..5, 1..4),
        shape in (1_usize..7, 1_usize..7),
        values in proptest::collection::vec(-3.0_f32..3.0, 5..40),
        weights in proptest::collection::vec(-2.0_f64..2.0, 4),
        alpha in 0.5_f64..32.0,
        rslora: bool,
    ) {
        let shape = [shape.0, shape.1];
        let adapters: Vec<PeftFiles> = ranks
            .iter()
            .enumerate()
            .map(|(index, r)| adapter(*r, alpha + index as f64, rslora, shape, &values[index..]))
            .collect();
        let parts: Vec<(&PeftFiles, f64)> = adapters.iter().zip(weights).collect();
        let sum = combine(&parts, &CombineConfig::new(CombinationType::Cat)).unwrap();
        prop_assert_eq!(sum.config.lora().unwrap().r(), ranks.iter().sum::<usize>());
        let mut wanted = vec![0.0; shape[0] * shape[1]];
        let mut size = 0.0_f64;
        for (files, weight) in &parts {
            let part = delta(files, "q");
            size += part.iter().map(|value| (weight * value).abs()).fold(0.0, f64::max);
            wanted.iter_mut().zip(part).for_each(|(sum, value)| *sum += weight * value);
        }
        // Terms may cancel within a delta: 9 is the largest product of two values.
        let terms = parts.iter().map(|(files, weight)| {
            let (r, scaling) = files.config.lora().unwrap().scaling_for("q").unwrap();
            weight.abs() * scaling * r as f64 * 9.0
        });
        let bound = f64::from(f32::EPSILON) * (terms.sum::<f64>() + size);
        prop_assert!(far(delta(&sum, "q"), wanted.iter().copied()) <= bound);

        let full = shape[0].min(shape[1]);
        let config = CombineConfig::new(CombinationType::Svd).with_svd_rank(full);
        let refactored = combine(&parts, &config).unwrap();
        prop_assert!(far(delta(&refactored, "q"), wanted) <= 8.0 * bound);
    }
}

fn problems(adapters: &[(&PeftFiles, f64)], kind: CombinationType) -> Vec<String> {
    let config = CombineConfig::new(kind).with_arithmetic(CombineArithmetic::Exact);
    match combine(adapters, &config) {
        Err(LoraError::Combine { problems }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn adapters_that_do_not_fit_are_all_named() {
    let values = [1.0, -2.0, 0.5];
    let good = adapter(2, 4.0, false, [4, 3], &values);
    let cat = CombinationType::Cat;
    assert_eq!(problems(&[], cat), ["adapters: found 0, wanted at least one"]);
    assert_eq!(problems(&[(&good, f64::NAN)], cat), ["adapter 0: found weight NaN, wanted a finite one"]);
    let other = adapter(2, 4.0, false, [4, 5], &values);
    assert_eq!(
        problems(&[(&good, 1.0), (&other, 1.0)], cat)[0],
        "adapter 1, q: found a module of 4×5, wanted 4×3, as in the adapters before"
    );
    let mut elsewhere = good.clone();
    elsewhere.tensors =
        good.tensors.iter().map(|(key, tensor)| (key.replace(".q.", ".v."), tensor.clone())).collect();
    let found = problems(&[(&good, 1.0), (&elsewhere, 1.0)], cat);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], "q: found factors in 1 adapters of 2, wanted the same targets in all");
    let mut magnitude = good.clone();
    magnitude
        .tensors
        .insert("base_model.model.q.lora_magnitude_vector".into(), AdapterTensor::new([4], vec![1.0; 4]));
    magnitude.tensors.get_mut("base_model.model.q.lora_A.weight").unwrap().values[0] = f32::INFINITY;
    let config = magnitude.config.lora().unwrap().clone();
    magnitude.config = config.with_init_lora_weights(InitLoraWeights::Pissa).into();
    assert_eq!(problems(&[(&magnitude, 1.0)], cat).len(), 3);
    assert_eq!(
        problems(&[(&adapter(4, 4.0, false, [4, 3], &values), 1.0)], CombinationType::Svd),
        ["q: found rank 4, wanted at most 3, its smaller dimension"]
    );
    let unlike = CombineConfig::new(CombinationType::Linear).with_arithmetic(CombineArithmetic::Peft);
    let three = adapter(3, 4.0, false, [4, 3], &values);
    let error = combine(&[(&good, 1.0), (&three, 1.0)], &unlike).unwrap_err();
    assert!(error.to_string().contains("found 2 and 3, wanted equal ones for linear"), "{error}");
    for (config, field) in [
        (CombineConfig::new(CombinationType::Ties), "density"),
        (CombineConfig::new(CombinationType::Ties).with_density(0.0), "density"),
        (CombineConfig::new(CombinationType::DareLinear).with_density(1.5), "density"),
        (CombineConfig::new(CombinationType::Cat).with_density(0.5), "density"),
        (CombineConfig::new(CombinationType::Cat).with_svd_rank(2), "svd_rank"),
        (CombineConfig::new(CombinationType::Svd).with_svd_rank(0), "svd_rank"),
    ] {
        let error = combine(&[(&good, 1.0)], &config).unwrap_err();
        assert!(matches!(&error, LoraError::Config { field: found, .. } if found == field), "{error}");
    }
}

#[test]
fn a_combination_is_written_and_read_like_any_adapter() {
    let values = [0.5, 1.0, -1.0, 2.0];
    let (a, b) = (adapter(1, 2.0, true, [3, 4], &values), adapter(2, 3.0, true, [3, 4], &values));
    let files = combine(&[(&a, 0.5), (&b, 2.0)], &CombineConfig::new(CombinationType::Linear)).unwrap();
    // The scaling of the result is 1, whatever the adapters had.
    assert_eq!(files.config.lora().unwrap().scaling_for("q").unwrap(), (3, 1.0));
    let dir = tempfile::tempdir().unwrap();
    files.write(dir.path()).unwrap();
    assert_eq!(PeftFiles::read(dir.path()).unwrap().tensors, files.tensors);
}
