//! A model from scratch.

use burn::tensor::{Device, Tensor};
use burnisher_kernels::NormWeight;
use burnisher_lora::Weight;
use burnisher_quant::SourceDtype;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::{
    CausalLm, LoadConfig, ModelConfig, ModelError, Quantize,
    build::{Parts, build},
};

/// Values that one thread makes at a time; even, because they come in pairs.
const CHUNK: usize = 1 << 16;

impl CausalLm {
    /// [`CausalLm::init_with`] in f32, nothing quantized.
    ///
    /// # Errors
    /// None today: the configuration was checked when it was made.
    pub fn init(config: ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        Self::init_with(config, seed, &LoadConfig::new(), device)
    }

    /// A model with random weights: normal with the configuration's `initializer_range` as standard
    /// deviation, divided by `√(2·layers)` for the projections that add to the residual
    /// stream (GPT-2); norms start as the identity, biases at 0. Every tensor has its own stream of
    /// the seed.
    ///
    /// `load` says how they are stored: dense values are the same f32 values rounded to its dtype; a projection that
    /// is quantized to 4 bits is rounded to the source dtype of its [`QuantConfig`](burnisher_quant::QuantConfig) first. One
    /// tensor is made after the other, so there is never more than one in f32 beside what is stored.
    ///
    /// # Errors
    /// [`ModelError::Quant`] for a block size that cannot be used; the configuration was checked when it was made.
    pub fn init_with(
        config: ModelConfig,
        seed: u64,
        load: &LoadConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let load =
            &LoadConfig { quantize: load.quantize.map(Quantize::checked).transpose()?, ..load.clone() };
        let deviation = config.initializer_range() as f32;
        let residual = deviation / (2.0 * config.num_hidden_layers as f32).sqrt();
        let norm = match config.norm_weight {
            NormWeight::Plain => 1.0,
            NormWeight::OnePlus => 0.0,
        };
        let device = device.clone().without_autodiff();
        let load = load.clone();
        build(config, &mut Random { seed, deviation, residual, norm, stream: 0, load, device })
    }
}

struct Random {
    seed: u64,
    deviation: f32,
    residual: f32,
    norm: f32,
    stream: u64,
    load: LoadConfig,
    device: Device,
}

impl Random {
    /// The values of the next matrix.
    fn values(&mut self, name: &str, shape: [usize; 2]) -> Vec<f32> {
        self.stream += 1;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.stream);
        let adds = [".o_proj.weight", ".down_proj.weight"].iter().any(|end| name.ends_with(end));
        let deviation = if adds { self.residual } else { self.deviation };
        normals(&rng, shape[0] * shape[1], deviation)
    }
}

impl Parts for Random {
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, ModelError> {
        let values = self.values(name, shape);
        Ok(self.load.dtype.tensor(values, shape, &self.device))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<1>, ModelError> {
        let value = if name.ends_with(".bias") { 0.0 } else { self.norm };
        Ok(self.load.dtype.tensor(vec![value; length], [length], &self.device))
    }

    fn weight(&mut self, name: &str, shape: [usize; 2]) -> Result<Weight, ModelError> {
        let Some(quantize) = self.load.quantize else {
            return Ok(Weight::frozen(self.matrix(name, shape)?));
        };
        let mut values = self.values(name, shape);
        let source = match quantize {
            Quantize::FourBit(config) => config.source_dtype,
            Quantize::Int8 { .. } => SourceDtype::F32,
        };
        values.par_iter_mut().for_each(|value| *value = source.round(*value));
        Ok(quantize.quantize(&values, shape, source)?.to_weight(&self.device))
    }
}

/// Normal values by the Box–Muller transform, the same on any number of threads. `rng` is at its stream's start.
fn normals(rng: &ChaCha8Rng, count: usize, deviation: f32) -> Vec<f32> {
    let mut values = vec![0.0f32; count];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        let mut rng = rng.clone();
        // A pair of values takes two f64, each of which takes two of the stream's 32-bit words.
        rng.set_word_pos(2 * (chunk * CHUNK) as u128);
        for pair in values.chunks_mut(2) {
            // In (0, 1], so that the logarithm is finite.
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            let angle = std::f64::consts::TAU * rng.random::<f64>();
            let both = [angle.cos(), angle.sin()].map(|part| (radius * part) as f32 * deviation);
            pair.copy_from_slice(&both[..pair.len()]);
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values one after the other, from one generator.
    fn in_order(mut rng: ChaCha8Rng, count: usize, deviation: f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            let angle = std::f64::consts::TAU * rng.random::<f64>();
            values.push((radius * angle.cos()) as f32 * deviation);
            values.push((radius * angle.sin()) as f32 * deviation);
        }
        values.truncate(count);
        values
    }

    #[test]
    fn chunks_continue_one_stream() {
        for count in [0, 1, 2, 33, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 35] {
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            rng.set_stream(5);
            let (got, want) = (normals(&rng, count, 0.02), in_order(rng, count, 0.02));
            assert!(got == want, "{count} values");
        }
    }
}
