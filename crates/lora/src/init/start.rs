//! Initialisations that change the base weight.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use burnisher_kernels::{EightBitWeight, FourBitWeight};
use burnisher_quant::{Int8Weight, QuantConfig, QuantError};

use crate::{
    Adaptable, AdaptedModule, AdapterConfig, AdapterPlan, InitLoraWeights, LoraConfig, LoraError, Projection,
    Site, Weight,
    error::Problem,
    init::decompose::{Split, loftq, olora, pissa},
    linalg::Matrix,
};

/// The factors that an adapter started with, in f32: `A [r, in]` and `B [out, r]`.
#[derive(Clone, Debug)]
pub(crate) struct InitialFactors {
    pub(crate) a: Tensor<2>,
    pub(crate) b: Tensor<2>,
}

/// Takes the initial factors out of the base weights, which keep the rest, and leaves them with the projections;
/// nothing for initialisations that do not change the base.
///
/// A dense base keeps its dtype. A 4-bit base is restored, changed and quantized again in its own format, by OLoRA
/// only, as PEFT does it.
///
/// # Errors
/// [`LoraError::Init`] listing every module that the initialisation does not fit: a rank above the weight's smaller
/// dimension, 4 bits where a dense weight is wanted, numbers that are not finite. No weight has changed then.
pub(crate) fn start<M: Adaptable>(
    config: &AdapterConfig,
    model: &mut M,
    plan: &AdapterPlan,
    device: &Device,
) -> Result<(), LoraError> {
    // What an adapter that is gone had taken out is no longer of interest.
    model.sites(&mut |_, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site {
            projection.initial = None;
        }
    });
    let Some(config) = config.as_lora().filter(|lora| lora.init_lora_weights().changes_the_base()) else {
        return Ok(());
    };
    let init = config.init_lora_weights();
    let adapted: BTreeMap<&str, &AdaptedModule> =
        plan.adapted.iter().map(|module| (module.path.as_str(), module)).collect();
    let mut problems = Vec::new();
    for_each_adapted(model, &adapted, &mut |module, projection| {
        problems.extend(misfits(init, module, projection));
    });
    if problems.is_empty() {
        for_each_adapted(model, &adapted, &mut |module, projection| {
            if let Err(error) = start_one(config, module, projection, device) {
                problems.push(Problem::new(&module.path, error, "a weight that can be quantized"));
            }
        });
    }
    if problems.is_empty() { Ok(()) } else { Err(LoraError::Init { init: init.shown(), problems }) }
}

impl InitLoraWeights {
    /// Whether the base weight is another one afterwards (PiSSA, OLoRA, LoftQ): such an adapter means nothing beside
    /// the original base.
    pub fn changes_the_base(self) -> bool {
        matches!(self, Self::Pissa | Self::PissaNiter(_) | Self::Olora | Self::Loftq)
    }
}

fn for_each_adapted<M: Adaptable>(
    model: &mut M,
    adapted: &BTreeMap<&str, &AdaptedModule>,
    visit: &mut dyn FnMut(&AdaptedModule, &mut Projection),
) {
    model.sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && let Some(module) = adapted.get(path)
        {
            visit(module, projection);
        }
    });
}

fn misfits(init: InitLoraWeights, module: &AdaptedModule, projection: &Projection) -> Vec<Problem> {
    let mut problems = Vec::new();
    let [out, inn] = projection.dims();
    if module.r > out.min(inn) {
        let wanted = format!("at most {}, the smaller dimension of {out}×{inn}", out.min(inn));
        problems.push(Problem::new(&module.path, format_args!("rank {}", module.r), wanted));
    }
    if module.scaling <= 0.0 && matches!(init, InitLoraWeights::Pissa | InitLoraWeights::PissaNiter(_)) {
        problems.push(Problem::new(&module.path, format_args!("scaling {}", module.scaling), "one above 0"));
    }
    match projection.weight() {
        Weight::Dense(weight) => {
            if !burnisher_kernels::all_finite(&weight.val().without_autodiff()) {
                problems.push(Problem::new(&module.path, "numbers that are not finite", "finite ones"));
            }
        }
        Weight::FourBit(_) | Weight::EightBit(_) if init != InitLoraWeights::Olora => {
            let wanted =
                "a dense one: load the base unquantized, and quantize what the initialisation leaves";
            problems.push(Problem::new(&module.path, "a quantized weight", wanted));
        }
        Weight::FourBit(_) | Weight::EightBit(_) => {}
    }
    problems
}

fn start_one(
    config: &LoraConfig,
    module: &AdaptedModule,
    projection: &mut Projection,
    device: &Device,
) -> Result<(), QuantError> {
    let [out, inn] = projection.dims();
    let AdaptedModule { path, r, scaling, .. } = module;
    let original = Matrix::from_f32(out, inn, &original_values(projection)?);
    let split = match config.init_lora_weights() {
        InitLoraWeights::PissaNiter(iterations) => {
            pissa(&original, *r, *scaling, Some(iterations), path, device)
        }
        InitLoraWeights::Olora => olora(&original, *r, *scaling, device),
        InitLoraWeights::Loftq => loftq(&original, *r, config.loftq_config(), device)?,
        _ => pissa(&original, *r, *scaling, None, path, device),
    };
    let Split { a, b, base } = split;
    let place = projection.device();
    let matrix = |values: Vec<f32>, shape: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values, shape), (&place, DType::F32))
    };
    let weight = match &projection.weight {
        Weight::Dense(weight) => {
            let dtype = FloatDType::from(weight.val().dtype());
            Weight::frozen(matrix(base, [out, inn]).cast(dtype))
        }
        Weight::FourBit(weight) => {
            let state = weight.to_state()?;
            let nested = matches!(state.absmax(), burnisher_quant::Absmax::Nested { .. });
            let format = QuantConfig::new(state.quant_type())
                .with_block_size(state.block_size())
                .with_double_quant(nested)
                .with_source_dtype(state.source_dtype());
            Weight::FourBit(FourBitWeight::from_state(&format.quantize(&base, [out, inn])?, &place))
        }
        Weight::EightBit(weight) => {
            let again = EightBitWeight::from_int8(&Int8Weight::quantize(&base, [out, inn])?, &place);
            Weight::EightBit(again.with_threshold(weight.threshold()))
        }
    };
    projection.weight = weight;
    projection.initial = Some(InitialFactors { a: matrix(a, [*r, inn]), b: matrix(b, [out, *r]) });
    Ok(())
}

/// The values as bitsandbytes restores them: in the dtype they were quantized from.
fn original_values(projection: &Projection) -> Result<Vec<f32>, QuantError> {
    match &projection.weight {
        Weight::Dense(weight) => {
            let values = weight.val().without_autodiff().cast(FloatDType::F32);
            Ok(values.to_data().iter::<f32>().collect())
        }
        Weight::FourBit(weight) => {
            let state = weight.to_state()?;
            let dtype = state.source_dtype();
            Ok(state.dequantize().into_iter().map(|value| dtype.round(value)).collect())
        }
        Weight::EightBit(weight) => Ok(weight.to_int8()?.dequantize()),
    }
}
