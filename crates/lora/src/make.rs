//! New adapters, and what they start with.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    AdaLoraAdapter, Adaptable, AdaptedModule, Adapter, AdapterConfig, AdapterPlan, DoraAdapter,
    EmbeddingAdapter, Ia3Adapter, InitLoraWeights, LoraAdapter, LoraConfig, LoraEmbedding, Projection, Site,
    VeraAdapter, adapter::SharedProjection, attach::matrix, init,
};

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

/// What new adapters of projections are made of.
pub(crate) struct Make<'a> {
    pub(crate) config: &'a AdapterConfig,
    pub(crate) plan: &'a AdapterPlan,
    pub(crate) shared: Option<&'a SharedProjection>,
    pub(crate) start: Start<'a>,
    pub(crate) device: &'a Device,
}

impl Make<'_> {
    pub(crate) fn adapter(&self, module: &AdaptedModule, projection: &Projection) -> Adapter {
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
            AdapterConfig::AdaLora(config) => {
                // Peft 0.21, src/peft/tuners/adalora/layer.py: vectors of a deviation of 0.02, no effect yet.
                let factor = |which: u64, shape: [usize; 2]| match self.start {
                    Start::Fresh { seed, .. } => {
                        let mut generator = init::generator(seed, path, which);
                        matrix(init::normal(&mut generator, shape[0] * shape[1], 0.02), shape, self.device)
                    }
                    Start::Empty => Tensor::zeros(shape, (self.device, DType::F32)),
                };
                let singular = Tensor::zeros([r, 1], (self.device, DType::F32));
                let factors = [factor(0, [r, inn]), singular, factor(1, [out, r])];
                Adapter::AdaLora(AdaLoraAdapter::new(path, factors, module.scaling, config.lora_dropout()))
            }
            AdapterConfig::Ia3(_) => {
                let is_feedforward = self.plan.feedforward.contains(path);
                Adapter::Ia3(Ia3Adapter::new([out, inn], is_feedforward, self.device))
            }
            AdapterConfig::PromptTuning(_) | AdapterConfig::PrefixTuning(_) => {
                unreachable!("virtual tokens adapt no module")
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
pub(crate) fn embedding_adapter(
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
pub(crate) fn new_projection<M: Adaptable>(
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
