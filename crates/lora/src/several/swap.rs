//! Putting another adapter in the place of one, in the memory that it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::tensor::{FloatDType, Tensor};

use super::{
    Roster,
    each::each_adapter,
    rules::{check_together, check_unmerged, refuse},
};
use crate::{
    Adaptable, AdaptedModule, AdapterConfig, AdapterTensor, LoraConfig, LoraError, PeftFiles, Projection,
    Site,
    attach::{matrix, read_for, settle},
    checked_plan::checked_plan,
    error::Problem,
    peft::keys,
    projection::Weight,
};

const WANTED: &str = "swap the adapter";

/// Replaces the values of an adapter by those of a PEFT directory, with its scale and dropout (PEFT 0.21's
/// `hotswap_adapter`). Parameters whose memory nobody else holds are written in place on Flex, so that swapping takes no
/// memory but that of the files' values. Ranks may be smaller than those of the adapter that is there: the rest becomes
/// zeros. The adapter stays in use or at rest, trained or frozen.
///
/// # Errors
/// [`LoraError::Several`] with every difference: another method, other modules, larger ranks, tensors that are missing,
/// unexpected or of another shape; nothing has changed then. [`LoraError::UnknownAdapter`]; errors of files.
pub fn hotswap_adapter<M: Adaptable>(
    model: &mut M,
    name: &str,
    dir: impl AsRef<Path>,
) -> Result<(), LoraError> {
    let roster = Roster::of(model);
    let old = &roster.entry(name)?.config;
    check_unmerged(model, WANTED)?;
    let mut files = read_for(dir.as_ref(), &*model)?;
    check_base(model, &files, name)?;
    let new = both_lora(name, old, &files.config)?;
    let mut renamed = Roster::clone(&roster);
    for entry in renamed.entries.iter_mut().filter(|entry| entry.name == name) {
        entry.config = files.config.clone();
        check_together([&*entry])?;
    }
    let plan = checked_plan(&files.config, model)?;
    let modules: BTreeMap<&str, &AdaptedModule> =
        plan.adapted.iter().map(|module| (module.path.as_str(), module)).collect();
    files.tensors.retain(|key, _| keys::adapted_base(key).is_none());
    let (wanted, mut problems) = compared(model, name, &modules);
    for (key, shape) in &wanted {
        match files.tensors.get(key).map(|tensor| &tensor.shape) {
            None => problems.push(Problem::new(key, "nothing", format_args!("shape {shape:?}"))),
            Some(found) if found != shape => {
                problems.push(Problem::new(key, format_args!("shape {found:?}"), format_args!("{shape:?}")));
            }
            Some(_) => {}
        }
    }
    let unexpected = files.tensors.keys().filter(|key| !wanted.contains_key(*key));
    problems.extend(unexpected.map(|key| Problem::new(key, "a tensor", "none of this name")));
    refuse(WANTED, problems)?;

    each_adapter(model, &mut |path, own, mut adapter| {
        if own != name {
            return;
        }
        adapter.parameters(path, &mut |parameter, mut value| {
            if let Some(tensor) = files.tensors.remove(&keys::parameter(parameter)) {
                let shape = value.shape();
                value.overwrite(padded(tensor, &shape));
            }
        });
        if let Some(module) = modules.get(path) {
            adapter.set_scaling(module.scaling, new.lora_dropout());
        }
    });
    renamed.give(model);
    settle(model);
    Ok(())
}

/// # Errors
/// [`LoraError::Several`] with every field that a swap cannot change.
fn both_lora<'a>(
    name: &str,
    old: &AdapterConfig,
    new: &'a AdapterConfig,
) -> Result<&'a LoraConfig, LoraError> {
    let (AdapterConfig::Lora(old), AdapterConfig::Lora(lora)) = (old, new) else {
        let found = format!("{} in the files", new.peft_type());
        let wanted = format!("LORA in the place of LORA, there is {}", old.peft_type());
        return refuse(WANTED, vec![Problem::new(name, found, wanted)]).and(new.lora());
    };
    let mut problems = Vec::new();
    let mut same = |field: &str, found: String, wanted: String| {
        if found != wanted {
            problems.push(Problem::new(field, found, wanted));
        }
    };
    same("use_dora", lora.use_dora().to_string(), old.use_dora().to_string());
    let tokens = |config: &LoraConfig| format!("{:?}", config.trainable_token_indices().unwrap_or_default());
    same("trainable_token_indices", tokens(lora), tokens(old));
    refuse(WANTED, problems)?;
    Ok(lora)
}

