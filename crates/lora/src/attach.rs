//! Attaching adapters to a model, and PEFT directories.

use std::{collections::BTreeMap, fmt, path::Path};

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

use crate::{
    Adaptable, AdaptedModule, Adapter, AdapterConfig, AdapterDtype, AdapterPlan, AdapterTensor, DoraAdapter,
    LoraAdapter, LoraError, PeftFiles, Projection, Site, TensorProblems, count_parameters, init, modules,
    parameters::{ParameterMut, check_plain, compute_dtype},
    peft::keys,
    plan,
    projection::{Weight, trainable},
    trainable_summary, visit_parameters,
};

/// What an adapter was attached to.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachReport {
    /// The adapted modules with their ranks and scales.
    pub adapted: Vec<AdaptedModule>,
    /// Modules that are trained and saved whole.
    pub saved: Vec<String>,
    /// Modules whose bias is trained.
    pub biases: Vec<String>,
    /// Values that are trained.
    pub trainable: usize,
    /// All values of the model, the adapter's included.
    pub total: usize,
}

/// PEFT's `print_trainable_parameters`.
impl fmt::Display for AttachReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&trainable_summary(self.trainable, self.total))
    }
}

/// What the parameters of a new adapter start with.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// What the method prescribes; random numbers are a function of the seed and the module's path.
    Fresh { seed: u64 },
    /// Anything: they are about to be replaced.
    Empty,
}

/// Attaches a new adapter: freezes the model and adds trainable parameters to the modules that `config`
/// chooses. `seed` and the module's path determine the initial values.
///
/// # Errors
/// [`LoraError`] when the configuration is invalid, a target matches nothing (the message lists what
/// there is), one of two tied weights is to be changed alone, or the model has an adapter already.
pub fn attach<M: Adaptable>(
    config: impl Into<AdapterConfig>,
    mut model: M,
    seed: u64,
    device: &Device,
) -> Result<(M, AttachReport), LoraError> {
    let config = config.into();
    check_plain(&mut model)?;
    let plan = checked_plan(&config, &model)?;
    Ok(install(&config, model, plan, Start::Fresh { seed }, device))
}

/// Loads a PEFT directory onto the base model it was trained on; `is_trainable` to train it further.
///
/// # Errors
/// [`LoraError::TensorMismatch`] listing every missing, unexpected and mis-shaped tensor (an adapter of
/// another base shows up here); errors of files and of the configuration.
pub fn load_peft<M: Adaptable>(
    dir: impl AsRef<Path>,
    mut model: M,
    is_trainable: bool,
    device: &Device,
) -> Result<(M, AdapterConfig, AttachReport), LoraError> {
    check_plain(&mut model)?;
    let files = PeftFiles::read(dir.as_ref())?;
    let plan = checked_plan(&files.config, &model)?;
    // Attach an empty adapter first: the model then tells which tensors the files must hold.
    let (mut model, report) = install(&files.config, model, plan.clone(), Start::Empty, device);
    let mut expected = BTreeMap::new();
    each_saved(&mut model, &plan, &mut |key, parameter| {
        expected.insert(key, parameter.shape());
    });
    files.check(&expected)?;
    let PeftFiles { config, mut tensors } = files;
    load_base_weights(&mut model, &mut tensors, device);
    each_saved(&mut model, &plan, &mut |key, mut parameter| {
        if let Some(tensor) = tensors.remove(&key) {
            parameter.set_flat(flat(tensor, device));
        }
    });
    if !tensors.is_empty() {
        let unexpected = tensors.into_keys().collect();
        return Err(LoraError::TensorMismatch(TensorProblems { unexpected, ..TensorProblems::default() }));
    }
    if !is_trainable {
        visit_parameters(&mut model, &mut |_, mut parameter| parameter.set_trainable(false));
    }
    Ok((model, config, report))
}

/// Saves the adapter that `config` describes as a PEFT directory: `adapter_config.json` and
/// `adapter_model.safetensors`, whether it is being trained or was loaded frozen.
///
/// # Errors
/// [`LoraError::NoAdapter`] for a module that `config` chooses and that has none; errors of files, with the
/// path; files that were there before stay whole.
pub fn save_peft<M: Adaptable>(
    model: &M,
    config: impl Into<AdapterConfig>,
    dir: impl AsRef<Path>,
) -> Result<(), LoraError> {
    let config = config.into();
    let plan = checked_plan(&config, model)?;
    let mut model = model.clone();
    let mut without = Vec::new();
    model.sites(&mut |path, site| {
        if !has_adapter(&site) && plan.adapted.iter().any(|module| module.path == path) {
            without.push(path.to_owned());
        }
    });
    if !without.is_empty() {
        return Err(LoraError::NoAdapter { modules: without });
    }
    let mut tensors = base_weights(&mut model);
    each_saved(&mut model, &plan, &mut |key, parameter| {
        tensors.insert(key, tensor_of(parameter.flat(), parameter.shape()));
    });
    // PEFT writes the modules that a default or `all-linear` stood for.
    let config = config.with_plan(&plan);
    PeftFiles { config, tensors }.write(dir.as_ref())
}

fn has_adapter(site: &Site<'_>) -> bool {
    match site {
        Site::Projection(projection) | Site::Head(projection) => projection.adapter.is_some(),
        Site::Embedding(_) | Site::Norm(_) => false,
    }
}

fn checked_plan<M: Adaptable>(config: &AdapterConfig, model: &M) -> Result<AdapterPlan, LoraError> {
    let modules = modules(model);
    if model.is_head_tied() && config.names_head() {
        return Err(LoraError::TiedWeights { module: "lm_head".to_owned() });
    }
    plan(config, &modules, model.model_type())
}

