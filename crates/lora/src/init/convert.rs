//! Adapters that changed their base, as plain LoRA adapters of the original base.

use std::{collections::BTreeMap, path::Path};

use crate::{
    Adaptable, AdapterTensor, InitLoraWeights, LoraConfig, LoraError, PeftFiles, Projection, Site,
    attach::peft_files, checked_plan::checked_plan, error::Problem, fingerprint, peft::keys,
};

const PLAIN: &str = "a plain LoRA adapter";

impl PeftFiles {
    /// This adapter as a plain LoRA adapter of the original base, given the one it started as:
    /// `A' = [A; A₀]`, `B' = [B, -B₀]`, twice the rank and the same scaling.
    ///
    /// With the base `W - s·B₀·A₀` that PiSSA and OLoRA leave, `W - s·B₀·A₀ + s·B·A = W + s·B'·A'`. The same tensors
    /// and fields as `save_pretrained` of peft 0.21 with `path_initial_model_for_weight_conversion`.
    ///
    /// # Errors
    /// [`LoraError::Convert`] with everything in the way: LoftQ (its base was quantized, not only reduced),
    /// rank-stabilised scaling with patterns (no patterns express the doubled ranks), other tensors than factors,
    /// and initial factors that are missing or of another shape.
    pub fn converted(&self, initial: &Self) -> Result<Self, LoraError> {
        let config = doubled(self.config.lora()?)?.into();
        let mut problems = Vec::new();
        let mut tensors = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            let is_a = name.ends_with(".lora_A.weight");
            if !is_a && !name.ends_with(".lora_B.weight") {
                problems.push(Problem::new(name, "a tensor beside the factors", "factors only"));
                continue;
            }
            match initial.tensors.get(name) {
                Some(first) if first.shape == tensor.shape && first.shape.len() == 2 => {
                    tensors.insert(
                        name.clone(),
                        if is_a { below(tensor, first) } else { beside(tensor, first) },
                    );
                }
                Some(first) => problems.push(Problem::new(
                    format_args!("initial {name}"),
                    format_args!("shape {:?}", first.shape),
                    format_args!("{:?}", tensor.shape),
                )),
                None => problems.push(Problem::new(format_args!("initial {name}"), "nothing", "a tensor")),
            }
        }
        if problems.is_empty() {
            Ok(Self { config, tensors })
        } else {
            Err(LoraError::Convert { wanted: PLAIN.into(), problems })
        }
    }
}

/// The adapter as it was attached, for the initialisations that change the base: what PEFT users save
/// before training, to convert afterwards.
///
/// # Errors
/// [`LoraError::NoAdapter`] for modules that `config` chooses and whose initial factors are not known: the adapter
/// was not attached or loaded with such an initialisation. What [`save_peft`](crate::save_peft) reports.
pub fn initial_adapter<M: Adaptable>(model: &M, config: &LoraConfig) -> Result<PeftFiles, LoraError> {
    let mut files = peft_files(model, &config.into())?;
    let mut unknown = Vec::new();
    for_each_adapter(model, &mut |path, projection| {
        let Some(initial) = &projection.initial else { return unknown.push(path.to_owned()) };
        for (factor, part) in [(&initial.a, "lora_A"), (&initial.b, "lora_B")] {
            let values = factor.to_data().iter::<f32>().collect();
            let key = keys::parameter(&format!("{path}.{part}.weight"));
            if let Some(tensor) = files.tensors.get_mut(&key) {
                *tensor = AdapterTensor::new(factor.dims(), values);
            }
        }
    });
    // PEFT names no initialisation here, so that nothing changes the base again.
    files.config = files.config.lora()?.clone().with_init_lora_weights(InitLoraWeights::Kaiming).into();
    if unknown.is_empty() { Ok(files) } else { Err(LoraError::NoAdapter { modules: unknown }) }
}

/// Saves an adapter that was started by PiSSA or OLoRA as a plain LoRA adapter of twice the rank, which works on
/// the original base; see [`PeftFiles::converted`].
///
/// [`save_peft`](crate::save_peft) writes such an adapter as it is. Its files then name the initialisation, and
/// whoever loads them has to apply it to the base first, as PEFT and [`load_peft`](crate::load_peft) do.
///
/// # Errors
/// [`LoraError::Convert`]: as [`PeftFiles::converted`], and for a base in 4 bits, which was quantized again and
/// differs from the original by more than the factors. What [`initial_adapter`] reports; errors of files.
pub fn save_peft_converted<M: Adaptable>(
    model: &M,
    config: &LoraConfig,
    dir: impl AsRef<Path>,
) -> Result<(), LoraError> {
    doubled(config)?;
    let mut problems = Vec::new();
    for_each_adapter(model, &mut |path, projection| {
        if projection.weight.is_quantized() {
            problems.push(Problem::new(path, "a base that was quantized again", "a dense base"));
        }
    });
    if !problems.is_empty() {
        return Err(LoraError::Convert { wanted: PLAIN.into(), problems });
    }
    let initial = initial_adapter(model, config)?;
    let (config, dir) = (config.into(), dir.as_ref());
    peft_files(model, &config)?.converted(&initial)?.write(dir)?;
    // Norms and embedding are those of the original base.
    fingerprint::write(dir, &fingerprint::of(model, &checked_plan(&config, model)?))
}

fn for_each_adapter<M: Adaptable>(model: &M, visit: &mut dyn FnMut(&str, &Projection)) {
    model.clone().sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && projection.adapter.is_some()
        {
            visit(path, projection);
        }
    });
}

/// The configuration with every rank doubled and every scaling kept.
fn doubled(config: &LoraConfig) -> Result<LoraConfig, LoraError> {
    let mut problems = Vec::new();
    if config.init_lora_weights == InitLoraWeights::Loftq {
        let found = "\"loftq\", which quantizes the base";
        problems.push(Problem::new("init_lora_weights", found, "\"pissa\", \"pissa_niter_N\" or \"olora\""));
    }
    if config.use_rslora && !(config.rank_pattern.is_empty() && config.alpha_pattern.is_empty()) {
        let found = "true, with rank_pattern or alpha_pattern";
        problems.push(Problem::new("use_rslora", found, "false, or no patterns"));
    }
    if !problems.is_empty() {
        return Err(LoraError::Convert { wanted: PLAIN.into(), problems });
    }
    let mut config = config.clone();
    config.r *= 2;
    config.lora_alpha *= if config.use_rslora { std::f64::consts::SQRT_2 } else { 2.0 };
    config.rank_pattern.iter_mut().for_each(|(_, r)| *r *= 2);
    config.alpha_pattern.iter_mut().for_each(|(_, alpha)| *alpha *= 2.0);
    config.init_lora_weights = InitLoraWeights::Kaiming;
    Ok(config)
}

/// `[A; A₀]`.
fn below(a: &AdapterTensor, initial: &AdapterTensor) -> AdapterTensor {
    let values = a.values.iter().chain(&initial.values).copied().collect();
    AdapterTensor::new([2 * a.shape[0], a.shape[1]], values).with_dtype(a.dtype)
}

/// `[B, -B₀]`.
fn beside(b: &AdapterTensor, initial: &AdapterTensor) -> AdapterTensor {
    let r = b.shape[1].max(1);
    let rows = b.values.chunks(r).zip(initial.values.chunks(r));
    let values = rows.flat_map(|(row, first)| row.iter().copied().chain(first.iter().map(|value| -value)));
    AdapterTensor::new([b.shape[0], 2 * b.shape[1]], values.collect()).with_dtype(b.dtype)
}
