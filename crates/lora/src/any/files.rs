//! PEFT directories of adapters on foreign modules.

use std::{collections::BTreeMap, path::Path};

use burn::{
    module::Module,
    tensor::{DType, FloatDType, Tensor},
};

use super::{
    attach::install,
    config,
    survey::{LayerKind, Survey},
    whole::Whole,
};
use crate::{
    AdapterDtype, AdapterPlan, AdapterTensor, AttachReport, LoraConfig, LoraError, PeftFiles, peft::keys,
};

/// Saves the adapter of a Burn module as a PEFT directory: adapter_config.json, and adapter_model.safetensors with
/// `base_model.model.PATH.lora_A.weight` `[r, in]` and `.lora_B.weight` `[out, r]` of a linear layer,
/// `base_model.model.PATH.lora_embedding_A` `[r, vocab]` and `.lora_embedding_B` `[dim, r]` of an embedding. Modules and
/// biases trained whole go by PyTorch's names and shapes (a linear weight is `[out, in]`, a norm's `gamma` and `beta` are
/// `weight` and `bias`). Parameters that were unfrozen by hand are in no file.
///
/// `config` is the one the adapter was attached or loaded with. Its modules and ranks are compared with the adapter's; its
/// alpha cannot be, so another one makes another adapter of the file.
///
/// # Errors
/// [`LoraError::NoAdapter`] for modules that `config` chooses and that have no adapter, or no trained copy;
/// [`LoraError::TensorMismatch`] for those that `config` does not choose or of another rank; errors of files, with the
/// path; files that were there before stay whole.
pub fn save_module_peft<M: Module>(
    module: &M,
    config: &LoraConfig,
    dir: impl AsRef<Path>,
) -> Result<(), LoraError> {
    config::check(config, false)?;
    let survey = Survey::of(module);
    survey.check_own()?;
    let plan = survey.plan(config)?;
    let whole = survey.whole(&plan);
    let adapted = plan.adapted.iter().map(|module| &module.path);
    let without = adapted.filter(|path| !survey.factors.contains_key(*path)).cloned();
    let copied = |whole: &&Whole| !survey.copies.contains_key(&whole.path);
    let without: Vec<String> =
        without.chain(whole.iter().filter(copied).map(|whole| whole.owner.clone())).collect();
    if !without.is_empty() {
        return Err(LoraError::NoAdapter { modules: without });
    }
    let expected = expected(&survey, &plan, &whole);
    let mut tensors = BTreeMap::new();
    for (path, factors) in &survey.factors {
        // What hangs on anything else than a layer goes by the common name, and the check below refuses it.
        let kind = survey.layer(path).map_or(LayerKind::Linear, |(kind, _)| kind);
        for (key, factor) in kind.keys(path).into_iter().zip(factors) {
            let Some(factor) = factor else { continue };
            let (values, dtype) = read(factor);
            tensors.insert(key, AdapterTensor { shape: factor.dims().to_vec(), values, dtype });
        }
    }
    for (path, copy) in &survey.copies {
        let (values, dtype) = read(copy);
        let (key, shape, values) = match whole.iter().find(|whole| whole.path == *path) {
            Some(whole) => (whole.key.clone(), whole.file_shape(), whole.to_file(values)),
            // Not in the configuration: the check below refuses it.
            None => (keys::parameter(path), copy.dims().to_vec(), values),
        };
        tensors.insert(key, AdapterTensor { shape, values, dtype });
    }
    // PEFT writes the modules that `all-linear` stood for.
    let config = config.clone().with_target_modules(plan.target_modules);
    let files = PeftFiles { config: config.into(), tensors };
    files.check(&expected)?;
    files.write(dir)
}

/// Loads a PEFT directory onto the Burn module it was trained on; `is_trainable` to train it further. Every parameter of
/// the module is frozen.
///
/// # Errors
/// [`LoraError::TensorMismatch`] with every missing, unexpected and mis-shaped tensor; what
/// [`attach_to_module`](crate::attach_to_module) reports of the configuration and the module, except that
/// `lora_dropout` is no error for an adapter that is not trained further; errors of files.
pub fn load_module_peft<M: Module>(
    dir: impl AsRef<Path>,
    module: M,
    is_trainable: bool,
) -> Result<(M, LoraConfig, AttachReport), LoraError> {
    let survey = Survey::of(&module);
    survey.check_plain()?;
    let mut files = PeftFiles::read(dir)?;
    let config = files.config.lora()?.clone();
    config::check(&config, is_trainable)?;
    let plan = survey.plan(&config)?;
    let whole = survey.whole(&plan);
    let expected = expected(&survey, &plan, &whole);
    drop_base_tables(&mut files, &survey, &plan);
    files.check(&expected)?;
    let PeftFiles { mut tensors, .. } = files;
    let mut take = |key: &String| tensors.remove(key).map(|tensor| tensor.values).unwrap_or_default();
    let copies = whole.into_iter().map(|whole| {
        let values = whole.to_burn(take(&whole.key));
        (whole, Some(values))
    });
    let copies = copies.collect();
    let (module, report) = install(module, &survey, plan, copies, is_trainable, &mut |module, kind, _| {
        let [a, b] = kind.keys(&module.path);
        (take(&a), take(&b))
    });
    Ok((module, config, report))
}

/// A tensor's values and the type they have in the file.
fn read<const D: usize>(tensor: &Tensor<D>) -> (Vec<f32>, AdapterDtype) {
    let dtype = match tensor.dtype() {
        DType::BF16 => AdapterDtype::BF16,
        DType::F16 => AdapterDtype::F16,
        _ => AdapterDtype::F32,
    };
    (tensor.clone().cast(FloatDType::F32).to_data().iter::<f32>().collect(), dtype)
}

/// The tensors of an adapter file, by name, with their shapes.
fn expected(survey: &Survey, plan: &AdapterPlan, whole: &[Whole]) -> BTreeMap<String, Vec<usize>> {
    let mut expected: BTreeMap<String, Vec<usize>> =
        whole.iter().map(|whole| (whole.key.clone(), whole.file_shape())).collect();
    for module in &plan.adapted {
        if let Some((kind, weight)) = survey.layer(&module.path) {
            let [inn, out] = weight.dims();
            let [a, b] = kind.keys(&module.path);
            expected.insert(a, vec![module.r, inn]);
            expected.insert(b, vec![out, module.r]);
        }
    }
    expected
}

/// The frozen table of an adapted embedding, which PEFT saves along with it: of no use if its shape is right.
fn drop_base_tables(files: &mut PeftFiles, survey: &Survey, plan: &AdapterPlan) {
    for module in &plan.adapted {
        let Some((LayerKind::Embedding, table)) = survey.layer(&module.path) else { continue };
        let key = keys::parameter(&format!("{}.base_layer.weight", module.path));
        if files.tensors.get(&key).is_some_and(|tensor| tensor.shape == table.dims()) {
            files.tensors.remove(&key);
        }
    }
}
