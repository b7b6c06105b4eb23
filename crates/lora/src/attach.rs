//! Attaching adapters to a model, and PEFT directories.

use std::{collections::BTreeMap, fmt, path::Path};

use burn::{
    module::Param,
    tensor::{DType, Device, FloatDType, Tensor, TensorData},
};

use crate::{
    Adaptable, AdaptedModule, Adapter, AdapterConfig, AdapterDtype, AdapterPlan, AdapterTensor, Embedding,
    EmbeddingAdapter, InitLoraWeights, LoraConfig, LoraError, PeftFiles, Projection, Site, TensorProblems,
    TrainableTokens,
    adapter::SharedProjection,
    checked_plan::{HEAD, HEAD_WEIGHT, checked_plan, tied_embedding},
    count_parameters, fingerprint,
    init::{self, InitialFactors},
    make::{Make, Start, embedding_adapter, new_projection},
    parameters::{ParameterMut, check_plain, compute_dtype},
    peft::keys,
    projection::{Weight, trainable},
    rank_pattern::drop_masked,
    several::{DEFAULT, Roster, trimmed},
    trainable_summary, virtual_tokens, visit_parameters,
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

/// Attaches a new adapter: freezes the model and adds trainable parameters to the modules that `config`
/// chooses. `seed` and the module's path determine the initial values.
///
/// # Errors
/// [`LoraError`] when the configuration is invalid, a target matches nothing (the message lists what
/// there is), one of two tied weights is to be changed alone, or the model has an adapter already;
/// [`LoraError::Init`] when the initialisation does not fit some modules. EVA starts from data:
/// [`attach_eva`](crate::attach_eva).
pub fn attach<M: Adaptable>(
    config: impl Into<AdapterConfig>,
    mut model: M,
    seed: u64,
    device: &Device,
) -> Result<(M, AttachReport), LoraError> {
    let config = config.into();
    check_plain(&mut model)?;
    let plan = checked_plan(&config, &model)?;
    virtual_tokens::check_fresh(&config, &mut model)?;
    let init = config.as_lora().map(LoraConfig::init_lora_weights).unwrap_or_default();
    if init == InitLoraWeights::Eva {
        let wanted = "an initialisation without data, or attach_eva, which has it";
        return Err(LoraError::config("init_lora_weights", "\"eva\"", wanted));
    }
    init::start(&config, &mut model, &plan, device)?;
    let starts = initial_factors(&mut model);
    let make = |module: &AdaptedModule, [out, inn]: [usize; 2]| {
        if let Some(start) = starts.get(&module.path) {
            return (start.a.clone().to_device(device), start.b.clone().to_device(device));
        }
        let (a, b) = init::factors(init, seed, &module.path, module.r, inn, out);
        (matrix(a, [module.r, inn], device), matrix(b, [out, module.r], device))
    };
    Ok(install(&config, model, plan, Start::Fresh { seed, factors: &make }, device))
}

/// Loads a PEFT directory onto the base model it was trained on; `is_trainable` to train it further.
///
/// If the files name an initialisation that changes the base (PiSSA, OLoRA, LoftQ), the base is changed first, as PEFT
/// does. `pissa_niter_N` starts from random numbers: this crate's are the same each time, those of an adapter that
/// PEFT trained are not known, and its base comes out slightly different, in PEFT too.
///
/// # Errors
/// [`LoraError::TensorMismatch`] listing every missing, unexpected and mis-shaped tensor (an adapter of
/// another base shows up here if its shapes differ); [`LoraError::OtherBase`] for one of the same shape, if Burnisher
/// wrote the files; errors of files and of the configuration.
pub fn load_peft<M: Adaptable>(
    dir: impl AsRef<Path>,
    mut model: M,
    is_trainable: bool,
    device: &Device,
) -> Result<(M, AdapterConfig, AttachReport), LoraError> {
    check_plain(&mut model)?;
    load_files(read_for(dir.as_ref(), &model)?, model, is_trainable, device)
}

/// The files of an adapter that was trained on this base.
pub(crate) fn read_for<M: Adaptable>(dir: &Path, model: &M) -> Result<PeftFiles, LoraError> {
    let files = PeftFiles::read(dir)?;
    let plan = checked_plan(&files.config, model)?;
    fingerprint::check(dir, &fingerprint::of(model, &plan))?;
    Ok(files)
}

/// [`load_peft`] from files in memory, onto a model without an adapter.
pub(crate) fn load_files<M: Adaptable>(
    mut files: PeftFiles,
    mut model: M,
    is_trainable: bool,
    device: &Device,
) -> Result<(M, AdapterConfig, AttachReport), LoraError> {
    let plan = checked_plan(&files.config, &model)?;
    if is_trainable {
        virtual_tokens::check_trainable(&files.config)?;
    }
    // As PEFT does: the adapter was trained beside what its initialisation left of the base.
    init::start(&files.config, &mut model, &plan, device)?;
    // Attach an empty adapter first: the model then tells which tensors the files must hold.
    let (mut model, report) = install(&files.config, model, plan.clone(), Start::Empty, device);
    let mut expected = BTreeMap::new();
    each_saved(&mut model, &plan, &mut |key, parameter| {
        expected.insert(key, parameter.shape());
    });
    let shared = saved_projection(&files.config, &mut model);
    expected.extend(shared.into_iter().flatten().map(|(key, tensor)| (key, tensor.dims().to_vec())));
    let tied = tied_embedding(&model, &plan);
    if let Some(embedding) = &tied {
        let shape = expected.get(&keys::parameter(embedding)).cloned();
        expected.extend(shape.map(|shape| (keys::parameter(HEAD_WEIGHT), shape)));
    }
    load_base_weights(&mut model, &mut files.tensors, device);
    files.check(&expected)?;
    let PeftFiles { config, mut tensors } = files;
    if let Some(embedding) = &tied {
        let head = tensors.remove(&keys::parameter(HEAD_WEIGHT));
        if head.map(|head| head.values) != tensors.get(&keys::parameter(embedding)).map(|t| t.values.clone())
        {
            return Err(LoraError::TiedWeights { module: HEAD.to_owned() });
        }
    }
    if let [Some(a), Some(b)] = keys::VERA.map(|key| tensors.remove(key)) {
        let [a, b] = [a, b].map(|tensor| matrix(tensor.values, [tensor.shape[0], tensor.shape[1]], device));
        share(&mut model, &SharedProjection { a, b });
    }
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
        settle(&mut model);
    }
    Ok((model, config, report))
}

