//! A training run of a very small model, which goes on from a checkpoint that was tampered with.

use std::env;
use std::fs;
use std::path::PathBuf;

use burn::tensor::Device;
use burnisher_data::{BatchConfig, Batches, Encoded, Packing, pack};
use burnisher_lora::train_all;
use burnisher_models::{CausalLm, LlamaShape, LoadConfig, ModelConfig};
use burnisher_train::{Outcome, TrainConfig, TrainError, Trainer};

use crate::Scratch;

const FILES: [&str; 3] = ["trainer_state.json", "parameters.safetensors", "optimizer.safetensors"];

/// A run of two steps, stopped after the first.
#[derive(Debug)]
pub struct Run {
    scratch: Scratch,
    config: TrainConfig,
    model: CausalLm,
    data: Batches,
}

impl Run {
    /// Makes the checkpoint.
    ///
    /// With `SEED_CORPUS` in the environment its files are put into that directory as seeds, each behind the bytes that
    /// `prefix` has for it.
    pub fn new(name: &str, optim: &str, prefix: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let scratch = Scratch::new(name);
        let shape = LlamaShape {
            vocab_size: 16,
            hidden_size: 8,
            // Its projections have 4096 values, from which on state is in 8 bits.
            intermediate_size: 512,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            ..LlamaShape::default()
        };
        let config = ModelConfig::llama(shape).unwrap();
        let model = CausalLm::init_with(config, 1, &LoadConfig::new(), &Device::flex()).unwrap();
        let documents = (0..4).map(|index| Encoded::new(vec![1, 5, 3, 2], vec![true; 4], index)).collect();
        let mut config = TrainConfig::default();
        config.output_dir = scratch.dir().join("out");
        config.batch_size = 1;
        config.max_steps = Some(2);
        config.save_every = Some(1);
        config.optim = serde_json::from_value(optim.into()).unwrap();
        let data = Batches::new(pack(documents, 8, Packing::None), BatchConfig::new(0));
        let run = Self { scratch, config, model: train_all(model).unwrap(), data };
        run.train().unwrap();
        fs::remove_dir_all(run.checkpoint(2)).unwrap();
        for file in FILES {
            let bytes = fs::read(run.checkpoint(1).join(file)).unwrap();
            run.scratch.write(file, &bytes);
            if let (Ok(corpus), Some(mut seed)) = (env::var("SEED_CORPUS"), prefix(file)) {
                seed.extend(bytes);
                fs::write(PathBuf::from(corpus).join(format!("{name}-{file}")), seed).unwrap();
            }
        }
        run
    }

    /// Goes on with `bytes` in the place of a file of the checkpoint.
    pub fn resume(&self, file: &str, bytes: &[u8]) {
        let dir = self.checkpoint(1);
        fs::create_dir_all(&dir).unwrap();
        for name in FILES {
            if name != file {
                fs::copy(self.scratch.dir().join(name), dir.join(name)).unwrap();
            }
        }
        fs::write(dir.join(file), bytes).unwrap();
        match self.train() {
            Ok(outcome) => assert_eq!(outcome.steps, 2),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        fs::remove_dir_all(&self.config.output_dir).unwrap();
    }

    fn train(&self) -> Result<Outcome<CausalLm>, TrainError> {
        Trainer::new(self.config.clone()).train(self.model.clone(), &self.data, None)
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        burnisher_train::checkpoint_path(&self.config.output_dir, step)
    }
}
