//! EVA: factors from what the modules see (Paischer et al. 2024, arXiv:2410.07170).

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor};

use crate::{
    Adaptable, AdaptedModule, AdapterConfig, AttachReport, InitLoraWeights, LoraConfig, LoraError, Site,
    TargetModules,
    attach::{install, matrix},
    checked_plan::checked_plan,
    error::Problem,
    init::incremental::IncrementalPca,
    linalg::Matrix,
    make::Start,
    parameters::check_plain,
};

/// Collects the inputs of the modules that get an adapter.
///
/// `A` of a module becomes the leading principal components of its inputs, `B` zero. All modules together keep their
/// ranks' sum, and it is spent where a component explains most of its module's variance, up to
/// [`EvaConfig::rho`](crate::EvaConfig) times a module's rank (peft 0.21, src/peft/tuners/lora/eva.py).
#[derive(Clone, Debug)]
pub struct Eva {
    config: LoraConfig,
    device: Device,
    /// In the model's order.
    modules: Vec<Observed>,
}

#[derive(Clone, Debug)]
struct Observed {
    module: AdaptedModule,
    features: usize,
    pca: IncrementalPca,
    /// Inputs that are too few for an update.
    waiting: Vec<f64>,
}

/// Where EVA starts: an adapter for [`attach_eva`].
#[derive(Clone, Debug, PartialEq)]
pub struct EvaStart {
    config: LoraConfig,
    a: BTreeMap<String, (usize, Vec<f32>)>,
}

impl EvaStart {
    /// The configuration with the ranks that were found, in `rank_pattern` (and `alpha_pattern`). Modules that got
    /// none are no longer targets.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }
}

impl Eva {
    /// For the modules of `model` that `config` chooses; decompositions run on `device`.
    ///
    /// # Errors
    /// As [`attach`](crate::attach); [`LoraError::Config`] if `init_lora_weights` is not EVA.
    pub fn new<M: Adaptable>(config: &LoraConfig, model: &M, device: &Device) -> Result<Self, LoraError> {
        let mut model = model.clone();
        check_plain(&mut model)?;
        let init = config.init_lora_weights();
        if init != InitLoraWeights::Eva {
            return Err(LoraError::config("init_lora_weights", init.shown(), "\"eva\""));
        }
        let plan = checked_plan(&config.into(), &model)?;
        let mut features = BTreeMap::new();
        model.sites(&mut |path, site| {
            if let Site::Projection(projection) | Site::Head(projection) = site {
                features.insert(path.to_owned(), projection.dims()[1]);
            }
        });
        let rho = config.eva_config().rho;
        let modules = plan.adapted.into_iter().filter_map(|module| {
            let features = *features.get(&module.path)?;
            let limit = (module.r as f64 * rho).round_ties_even() as usize;
            Some(Observed {
                features,
                pca: IncrementalPca::new(limit, features),
                module,
                waiting: Vec::new(),
            })
        });
        Ok(Self { config: config.clone(), device: device.clone(), modules: modules.collect() })
    }

