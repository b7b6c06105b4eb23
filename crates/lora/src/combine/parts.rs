//! The factors of several adapters, module by module.

use std::collections::BTreeMap;

use crate::{
    InitLoraWeights, LoraConfig, LoraError, PeftFiles,
    combine::{CombineArithmetic, CombineConfig},
    error::Problem,
    linalg::Matrix,
    matcher::ScalingRules,
    peft::keys,
};

/// The names of `A` and `B`: of projections, and of embeddings, whose factors have the same form.
const FACTORS: [[&str; 2]; 2] =
    [[".lora_A.weight", ".lora_B.weight"], [".lora_embedding_A", ".lora_embedding_B"]];

/// What one adapter has for a module.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) r: usize,
    pub(crate) weight: f64,
    pub(crate) scaling: f64,
}

impl Part {
    /// `A [r, in]`.
    pub(crate) fn a(&self, inn: usize) -> Matrix {
        Matrix::from_f32(self.r, inn, &self.a)
    }

    /// `B [out, r]`.
    pub(crate) fn b(&self, out: usize) -> Matrix {
        Matrix::from_f32(out, self.r, &self.b)
    }
}

/// A module that adapters change.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) path: String,
    /// The keys of `A` and `B` in a file.
    pub(crate) keys: [String; 2],
    pub(crate) out: usize,
    pub(crate) inn: usize,
    /// In the order of the adapters.
    pub(crate) parts: Vec<Part>,
}

/// Sorts the tensors of the adapters by module.
///
/// # Errors
/// [`LoraError::Combine`] with everything in the way.
pub(crate) fn collect(
    adapters: &[(&PeftFiles, f64)],
    config: &CombineConfig,
) -> Result<Vec<Module>, LoraError> {
    let mut problems = Vec::new();
    if adapters.is_empty() {
        problems.push(Problem::new("adapters", 0, "at least one"));
    }
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    for (index, (files, weight)) in adapters.iter().enumerate() {
        if !weight.is_finite() {
            problems.push(Problem::new(
                format_args!("adapter {index}"),
                format_args!("weight {weight}"),
                "a finite one",
            ));
        }
        let Some(lora) = files.config.as_lora() else {
            let found = format!("an adapter of the method {}", files.config.peft_type());
            problems.push(Problem::new(format_args!("adapter {index}"), found, "LoRA"));
            continue;
        };
        if config.arithmetic == CombineArithmetic::Exact && lora.init_lora_weights.changes_the_base() {
            problems.push(edited_base(index, lora.init_lora_weights));
        }
        collect_one(index, lora, files, *weight, &mut modules, &mut problems)?;
    }
    for module in modules.values() {
        if module.parts.len() < adapters.len() && !problems.iter().any(|problem| problem.place == module.path)
        {
            let found = format!("factors in {} adapters of {}", module.parts.len(), adapters.len());
            problems.push(Problem::new(&module.path, found, "the same targets in all"));
        }
    }
    if problems.is_empty() {
        Ok(modules.into_values().collect())
    } else {
        Err(LoraError::Combine { problems })
    }
}

fn edited_base(index: usize, init: InitLoraWeights) -> Problem {
    let found = format!("init_lora_weights {}, which changed the base", init.shown());
    Problem::new(format_args!("adapter {index}"), found, "an adapter of the original base: convert it first")
}

fn collect_one(
    index: usize,
    lora: &LoraConfig,
    files: &PeftFiles,
    weight: f64,
    modules: &mut BTreeMap<String, Module>,
    problems: &mut Vec<Problem>,
) -> Result<(), LoraError> {
    let rules = ScalingRules::new(lora)?;
    let place = |name: &str| format!("adapter {index}, {name}");
    for (name, tensor) in &files.tensors {
        if !tensor.values.iter().all(|value| value.is_finite()) {
            problems.push(Problem::new(place(name), "numbers that are not finite", "finite ones"));
        }
        // PEFT adds the frozen weight of an adapted head or embedding, which no combination changes.
        let has = |module: &str, names: [&str; 2]| {
            names.iter().all(|end| files.tensors.contains_key(&format!("{module}{end}")))
        };
        if keys::adapted_base(name).is_some_and(|module| FACTORS.iter().any(|names| has(module, *names))) {
            continue;
        }
        let Some((module, kind, side)) = factor(name) else {
            problems.push(Problem::new(place(name), "a tensor beside the factors", "factors only"));
            continue;
        };
        let other = format!("{module}{}", FACTORS[kind][1 - side]);
        let Some(other) = files.tensors.get(&other) else {
            problems.push(Problem::new(place(name), "no counterpart", other));
            continue;
        };
        if side == 1 {
            continue;
        }
        let path = keys::module_path(module);
        let (r, _, scaling) = rules.of(path);
        let ([found_r, inn], [out, found]) = (tensor.shape.as_slice(), other.shape.as_slice()) else {
            let found = format!("shapes {:?} and {:?}", tensor.shape, other.shape);
            problems.push(Problem::new(place(name), found, "matrices"));
            continue;
        };
        if *found_r != r || *found != r {
            let found = format!("shapes {:?} and {:?}", tensor.shape, other.shape);
            problems.push(Problem::new(
                place(name),
                found,
                format_args!("rank {r}, as the configuration says"),
            ));
            continue;
        }
        let entry = modules.entry(module.to_owned()).or_insert_with(|| Module {
            path: path.to_owned(),
            keys: FACTORS[kind].map(|part| format!("{module}{part}")),
            out: *out,
            inn: *inn,
            parts: Vec::new(),
        });
        if (entry.out, entry.inn) != (*out, *inn) {
            let wanted = format!("{}×{}, as in the adapters before", entry.out, entry.inn);
            problems.push(Problem::new(place(path), format_args!("a module of {out}×{inn}"), wanted));
            continue;
        }
        entry.parts.push(Part { a: tensor.values.clone(), b: other.values.clone(), r, weight, scaling });
    }
    Ok(())
}

/// The module, the kind of factors, and which of the two it is.
fn factor(name: &str) -> Option<(&str, usize, usize)> {
    FACTORS.iter().enumerate().find_map(|(kind, parts)| {
        parts.iter().enumerate().find_map(|(side, part)| Some((name.strip_suffix(part)?, kind, side)))
    })
}
