//! Attaching adapters to a foreign module, merging them, taking them off.

use std::collections::BTreeMap;

use burn::{
    module::{Module, Param, ParamId, Reparameterizer},
    tensor::{DType, Device, Tensor, TensorData},
};
use burnisher_kernels::all_finite;

use super::{
    config,
    lora::{ModuleLora, with_active},
    survey::{LayerKind, Survey},
    whole::{Copies, Whole},
};
use crate::{AdaptedModule, AdapterPlan, AttachReport, InitLoraWeights, LoraConfig, LoraError, init};

/// Attaches a new LoRA adapter to any Burn module: every parameter is frozen, and the `nn::Linear` and `nn::Embedding`
/// layers that `config` chooses get trainable factors. The module's type and code stay as they are.
///
/// `target_modules` follows the rules of [`attach`](crate::attach) over the paths of the module's fields
/// (`encoder.layers.0.query`; a list counts from 0, an enum adds its variant). `all-linear` is every `nn::Linear`; an
/// embedding is adapted when it is named. Burn tells layers by their type's name: a type of one's own that is called
/// `Linear` and has the same fields is taken for Burn's.
///
/// The module's own `forward` then multiplies by `W + s·Aᵀ·Bᵀ`, formed at every call; gradients reach `A` and `B` only.
/// [`lora_forward`](crate::lora_forward) does without the sum. What `modules_to_save` and `bias` name is trained in a
/// copy that stands in for the frozen original. Dropout layers and running statistics of the module
/// behave as before. `seed` and the layer's path determine the initial factors, in f32 on the weight's device; PEFT's
/// start for an embedding is `A = 0`, `B ~ N(0, 1)`. Load the base weights before, not after.
///
/// ```
/// use burn::{module::Module, nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
/// use burnisher_lora::{LoraConfig, TargetModules, attach_to_module};
///
/// #[derive(Module, Debug)]
/// struct Theirs { up: Linear, down: Linear }
///
/// let device = Device::flex().autodiff();
/// let up = LinearConfig::new(8, 16).init(&device);
/// let theirs = Theirs { up, down: LinearConfig::new(16, 8).init(&device) };
/// let config = LoraConfig::new(2).with_target_modules(TargetModules::suffixes(["down"]));
/// let (adapted, report) = attach_to_module(&config, theirs, 7)?;
/// assert_eq!(report.trainable, 2 * (16 + 8));
/// let y = adapted.down.forward(adapted.up.forward(Tensor::<2>::ones([1, 8], &device)));
/// assert!(adapted.up.weight.base().grad(&y.sum().backward()).is_none());
/// # Ok::<(), burnisher_lora::LoraError>(())
/// ```
///
/// # Errors
/// [`LoraError::Unsupported`] with every field that cannot be honoured here (`lora_dropout`, ...);
/// [`LoraError::NoTarget`] for a target that matches nothing, with the layers there are; [`LoraError::NotALayer`] for
/// one that is neither `nn::Linear` nor `nn::Embedding`, and for a module to save that is neither of them nor a
/// normalisation without running statistics; [`LoraError::HasAdapter`] and
/// [`LoraError::Reparameterized`] for a module that carries an adapter already, this crate's or another.
pub fn attach_to_module<M: Module>(
    config: &LoraConfig,
    module: M,
    seed: u64,
) -> Result<(M, AttachReport), LoraError> {
    config::check(config, true)?;
    let survey = Survey::of(&module);
    survey.check_plain()?;
    let plan = survey.plan(config)?;
    let init = config.init_lora_weights();
    let copies = survey.whole(&plan).into_iter().map(|whole| (whole, None)).collect();
    Ok(install(module, &survey, plan, copies, true, &mut |module, kind, [inn, out]| {
        fresh_factors(init, kind, seed, &module.path, module.r, [inn, out])
    }))
}

/// Takes the adapters and the trained copies off: the base model with its original weights, bit for bit. Every parameter stays frozen, as
/// attaching left it; `set_require_grad(true)` trains the model whole.
///
/// # Errors
/// [`LoraError::Reparameterized`] if something else hangs on a parameter, which would be lost.
pub fn detach_module<M: Module>(module: M) -> Result<M, LoraError> {
    Survey::of(&module).check_own()?;
    Ok(with_active(false, || module.materialize()))
}

