//! The options of the training benches: the model's shape, how it is stored, what is trained, how long.
//!
//! The defaults are a 110M-parameter Llama, the shape of the comparison with other programs (`compare_peers.py`).

use std::error::Error;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Targets {
    /// LoRA on the query and value projections.
    Qv,
    /// LoRA on every projection inside the blocks.
    AllLinear,
    /// Every parameter, without an adapter.
    Full,
}

/// The dtype of dense weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// bfloat16; adapters stay in f32.
    Bf16,
}

/// Which activations are computed again in the backward pass instead of being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Checkpointing {
    /// None.
    None,
    /// All inside a block.
    Block,
    /// All inside a block but attention's.
    BlockAttention,
}

/// The model and the steps of a training bench.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Width of the residual stream.
    #[arg(long, default_value_t = 768, value_parser = positive)]
    pub hidden: usize,
    /// Decoder layers.
    #[arg(long, default_value_t = 12, value_parser = positive)]
    pub layers: usize,
    /// Query heads.
    #[arg(long, default_value_t = 12, value_parser = positive)]
    pub heads: usize,
    /// Key and value heads.
    #[arg(long, default_value_t = 12, value_parser = positive)]
    pub kv_heads: usize,
    /// Width inside the gated MLP.
    #[arg(long, default_value_t = 2048, value_parser = positive)]
    pub intermediate: usize,
    /// Rows of the embedding, which is the head too.
    #[arg(long, default_value_t = 32_000, value_parser = positive)]
    pub vocab: usize,
    /// Tokens of a row.
    #[arg(long, default_value_t = 256, value_parser = positive)]
    pub seq: usize,
    /// Rows of a step.
    #[arg(long, default_value_t = 4, value_parser = positive)]
    pub batch: usize,
    /// Rank of the adapter.
    #[arg(long, default_value_t = 8, value_parser = positive)]
    pub r: usize,
    /// Numerator of the adapter's scale.
    #[arg(long, default_value_t = 16.0)]
    pub alpha: f64,
    /// Learning rate, the same in every step.
    #[arg(long = "lr", default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// What is trained.
    #[arg(long, value_enum, default_value = "qv")]
    pub targets: Targets,
    /// Dtype of dense weights and activations.
    #[arg(long, value_enum, default_value = "f32")]
    pub dtype: Dtype,
    /// Activations that are computed again in the backward pass.
    #[arg(long, value_enum, default_value = "none")]
    pub grad_ckpt: Checkpointing,
    /// The blocks' projections in NF4 with double quantization.
    #[arg(long)]
    pub qlora: bool,
    /// Timed steps.
    #[arg(long, default_value_t = 10, value_parser = positive)]
    pub steps: usize,
    /// Steps before them, which are not timed.
    #[arg(long, default_value_t = 2)]
    pub warmup: usize,
    /// Threads; 0 takes rayon's default, one per CPU.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

impl Options {
    /// Refuses what contradicts itself, before anything large is made.
    ///
    /// # Errors
    /// A text that names the options.
    pub fn check(&self) -> Result<(), Box<dyn Error>> {
        if self.qlora && self.targets == Targets::Full {
            return Err("--qlora with --targets full: weights in 4 bits cannot be trained; wanted qv or \
                        all-linear"
                .into());
        }
        if self.seq < 2 {
            return Err("--seq 1: found no token to predict; wanted at least 2".into());
        }
        Ok(())
    }

    /// Sets the number of threads that the kernels and Burn's Flex backend share, and gives it.
    ///
    /// # Errors
    /// If the pool was made before.
    pub fn set_threads(&self) -> Result<usize, Box<dyn Error>> {
        if self.threads > 0 {
            rayon::ThreadPoolBuilder::new().num_threads(self.threads).build_global()?;
        }
        Ok(rayon::current_num_threads())
    }

    /// Steps in all.
    pub fn all_steps(&self) -> usize {
        self.warmup + self.steps
    }

    /// The options by their names.
    pub fn to_json(&self) -> Value {
        json!({
            "hidden": self.hidden,
            "layers": self.layers,
            "heads": self.heads,
            "kv_heads": self.kv_heads,
            "intermediate": self.intermediate,
            "vocab": self.vocab,
            "seq": self.seq,
            "batch": self.batch,
            "r": self.r,
            "alpha": self.alpha,
            "lr": self.learning_rate,
            "targets": name(self.targets),
            "dtype": name(self.dtype),
            "grad_ckpt": name(self.grad_ckpt),
            "qlora": self.qlora,
            "steps": self.steps,
            "warmup": self.warmup,
        })
    }
}

/// A value as it is written on the command line.
pub(crate) fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("wanted an integer above 0".to_owned()),
        Ok(value) => Ok(value),
    }
}