/// The tensors that the files must hold for the adapter that is there, with the new ranks, and the modules and ranks that
/// do not fit.
fn compared<M: Adaptable>(
    model: &mut M,
    name: &str,
    modules: &BTreeMap<&str, &AdaptedModule>,
) -> (BTreeMap<String, Vec<usize>>, Vec<Problem>) {
    let (mut wanted, mut problems) = (BTreeMap::new(), Vec::new());
    let mut rest: BTreeSet<&str> = modules.keys().copied().collect();
    each_adapter(model, &mut |path, own, mut adapter| {
        if own != name {
            return;
        }
        let module = modules.get(path);
        rest.remove(path);
        if let Some(there) = adapter.rank() {
            match module {
                None => problems.push(Problem::new(path, "no adapter in the files", "one")),
                Some(module) if module.r > there => {
                    let (found, limit) = (format!("rank {}", module.r), format!("at most {there}"));
                    problems.push(Problem::new(path, found, limit));
                }
                Some(_) => {}
            }
            if module.is_none() {
                return;
            }
        }
        adapter.parameters(path, &mut |parameter, value| {
            let mut shape = value.shape();
            if let (Some(axis), Some(module)) = (rank_axis(parameter), module) {
                shape[axis] = module.r;
            }
            wanted.insert(keys::parameter(parameter), shape);
        });
    });
    problems.extend(rest.into_iter().map(|path| Problem::new(path, "an adapter in the files", "none")));
    (wanted, problems)
}

/// The dimension of a parameter that is the rank.
fn rank_axis(parameter: &str) -> Option<usize> {
    let ends = |end: &str| parameter.ends_with(end);
    if ends(".lora_A.weight") || ends(".lora_embedding_A") {
        Some(0)
    } else if ends(".lora_B.weight") || ends(".lora_embedding_B") {
        Some(1)
    } else {
        None
    }
}

/// The values of a tensor in the corner of one of the shape `wanted`, which is nowhere smaller.
fn padded(tensor: AdapterTensor, wanted: &[usize]) -> Vec<f32> {
    if tensor.shape == wanted {
        return tensor.values;
    }
    let (columns, width) = (tensor.shape[1], wanted[1]);
    let mut values = vec![0.0; wanted.iter().product()];
    for (from, to) in tensor.values.chunks(columns.max(1)).zip(values.chunks_mut(width.max(1))) {
        to[..columns].copy_from_slice(from);
    }
    values
}

/// The same files with the ranks that their configuration says: the rest of larger factors is zeros.
pub(crate) fn trimmed<M: Adaptable>(mut files: PeftFiles, model: &M) -> Result<PeftFiles, LoraError> {
    if files.config.as_lora().is_none() {
        return Ok(files);
    }
    for module in checked_plan(&files.config, model)?.adapted {
        for end in ["lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B"] {
            let name = format!("{}.{end}", module.path);
            let (Some(tensor), Some(axis)) =
                (files.tensors.get_mut(&keys::parameter(&name)), rank_axis(&name))
            else {
                continue;
            };
            if tensor.shape[axis] <= module.r {
                continue;
            }
            let columns = tensor.shape[1];
            tensor.shape[axis] = module.r;
            let (rows, kept) = (tensor.shape[0], tensor.shape[1]);
            let rows = tensor.values.chunks(columns.max(1)).take(rows);
            tensor.values = rows.flat_map(|row| row[..kept].to_vec()).collect();
        }
    }
    Ok(files)
}

/// Whether the weights of adapted modules in the files are the model's.
///
/// # Errors
/// [`LoraError::Several`] with every weight that is another.
pub(super) fn check_base<M: Adaptable>(
    model: &mut M,
    files: &PeftFiles,
    name: &str,
) -> Result<(), LoraError> {
    let mut problems = Vec::new();
    model.sites(&mut |path, site| {
        let key = keys::base_layer_weight(path);
        let Some(tensor) = files.tensors.get(&key) else { return };
        let own = match site {
            Site::Projection(Projection { weight: Weight::Dense(weight), .. })
            | Site::Head(Projection { weight: Weight::Dense(weight), .. }) => weight.val(),
            Site::Embedding(embedding) => embedding.weight.val(),
            _ => return,
        };
        if !is_same(tensor, own.without_autodiff()) {
            let found = format!("another weight in the files of `{name}`");
            problems.push(Problem::new(path, found, "the model's, which other adapters stand beside"));
        }
    });
    refuse("add the adapter", problems)
}

fn is_same(tensor: &AdapterTensor, own: Tensor<2>) -> bool {
    let shape = own.dims();
    if tensor.shape != shape {
        return false;
    }
    let dtype = FloatDType::from(own.dtype());
    let theirs = matrix(tensor.values.clone(), shape, &own.device()).cast(dtype);
    (theirs - own).cast(FloatDType::F32).abs().max().into_scalar::<f32>() == 0.0
}
