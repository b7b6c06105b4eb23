//! Attaching adapters to a model, and PEFT directories.

use std::{collections::BTreeMap, fmt, path::Path};

use burn::{
    module::Param,
    tensor::{DType, Device, FloatDType, Tensor, TensorData},
};

use crate::{
    Adaptable, AdaptedModule, Adapter, AdapterConfig, AdapterDtype, AdapterPlan, AdapterTensor, DoraAdapter,
    Embedding, EmbeddingAdapter, Ia3Adapter, InitLoraWeights, LoraAdapter, LoraConfig, LoraEmbedding,
    LoraError, ModuleKind, PeftFiles, Projection, Site, TensorProblems, TrainableTokens, VeraAdapter,
    adapter::SharedProjection,
    count_parameters,
    init::{self, InitialFactors},
    modules,
    parameters::{ParameterMut, check_plain, compute_dtype},
    peft::keys,
    plan,
    projection::{Weight, trainable},
    trainable_summary, visit_parameters,
};

/// The path of the output projection, also where it has no weight of its own.
const HEAD: &str = "lm_head";
const HEAD_WEIGHT: &str = "lm_head.weight";

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
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// What the method prescribes; random numbers are a function of the seed and the module's path.
    Fresh { seed: u64, factors: &'a Factors<'a> },
    /// Anything: they are about to be replaced.
    Empty,
}

/// LoRA's `A [r, in]` and `B [out, r]` for a module of the shape `[out, in]`.
pub(crate) type Factors<'a> = dyn Fn(&AdaptedModule, [usize; 2]) -> (Tensor<2>, Tensor<2>) + 'a;

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
/// another base shows up here); errors of files and of the configuration.
pub fn load_peft<M: Adaptable>(
    dir: impl AsRef<Path>,
    mut model: M,
    is_trainable: bool,
    device: &Device,
) -> Result<(M, AdapterConfig, AttachReport), LoraError> {
    check_plain(&mut model)?;
    let mut files = PeftFiles::read(dir.as_ref())?;
    let plan = checked_plan(&files.config, &model)?;
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
    config: impl Into<AdapterConfig>,
    dir: impl AsRef<Path>,
) -> Result<(), LoraError> {
    peft_files(model, &config.into())?.write(dir.as_ref())
}