fn install<M: Adaptable>(
    config: &AdapterConfig,
    mut model: M,
    plan: AdapterPlan,
    start: Start,
    device: &Device,
) -> (M, AttachReport) {
    visit_parameters(&mut model, &mut |_, mut parameter| parameter.set_trainable(false));
    let compute = compute_dtype(&mut model);
    let adapted: BTreeMap<&str, &AdaptedModule> =
        plan.adapted.iter().map(|module| (module.path.as_str(), module)).collect();
    let saved = |path: &str| plan.saved.iter().any(|saved| saved == path);
    let bias = |path: &str| plan.biases.iter().any(|module| module == path);
    model.sites(&mut |path, site| match site {
        Site::Projection(projection) | Site::Head(projection) => {
            if let Some(module) = adapted.get(path) {
                projection.adapter = Some(new_adapter(config, module, projection, start, device));
            }
            if saved(path) {
                if let Weight::FourBit(weight) = &projection.weight {
                    projection.weight = Weight::frozen(weight.dequantize(compute));
                }
                if let Weight::Dense(weight) = &mut projection.weight {
                    *weight = trainable(weight.val());
                }
            }
            if (saved(path) || bias(path))
                && let Some(bias) = &mut projection.bias
            {
                *bias = trainable(bias.val());
            }
        }
        Site::Embedding(embedding) if saved(path) => embedding.weight = trainable(embedding.weight.val()),
        Site::Norm(weight) if saved(path) => *weight = trainable(weight.val()),
        _ => {}
    });
    let (trained, total) = count_parameters(&model);
    let AdapterPlan { adapted, saved, biases, .. } = plan;
    (model, AttachReport { adapted, saved, biases, trainable: trained, total })
}

/// The adapter of one projection.
fn new_adapter(
    config: &AdapterConfig,
    module: &AdaptedModule,
    projection: &Projection,
    start: Start,
    device: &Device,
) -> Adapter {
    let ([out, inn], path, r) = (projection.dims(), &module.path, module.r);
    match config {
        AdapterConfig::Lora(config) => {
            let (a, b) = match start {
                Start::Fresh { seed } => init::factors(config.init_lora_weights(), seed, path, r, inn, out),
                Start::Empty => (vec![0.0; r * inn], vec![0.0; out * r]),
            };
            let (a, b) = (matrix(a, [r, inn], device), matrix(b, [out, r], device));
            let mut lora = LoraAdapter::new(path, a, b, module.scaling, config.lora_dropout(), true);
            if config.lora_bias() {
                lora = lora.with_zero_bias();
            }
            match config.use_dora() {
                true => Adapter::Dora(DoraAdapter::new(lora, &projection.weight.as_frozen())),
                false => Adapter::Lora(lora),
            }
        }
    }
}

/// Every parameter that belongs to the adapter, with its key in an adapter file.
fn each_saved<M: Adaptable>(
    model: &mut M,
    plan: &AdapterPlan,
    visit: &mut dyn FnMut(String, ParameterMut<'_>),
) {
    let is_adapted = |path: &str| plan.adapted.iter().any(|module| module.path == path);
    let listed = |paths: &[String], path: &str| paths.iter().any(|known| known == path);
    visit_parameters(model, &mut |name, parameter| {
        let module = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name);
        let is_bias = name.ends_with(".bias");
        let belongs = keys::adapted_module(name).is_some_and(is_adapted)
            || listed(&plan.saved, module)
            || (is_bias && listed(&plan.biases, module));
        if belongs {
            let key = if is_bias && is_adapted(module) {
                keys::base_layer_bias(module)
            } else {
                keys::parameter(name)
            };
            visit(key, parameter);
        }
    });
}

/// The weight of an adapted head, which PEFT saves along with the adapter.
fn base_weights<M: Adaptable>(model: &mut M) -> BTreeMap<String, AdapterTensor> {
    let mut tensors = BTreeMap::new();
    model.sites(&mut |path, site| {
        if let Site::Head(Projection { weight, adapter: Some(_), unmerged, .. }) = site
            // PEFT could not read 4-bit values here, and the base model has them anyway.
            && let Weight::Dense(weight) = unmerged.as_ref().map_or(&*weight, |unmerged| &unmerged.weight)
        {
            let (shape, count) = (weight.lazy_shape().to_vec(), weight.lazy_shape().num_elements());
            let values = weight.val().without_autodiff().reshape([count]);
            tensors.insert(keys::base_layer_weight(path), tensor_of(values, shape));
        }
    });
    tensors
}

/// Takes the weights of adapted modules that the files hold: the adapter was trained on these.
fn load_base_weights<M: Adaptable>(
    model: &mut M,
    tensors: &mut BTreeMap<String, AdapterTensor>,
    device: &Device,
) {
    model.sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && let Weight::Dense(weight) = &mut projection.weight
            && let Some(adapter) = &mut projection.adapter
            && let Some(tensor) = tensors.remove(&keys::base_layer_weight(path))
        {
            ParameterMut::Matrix(weight).set_flat(flat(tensor, device));
            adapter.stand_beside(&projection.weight.as_frozen());
        }
    });
}

/// A tensor for an adapter file, in the dtype that the values have.
fn tensor_of(values: Tensor<1>, shape: Vec<usize>) -> AdapterTensor {
    let dtype = match values.dtype() {
        DType::BF16 => AdapterDtype::BF16,
        DType::F16 => AdapterDtype::F16,
        _ => AdapterDtype::F32,
    };
    let values = values.cast(FloatDType::F32).to_data().iter::<f32>().collect();
    AdapterTensor { shape, values, dtype }
}

fn flat(tensor: AdapterTensor, device: &Device) -> Tensor<1> {
    let count = tensor.values.len();
    Tensor::from_data(TensorData::new(tensor.values, [count]), (device, DType::F32))
}

fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}
