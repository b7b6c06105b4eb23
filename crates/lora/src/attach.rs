//! Attaching adapters to a model, and PEFT directories.

use std::{collections::BTreeMap, fmt, path::Path};

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

use crate::{
    Adaptable, AdaptedModule, AdapterDtype, AdapterPlan, AdapterTensor, InitLoraWeights, LoraConfig,
    LoraError, PeftFiles, Site,
    adapter::LoraAdapter,
    count_parameters,
    init::{self, InitialFactors},
    modules,
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

/// Attaches a new adapter: freezes the model and adds trainable factors to the modules that `config`
/// chooses. `seed` and the module's path determine the initial factors.
///
/// # Errors
/// [`LoraError`] when the configuration is invalid, a target matches nothing (the message lists what
/// there is), a tied head is to be saved, or the model has an adapter already; [`LoraError::Init`] when the
/// initialisation does not fit some modules. EVA starts from data: [`attach_eva`](crate::attach_eva).
pub fn attach<M: Adaptable>(
    config: &LoraConfig,
    mut model: M,
    seed: u64,
    device: &Device,
) -> Result<(M, AttachReport), LoraError> {
    config.validate()?;
    check_plain(&mut model)?;
    let plan = checked_plan(config, &model)?;
    if config.init_lora_weights() == InitLoraWeights::Eva {
        let wanted = "an initialisation without data, or attach_eva, which has it";
        return Err(LoraError::config("init_lora_weights", "\"eva\"", wanted));
    }
    init::start(config, &mut model, &plan, device)?;
    let starts = initial_factors(&mut model);
    let make = |module: &AdaptedModule, [out, inn]: [usize; 2]| {
        if let Some(start) = starts.get(&module.path) {
            return (start.a.clone().to_device(device), start.b.clone().to_device(device));
        }
        let (a, b) = init::factors(config.init_lora_weights(), seed, &module.path, module.r, inn, out);
        (matrix(a, [module.r, inn], device), matrix(b, [out, module.r], device))
    };
    Ok(install(config, model, plan, &make, true))
}

/// Loads a PEFT directory onto the base model it was trained on; `is_trainable` to train it further.
///
/// If the files name an initialisation that changes the base (PiSSA, OLoRA, LoftQ), the base is changed first, as PEFT
/// does. `pissa_niter_N` starts from random numbers: this crate's are the same each time, those of an adapter that
/// PEFT trained are not known, and its base comes out slightly different, in PEFT too.
///
/// # Errors
/// [`LoraError::TensorMismatch`] listing every missing, unexpected and mis-shaped tensor (an adapter of
/// another base shows up here); errors of files and of the configuration.
pub fn load_peft<M: Adaptable>(
    dir: impl AsRef<Path>,
    mut model: M,
    is_trainable: bool,
    device: &Device,
) -> Result<(M, LoraConfig, AttachReport), LoraError> {
    check_plain(&mut model)?;
    let PeftFiles { config, tensors } = PeftFiles::read(dir.as_ref())?;
    let plan = checked_plan(&config, &model)?;
    // As PEFT does: the adapter was trained beside what its initialisation left of the base.
    init::start(&config, &mut model, &plan, device)?;
    // Attach empty factors first: the model then tells which tensors the files must hold.
    let empty = |module: &AdaptedModule, [out, inn]: [usize; 2]| {
        let zeros = |shape: [usize; 2]| Tensor::<2>::zeros(shape, (device, DType::F32));
        (zeros([module.r, inn]), zeros([out, module.r]))
    };
    let (mut model, report) = install(&config, model, plan.clone(), &empty, true);
    let mut expected = BTreeMap::new();
    each_saved(&mut model, &plan, &mut |key, parameter| {
        expected.insert(key, parameter.shape());
    });
    let files = PeftFiles { config, tensors };
    files.check(&expected)?;
    let PeftFiles { config, mut tensors } = files;
    each_saved(&mut model, &plan, &mut |key, mut parameter| {
        if let Some(tensor) = tensors.remove(&key) {
            let count = tensor.values.len();
            let data = TensorData::new(tensor.values, [count]);
            parameter.set_flat(Tensor::from_data(data, (device, DType::F32)));
        }
    });
    if !is_trainable {
        visit_parameters(&mut model, &mut |_, mut parameter| parameter.set_trainable(false));
    }
    Ok((model, config, report))
}

/// Saves the adapter that `config` describes as a PEFT directory: `adapter_config.json` and
/// `adapter_model.safetensors`, whether it is being trained or was loaded frozen.
///
/// An adapter that was started by PiSSA, OLoRA or LoftQ belongs to the base those left. Its files name the
/// initialisation, as PEFT's do; [`load_peft`] and PEFT apply it to the base again. For programs that do not, there
/// is [`save_peft_converted`](crate::save_peft_converted).
///
/// # Errors
/// [`LoraError::NoAdapter`] for a module that `config` chooses and that has none; errors of files, with the
/// path; files that were there before stay whole.
pub fn save_peft<M: Adaptable>(
    model: &M,
    config: &LoraConfig,
    dir: impl AsRef<Path>,
) -> Result<(), LoraError> {
    peft_files(model, config)?.write(dir.as_ref())
}

/// What [`save_peft`] writes.
pub(crate) fn peft_files<M: Adaptable>(model: &M, config: &LoraConfig) -> Result<PeftFiles, LoraError> {
    let plan = checked_plan(config, model)?;
    let mut model = model.clone();
    let mut without = Vec::new();
    model.sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && projection.adapter.is_none()
            && plan.adapted.iter().any(|module| module.path == path)
        {
            without.push(path.to_owned());
        }
    });
    if !without.is_empty() {
        return Err(LoraError::NoAdapter { modules: without });
    }
    let mut tensors = BTreeMap::new();
    each_saved(&mut model, &plan, &mut |key, parameter| {
        let value = parameter.flat();
        let dtype = match value.dtype() {
            DType::BF16 => AdapterDtype::BF16,
            DType::F16 => AdapterDtype::F16,
            _ => AdapterDtype::F32,
        };
        let values = value.cast(FloatDType::F32).to_data().iter::<f32>().collect();
        tensors.insert(key, AdapterTensor { shape: parameter.shape(), values, dtype });
    });
    // PEFT writes the modules that a default or `all-linear` stood for.
    let config = config.clone().with_target_modules(plan.target_modules);
    Ok(PeftFiles { config, tensors })
}

