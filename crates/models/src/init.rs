//! A model from scratch.

use burn::tensor::{Device, Tensor, TensorData};
use burnisher_kernels::NormWeight;
use burnisher_lora::Weight;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    CausalLm, ModelConfig, ModelError,
    build::{Parts, build},
};

impl CausalLm {
    /// A model with random weights in f32: normal with the configuration's `initializer_range` as standard
    /// deviation, divided by `√(2·layers)` for the projections that add to the residual
    /// stream (GPT-2); norms start as the identity, biases at 0. Every tensor has its own stream of
    /// the seed.
    ///
    /// # Errors
    /// None today: the configuration was checked when it was made.
    pub fn init(config: ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        let deviation = config.initializer_range() as f32;
        let residual = deviation / (2.0 * config.num_hidden_layers as f32).sqrt();
        let norm = match config.norm_weight {
            NormWeight::Plain => 1.0,
            NormWeight::OnePlus => 0.0,
        };
        let device = device.clone().without_autodiff();
        build(config, &mut Random { seed, deviation, residual, norm, stream: 0, device })
    }
}

struct Random {
    seed: u64,
    deviation: f32,
    residual: f32,
    norm: f32,
    stream: u64,
    device: Device,
}

impl Parts for Random {
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, ModelError> {
        self.stream += 1;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.stream);
        let adds = [".o_proj.weight", ".down_proj.weight"].iter().any(|end| name.ends_with(end));
        let deviation = if adds { self.residual } else { self.deviation };
        let values = normals(&mut rng, shape[0] * shape[1], deviation);
        Ok(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<1>, ModelError> {
        let value = if name.ends_with(".bias") { 0.0 } else { self.norm };
        Ok(Tensor::from_data(TensorData::new(vec![value; length], [length]), &self.device))
    }

    fn weight(&mut self, name: &str, shape: [usize; 2]) -> Result<Weight, ModelError> {
        Ok(Weight::frozen(self.matrix(name, shape)?))
    }
}

/// Normal values by the Box–Muller transform.
fn normals(rng: &mut ChaCha8Rng, count: usize, deviation: f32) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // In (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        values.push((radius * angle.cos()) as f32 * deviation);
        values.push((radius * angle.sin()) as f32 * deviation);
    }
    values.truncate(count);
    values
}