/// Merges the adapters into the weights and drops them, and puts trained copies in their places: a plain model with `W + s·Aᵀ·Bᵀ`, computed in f32 and rounded
/// once, for export or use without this crate. A weight quantized by Burn becomes dense. Every parameter stays frozen.
///
/// # Errors
/// [`LoraError::NonFinite`] with every layer whose merged weight is not finite; [`LoraError::Reparameterized`] if
/// something else hangs on a parameter.
pub fn merge_module<M: Module>(module: M) -> Result<M, LoraError> {
    let adapted = Survey::of(&module);
    adapted.check_own()?;
    let merged = with_active(true, || module.materialize());
    let after = Survey::of(&merged);
    let is_finite = |path: &str| after.layer(path).is_none_or(|(_, weight)| all_finite(weight));
    let broken: Vec<&str> =
        adapted.factors.keys().map(String::as_str).filter(|path| !is_finite(path)).collect();
    if broken.is_empty() { Ok(merged) } else { Err(LoraError::NonFinite { module: broken.join(", ") }) }
}

/// Freezes the module and adds the factors that `make` gives for each planned layer, `A` and `B` row-major, and the
/// copies that are trained whole, with these values or those there are.
pub(super) fn install<M: Module>(
    module: M,
    survey: &Survey,
    plan: AdapterPlan,
    copies: Vec<(Whole, Option<Vec<f32>>)>,
    is_trainable: bool,
    make: &mut dyn FnMut(&AdaptedModule, LayerKind, [usize; 2]) -> (Vec<f32>, Vec<f32>),
) -> (M, AttachReport) {
    let mut adapters = BTreeMap::new();
    for adapted in &plan.adapted {
        if let Some((kind, weight)) = survey.layer(&adapted.path) {
            let [inn, out] = weight.dims();
            let (a, b) = make(adapted, kind, [inn, out]);
            let a = TensorData::new(a, [adapted.r, inn]);
            let b = TensorData::new(b, [out, adapted.r]);
            adapters.insert(format!("{}.weight", adapted.path), (a, b, adapted.scaling));
        }
    }
    let before = module.num_params();
    let values = copies.into_iter().map(|(whole, values)| {
        let data = values.map(|values| TensorData::new(values, whole.shape.clone()));
        (whole.path, data)
    });
    let values = values.collect();
    let module = module
        .apply_reparameterization(Installer { adapters, is_trainable })
        .apply_reparameterization(Copies { values, is_trainable });
    let AdapterPlan { adapted, saved, biases, .. } = plan;
    let total = module.num_params();
    let trainable = if is_trainable { total - before } else { 0 };
    (module, AttachReport { adapted, saved, biases, trainable, total })
}

/// Adapters by the path of the weight they belong to.
struct Installer {
    adapters: BTreeMap<String, (TensorData, TensorData, f64)>,
    is_trainable: bool,
}

impl Installer {
    fn param(&self, data: TensorData, device: &Device) -> Param<Tensor<2>> {
        let value = Tensor::from_data(data, (device, DType::F32));
        if self.is_trainable { Param::from_tensor(value) } else { Param::initialized(ParamId::new(), value) }
    }
}

impl Reparameterizer for Installer {
    type Reparam = ModuleLora;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<ModuleLora>) {
        let adapter = self.adapters.remove(path).map(|(a, b, scaling)| {
            let device = param.lazy_device();
            ModuleLora::new(self.param(a, &device), self.param(b, &device), scaling)
        });
        (param.set_require_grad(false), adapter)
    }
}

/// `A [r, in]` and `B [out, r]`, row-major. For an embedding peft 0.21 (src/peft/tuners/lora/layer.py
/// `reset_lora_parameters`) starts with `A = 0` and `B ~ N(0, 1)`, whatever the distribution asked for; without
/// initialisation both are normal.
fn fresh_factors(
    init: InitLoraWeights,
    kind: LayerKind,
    seed: u64,
    path: &str,
    r: usize,
    [inn, out]: [usize; 2],
) -> (Vec<f32>, Vec<f32>) {
    if kind == LayerKind::Linear {
        return init::factors(init, seed, path, r, inn, out);
    }
    // The Gaussian start of a rank of 1 has the standard deviation 1.
    let normal = |factor: &str, count: usize| {
        let stream = format!("{path}.{factor}");
        init::factors(InitLoraWeights::Gaussian, seed, &stream, 1, count, 0).0
    };
    let a = match init {
        InitLoraWeights::Random => normal("lora_embedding_A", r * inn),
        _ => vec![0.0; r * inn],
    };
    (a, normal("lora_embedding_B", out * r))
}