    /// The modules whose inputs are wanted, by path, in the model's order.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().map(|observed| observed.module.path.as_str())
    }

    /// Takes in a batch of inputs of the module at `path`: rows `[n, in]`, row-major, without padding. Fewer rows
    /// than components wait for the next batch.
    ///
    /// # Errors
    /// [`LoraError::Init`] for a path that is not wanted, values that fill no whole rows, or numbers that are not
    /// finite.
    pub fn observe(&mut self, path: &str, inputs: &[f32]) -> Result<(), LoraError> {
        let Some(observed) = self.modules.iter_mut().find(|observed| observed.module.path == path) else {
            return Err(misfit(Problem::new(path, "inputs", "those of a module that gets an adapter")));
        };
        if !inputs.len().is_multiple_of(observed.features) {
            let wanted = format!("rows of {}", observed.features);
            return Err(misfit(Problem::new(path, format_args!("{} values", inputs.len()), wanted)));
        }
        if !inputs.iter().all(|value| value.is_finite()) {
            return Err(misfit(Problem::new(path, "inputs that are not finite", "finite ones")));
        }
        observed.waiting.extend(inputs.iter().map(|&value| f64::from(value)));
        if observed.waiting.len() >= observed.pca.limit() * observed.features {
            observed.flush(&self.device);
        }
        Ok(())
    }

    /// Whether another batch would change little: the components that the ranks would take now have settled in every
    /// module, to [`EvaConfig::tau`](crate::EvaConfig).
    pub fn is_settled(&self) -> bool {
        let tau = self.config.eva_config().tau;
        self.modules.iter().zip(self.ranks()).all(|(observed, rank)| observed.pca.is_settled(rank, tau))
    }

    /// The factors and ranks from everything observed.
    ///
    /// # Errors
    /// [`LoraError::Init`] naming every module without inputs.
    pub fn finish(mut self) -> Result<EvaStart, LoraError> {
        for observed in &mut self.modules {
            observed.flush(&self.device);
        }
        let unseen = self.modules.iter().filter(|observed| observed.pca.components().rows == 0);
        let problems: Vec<Problem> =
            unseen.map(|observed| Problem::new(&observed.module.path, "no inputs", "some")).collect();
        if !problems.is_empty() {
            return Err(LoraError::Init { init: InitLoraWeights::Eva.shown(), problems });
        }
        let settings = self.config.eva_config();
        let ranks = self.ranks();
        let mut config = self.config.clone();
        let (mut rank_pattern, mut alpha_pattern) = (Vec::new(), Vec::new());
        let (mut a, mut targets) = (BTreeMap::new(), Vec::new());
        for (observed, rank) in self.modules.iter().zip(ranks) {
            if rank == 0 {
                continue;
            }
            let AdaptedModule { path, r, alpha, .. } = &observed.module;
            let mut rows = observed.pca.components().first_rows(rank);
            if settings.whiten {
                let roots = observed.pca.singular()[..rank].iter().map(|s| 1.0 / s.sqrt());
                rows = rows.scale_rows(&roots.collect::<Vec<f64>>());
            }
            let adjusted =
                if settings.adjust_scaling_factors { alpha * rank as f64 / *r as f64 } else { *alpha };
            if rank != config.r {
                rank_pattern.push((path.clone(), rank));
            }
            if adjusted != config.lora_alpha {
                alpha_pattern.push((path.clone(), adjusted));
            }
            targets.push(path.clone());
            a.insert(path.clone(), (rank, rows.to_f32()));
        }
        if targets.len() < self.modules.len() {
            config.target_modules = Some(TargetModules::Suffixes(targets));
            config.exclude_modules = None;
            (config.layers_to_transform, config.layers_pattern) = (None, None);
        }
        (config.rank_pattern, config.alpha_pattern) = (rank_pattern, alpha_pattern);
        Ok(EvaStart { config, a })
    }

    /// The rank of each module: the components of all modules by falling share of explained variance, as many as
    /// the configured ranks add up to.
    fn ranks(&self) -> Vec<usize> {
        let budget = self.modules.iter().map(|observed| observed.module.r).sum();
        let shares = self.modules.iter().enumerate();
        let shares = shares.flat_map(|(index, observed)| {
            // A direction without any variance would be a factor without any gradient.
            let explained = observed.pca.explained().into_iter().filter(|share| *share > 0.0);
            explained.map(move |share| (index, share)).collect::<Vec<_>>()
        });
        let mut shares: Vec<(usize, f64)> = shares.collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut ranks = vec![0; self.modules.len()];
        shares.iter().take(budget).for_each(|(index, _)| ranks[*index] += 1);
        ranks
    }
}

impl Observed {
    fn flush(&mut self, device: &Device) {
        let values = std::mem::take(&mut self.waiting);
        let batch = Matrix::new(values.len() / self.features, self.features, values);
        self.pca.update(&batch, &self.module.path, device);
    }
}

/// Attaches an adapter that starts from data, as [`attach`](crate::attach) does others.
///
/// # Errors
/// As [`attach`](crate::attach); [`LoraError::Init`] if the model is not the one that was observed.
pub fn attach_eva<M: Adaptable>(
    start: &EvaStart,
    mut model: M,
    device: &Device,
) -> Result<(M, AttachReport), LoraError> {
    check_plain(&mut model)?;
    let config = AdapterConfig::from(&start.config);
    let plan = checked_plan(&config, &model)?;
    let mut features = BTreeMap::new();
    model.sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site {
            features.insert(path.to_owned(), projection.dims()[1]);
        }
    });
    let mut problems = Vec::new();
    for module in &plan.adapted {
        let inn = features.get(&module.path).copied().unwrap_or(0);
        match start.a.get(&module.path) {
            Some((r, values)) if *r == module.r && values.len() == r * inn => {}
            Some((r, values)) => problems.push(Problem::new(
                &module.path,
                format_args!("directions of {} inputs, rank {r}", values.len() / (*r).max(1)),
                format_args!("{inn} inputs, rank {}", module.r),
            )),
            None => problems.push(Problem::new(&module.path, "no directions", "those of its inputs")),
        }
    }
    if !problems.is_empty() {
        return Err(LoraError::Init { init: InitLoraWeights::Eva.shown(), problems });
    }
    let make = |module: &AdaptedModule, [out, inn]: [usize; 2]| {
        let a = start.a.get(&module.path).map(|(_, values)| values.clone()).unwrap_or_default();
        (matrix(a, [module.r, inn], device), Tensor::zeros([out, module.r], (device, DType::F32)))
    };
    Ok(install(&config, model, plan, Start::Fresh { seed: 0, factors: &make }, device))
}

fn misfit(problem: Problem) -> LoraError {
    LoraError::Init { init: InitLoraWeights::Eva.shown(), problems: vec![problem] }
}