/// What [`save_peft`] writes.
pub(crate) fn peft_files<M: Adaptable>(model: &M, config: &AdapterConfig) -> Result<PeftFiles, LoraError> {
    let plan = checked_plan(config, model)?;
    let mut model = model.clone();
    let mut without = Vec::new();
    model.sites(&mut |path, site| {
        let is_wanted = plan.adapted.iter().any(|module| module.path == path)
            || plan.trains_tokens && matches!(site, Site::Embedding(_));
        if is_wanted && !site.has_adapter() {
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
    let config = config.clone().with_plan(&plan);
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

/// [`plan`], and the rules that need the model.
pub(crate) fn checked_plan<M: Adaptable>(
    config: &AdapterConfig,
    model: &M,
) -> Result<AdapterPlan, LoraError> {
    let modules = modules(model);
    let embedding = modules.iter().find(|module| module.kind == ModuleKind::Embedding);
    let embedding = embedding.map(|module| module.path.as_str()).unwrap_or_default();
    let tied = |module: &str| Err(LoraError::TiedWeights { module: module.to_owned() });
    let (is_tied, lora) = (model.is_head_tied(), config.as_lora());
    let is_ensured = lora.is_some_and(LoraConfig::ensure_weight_tying);
    let mut config = config.clone();
    if is_tied && config.targets(HEAD) || is_tied && config.saves(HEAD) && !is_ensured {
        return tied(HEAD);
    }
    if is_tied && config.saves(HEAD) {
        // It has no weight of its own: its name stands for the embedding's.
        config = config.with_saved_instead(HEAD, embedding);
    }
    let plan = plan(&config, &modules, model.model_type())?;
    let adapts = plan.adapted.iter().any(|module| module.path == embedding);
    let saves = plan.saved.iter().any(|path| path == embedding);
    if is_tied && (adapts || saves && !is_ensured) {
        return tied(embedding);
    }
    if let Some(lora) = config.as_lora() {
        let fields = [("use_dora", lora.use_dora()), ("lora_bias", lora.lora_bias())];
        if let Some((field, _)) = fields.into_iter().find(|(_, is_on)| adapts && *is_on) {
            return Err(LoraError::config(field, true, "false, because target_modules has the embedding"));
        }
        if let Some(tokens) = lora.trainable_token_indices() {
            check_tokens(tokens, model, embedding, adapts || saves)?;
        }
    }
    Ok(plan)
}

fn check_tokens<M: Adaptable>(
    tokens: &[u32],
    model: &M,
    embedding: &str,
    is_taken: bool,
) -> Result<(), LoraError> {
    let field = "trainable_token_indices";
    if is_taken {
        let wanted = format!("nothing, because target_modules or modules_to_save has {embedding}");
        return Err(LoraError::config(field, "given", &wanted));
    }
    let mut vocab = 0;
    model.clone().sites(&mut |_, site| {
        if let Site::Embedding(embedding) = site {
            vocab = embedding.weight.lazy_shape().dims::<2>()[0];
        }
    });
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(token) => Err(LoraError::config(field, token, &format!("tokens below {vocab}"))),
        None => Ok(()),
    }
}

/// The name of the embedding's weight, if it is saved whole and the head's too.
fn tied_embedding<M: Adaptable>(model: &M, plan: &AdapterPlan) -> Option<String> {
    let modules = modules(model);
    let mut embeddings = modules.iter().filter(|module| module.kind == ModuleKind::Embedding);
    let found = embeddings.find(|module| plan.saved.contains(&module.path));
    found.filter(|_| model.is_head_tied()).map(|module| format!("{}.weight", module.path))
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
    let tokens = config.as_lora().and_then(LoraConfig::trainable_token_indices);
    let adapted: BTreeMap<&str, &AdaptedModule> =
        plan.adapted.iter().map(|module| (module.path.as_str(), module)).collect();
    let saved = |path: &str| plan.saved.iter().any(|saved| saved == path);
    let bias = |path: &str| plan.biases.iter().any(|module| module == path);
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

/// What new adapters of projections are made of.
struct Make<'a> {
    config: &'a AdapterConfig,
    plan: &'a AdapterPlan,
    shared: Option<&'a SharedProjection>,
    start: Start<'a>,
    device: &'a Device,
}

impl Make<'_> {
    fn adapter(&self, module: &AdaptedModule, projection: &Projection) -> Adapter {
        let ([out, inn], path, r) = (projection.dims(), &module.path, module.r);
        match self.config {
            AdapterConfig::Lora(config) => {
                let (a, b) = match self.start {
                    Start::Fresh { factors, .. } => factors(module, [out, inn]),
                    Start::Empty => {
                        let zeros = |shape: [usize; 2]| Tensor::zeros(shape, (self.device, DType::F32));
                        (zeros([r, inn]), zeros([out, r]))
                    }
                };
                let mut lora = LoraAdapter::new(path, a, b, module.scaling, config.lora_dropout(), true);
                if config.lora_bias() {
                    lora = lora.with_zero_bias();
                }
                if config.lora_fa() {
                    lora = lora.with_frozen_a();
                }
                match config.use_dora() {
                    true => Adapter::Dora(DoraAdapter::new(lora, &projection.weight.as_frozen())),
                    false => Adapter::Lora(lora),
                }
            }
            AdapterConfig::Ia3(_) => {
                let is_feedforward = self.plan.feedforward.contains(path);
                Adapter::Ia3(Ia3Adapter::new([out, inn], is_feedforward, self.device))
            }
            AdapterConfig::Vera(config) => {
                let shared = self.shared.cloned().expect("VeRA's matrices are made before its modules");
                let (d_initial, dropout) = (config.d_initial(), config.vera_dropout());
                Adapter::Vera(VeraAdapter::new(path, [out, inn], shared, d_initial, dropout))
            }
        }
    }
}

/// LoRA on the embedding starts the other way round than on a projection: `A = 0`, `B ~ N(0, 1)`.
fn embedding_adapter(
    config: &LoraConfig,
    module: &AdaptedModule,
    [vocab, hidden]: [usize; 2],
    start: Start<'_>,
    device: &Device,
) -> EmbeddingAdapter {
    let r = module.r;
    let normal = |factor: u64, count: usize| match start {
        Start::Fresh { seed, .. } => {
            init::normal(&mut init::generator(seed, &module.path, factor), count, 1.0)
        }
        Start::Empty => vec![0.0; count],
    };
    let a = match config.init_lora_weights() {
        InitLoraWeights::Random => normal(0, r * vocab),
        _ => vec![0.0; r * vocab],
    };
    let (a, b) = (matrix(a, [r, vocab], device), matrix(normal(1, hidden * r), [hidden, r], device));
    EmbeddingAdapter::Lora(LoraEmbedding::new(a, b, module.scaling))
}

/// VeRA's matrices, as large as the largest of the adapted modules wants.
fn new_projection<M: Adaptable>(
    config: &AdapterConfig,
    model: &mut M,
    plan: &AdapterPlan,
    device: &Device,
) -> Option<SharedProjection> {
    let AdapterConfig::Vera(config) = config else { return None };
    let mut largest = [0, 0];
    model.sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && plan.adapted.iter().any(|module| module.path == path)
        {
            let [out, inn] = projection.dims();
            largest = [out.max(largest[0]), inn.max(largest[1])];
        }
    });
    Some(SharedProjection::random(config.r(), largest, config.projection_prng_key(), device))
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
fn settle<M: Adaptable>(model: &mut M) {
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
            Site::Norm(_) => {}
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