/// Saves the adapter that `config` describes as a PEFT directory: `adapter_config.json` and
/// `adapter_model.safetensors`, whether it is being trained or was loaded frozen. Of several adapters it is the first in
/// use; [`save_adapter`](crate::save_adapter) saves any of them.
///
/// An adapter that was started by PiSSA, OLoRA or LoftQ belongs to the base those left. Its files name the
/// initialisation, as PEFT's do; [`load_peft`] and PEFT apply it to the base again. For programs that do not, there
/// is [`save_peft_converted`](crate::save_peft_converted).
///
/// base_fingerprint.json beside them holds some numbers of the base, by which [`load_peft`] knows it.
///
/// # Errors
/// [`LoraError::NoAdapter`] for a module that `config` chooses and that has none; errors of files, with the
/// path; files that were there before stay whole.
pub fn save_peft<M: Adaptable>(
    model: &M,
    config: impl Into<AdapterConfig>,
    dir: impl AsRef<Path>,
) -> Result<(), LoraError> {
    let (config, dir) = (config.into(), dir.as_ref());
    peft_files(model, &config)?.write(dir)?;
    fingerprint::write(dir, &fingerprint::of(model, &checked_plan(&config, model)?))
}

/// What [`save_peft`] writes.
pub(crate) fn peft_files<M: Adaptable>(model: &M, config: &AdapterConfig) -> Result<PeftFiles, LoraError> {
    let plan = checked_plan(config, model)?;
    let mut model = model.clone();
    let mut without = Vec::new();
    model.sites(&mut |path, site| {
        let is_wanted = plan.adapted.iter().any(|module| module.path == path)
            || plan.trains_tokens && matches!(site, Site::Embedding(_))
            || config.has_virtual_tokens() && matches!(site, Site::VirtualTokens(_));
        let is_there = match &site {
            Site::Projection(projection) | Site::Head(projection) => projection.adapter.is_some(),
            Site::Embedding(embedding) => embedding.adapter.is_some(),
            Site::VirtualTokens(tokens) => virtual_tokens::are_of(config, tokens),
            Site::Norm(_) => false,
        };
        if is_wanted && !is_there {
            without.push(path.to_owned());
        }
    });
    if !without.is_empty() {
        return Err(LoraError::NoAdapter { modules: without });
    }
    let mut tensors = base_weights(config, &mut model);
    for (key, tensor) in saved_projection(config, &mut model).into_iter().flatten() {
        tensors.insert(key, whole(tensor));
    }
    each_saved(&mut model, &plan, &mut |key, parameter| {
        tensors.insert(key, tensor_of(parameter.flat(), parameter.shape()));
    });
    if let Some(embedding) = tied_embedding(&model, &plan) {
        let embedding = tensors.get(&keys::parameter(&embedding)).cloned();
        tensors.extend(embedding.map(|tensor| (keys::parameter(HEAD_WEIGHT), tensor)));
    }
    // PEFT writes the modules that a default or `all-linear` stood for.
    let mut config = virtual_tokens::for_model(config.clone().with_plan(&plan), &model)?;
    if let AdapterConfig::AdaLora(adalora) = config {
        let modules: Vec<String> = plan.adapted.iter().map(|module| module.path.clone()).collect();
        config = drop_masked(adalora, &modules, &mut tensors).into();
    }
    trimmed(PeftFiles { config, tensors }, &model)
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

pub(crate) fn install<M: Adaptable>(
    config: &AdapterConfig,
    mut model: M,
    plan: AdapterPlan,
    start: Start<'_>,
    device: &Device,
) -> (M, AttachReport) {
    visit_parameters(&mut model, &mut |_, mut parameter| parameter.set_trainable(false));
    let compute = compute_dtype(&mut model);
    let shared = new_projection(config, &mut model, &plan, device);
    virtual_tokens::install(config, &mut model, start, device);
    let tokens = config.as_lora().and_then(LoraConfig::trainable_token_indices);
    let adapted: BTreeMap<&str, &AdaptedModule> =
        plan.adapted.iter().map(|module| (module.path.as_str(), module)).collect();
    let saved = |path: &str| plan.saved.iter().any(|saved| saved == path);
    let bias = |path: &str| plan.biases.iter().any(|module| module == path);
    Roster::single(DEFAULT, config).give(&mut model);
    model.sites(&mut |path, site| match site {
        Site::Projection(projection) | Site::Head(projection) => {
            if let Some(module) = adapted.get(path) {
                let make = Make { config, plan: &plan, shared: shared.as_ref(), start, device };
                projection.adapter = Some(make.adapter(module, projection));
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
        Site::Embedding(embedding) => {
            let table = embedding.weight.val();
            if saved(path) {
                embedding.weight = trainable(table);
            } else if let (Some(module), Some(lora)) = (adapted.get(path), config.as_lora()) {
                embedding.adapter = Some(embedding_adapter(lora, module, table.dims(), start, device));
            } else if let Some(tokens) = tokens {
                embedding.adapter = Some(EmbeddingAdapter::Tokens(TrainableTokens::new(table, tokens)));
            }
        }
        Site::Norm(weight) if saved(path) => *weight = trainable(weight.val()),
        _ => {}
    });
    let (trained, total) = count_parameters(&model);
    let AdapterPlan { adapted, saved, biases, .. } = plan;
    (model, AttachReport { adapted, saved, biases, trainable: trained, total })
}

/// VeRA's matrices with their keys, if they are saved.
fn saved_projection<M: Adaptable>(config: &AdapterConfig, model: &mut M) -> Option<[(String, Tensor<2>); 2]> {
    let AdapterConfig::Vera(config) = config else { return None };
    let mut found = None;
    model.sites(&mut |_, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && let Some(Adapter::Vera(vera)) = &projection.adapter
        {
            found.get_or_insert_with(|| vera.shared.clone());
        }
    });
    let [a, b] = keys::VERA.map(str::to_owned);
    found.filter(|_| config.save_projection()).map(|shared| [(a, shared.a), (b, shared.b)])
}

/// Lets every adapter keep what it would compute again in each pass.
pub(crate) fn settle<M: Adaptable>(model: &mut M) {
    model.sites(&mut |_, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && let Some(adapter) = &mut projection.adapter
        {
            adapter.settle(&projection.weight.as_frozen());
        }
    });
}

/// Gives every VeRA adapter the same matrices.
fn share<M: Adaptable>(model: &mut M, shared: &SharedProjection) {
    model.sites(&mut |_, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && let Some(Adapter::Vera(vera)) = &mut projection.adapter
        {
            vera.shared = shared.clone();
        }
    });
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
        if name == keys::PROMPT {
            return visit(name.to_owned(), parameter);
        }
        let belongs = keys::adapted_module(name).is_some_and(is_adapted)
            || (plan.trains_tokens && name.ends_with(keys::TOKENS))
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

/// The weights of an adapted head and an adapted embedding, which PEFT saves along with the adapter unless it trains
/// rows of the embedding (`save_embedding_layers="auto"`). Quantized weights are left out: PEFT could not read them here,
/// and the base model has them.
fn base_weights<M: Adaptable>(config: &AdapterConfig, model: &mut M) -> BTreeMap<String, AdapterTensor> {
    let mut tensors = BTreeMap::new();
    if config.as_lora().is_some_and(|lora| lora.trainable_token_indices().is_some()) {
        return tensors;
    }
    model.sites(&mut |path, site| {
        let weight = match site {
            Site::Head(Projection { weight, adapter: Some(_), unmerged, .. }) => {
                match unmerged.as_ref().map_or(&*weight, |unmerged| &unmerged.weight) {
                    Weight::Dense(weight) => weight.val(),
                    _ => return,
                }
            }
            Site::Embedding(Embedding { weight, adapter: Some(_), unmerged, .. }) => {
                unmerged.as_ref().unwrap_or(weight).val()
            }
            _ => return,
        };
        tensors.insert(keys::base_layer_weight(path), whole(weight));
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
        if !site.has_adapter() {
            return;
        }
        let key = keys::base_layer_weight(path);
        let mut take = |weight: &mut Param<Tensor<2>>| {
            let mut weight = ParameterMut::Matrix(weight);
            // One of another shape stays, and is reported with all that does not fit.
            if tensors.get(&key).is_some_and(|tensor| tensor.shape == weight.shape())
                && let Some(tensor) = tensors.remove(&key)
            {
                weight.set_flat(flat(tensor, device));
            }
        };
        match site {
            Site::Projection(projection) | Site::Head(projection) => {
                if let Weight::Dense(weight) = &mut projection.weight {
                    take(weight);
                }
                if let Some(adapter) = &mut projection.adapter {
                    adapter.stand_beside(&projection.weight.as_frozen());
                }
            }
            Site::Embedding(embedding) => take(&mut embedding.weight),
            Site::Norm(_) | Site::VirtualTokens(_) => {}
        }
    });
}

fn whole(tensor: Tensor<2>) -> AdapterTensor {
    let [rows, columns] = tensor.dims();
    tensor_of(tensor.without_autodiff().reshape([rows * columns]), vec![rows, columns])
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

pub(crate) fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}