/// The factors that the base weights gave up.
fn initial_factors<M: Adaptable>(model: &mut M) -> BTreeMap<String, InitialFactors> {
    let mut starts = BTreeMap::new();
    model.sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && let Some(initial) = &projection.initial
        {
            starts.insert(path.to_owned(), initial.clone());
        }
    });
    starts
}

pub(crate) fn checked_plan<M: Adaptable>(config: &LoraConfig, model: &M) -> Result<AdapterPlan, LoraError> {
    let names_head = |name: &String| name == "lm_head";
    if model.is_head_tied() && config.modules_to_save().is_some_and(|names| names.iter().any(names_head)) {
        return Err(LoraError::TiedWeights { module: "lm_head".to_owned() });
    }
    plan(config, &modules(model), model.model_type())
}

pub(crate) fn install<M: Adaptable>(
    config: &LoraConfig,
    mut model: M,
    plan: AdapterPlan,
    make: &dyn Fn(&AdaptedModule, [usize; 2]) -> (Tensor<2>, Tensor<2>),
    is_trainable: bool,
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
                let (a, b) = make(module, projection.dims());
                let dropout = config.lora_dropout();
                projection.adapter =
                    Some(LoraAdapter::new(path, a, b, module.scaling, dropout, is_trainable));
            }
            if saved(path) {
                if projection.weight.is_quantized() {
                    projection.weight = Weight::frozen(projection.weight.dense(compute));
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

/// Every parameter that belongs to the adapter, with its key in an adapter file.
fn each_saved<M: Adaptable>(
    model: &mut M,
    plan: &AdapterPlan,
    visit: &mut dyn FnMut(String, ParameterMut<'_>),
) {
    let is_adapted = |path: &str| plan.adapted.iter().any(|module| module.path == path);
    let listed = |paths: &[String], path: &str| paths.iter().any(|known| known == path);
    visit_parameters(model, &mut |name, parameter| {
        let factor = name.strip_suffix(".lora_A.weight").or_else(|| name.strip_suffix(".lora_B.weight"));
        let module = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name);
        let is_bias = name.ends_with(".bias");
        let belongs = factor.is_some_and(is_adapted)
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

pub(crate) fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}
