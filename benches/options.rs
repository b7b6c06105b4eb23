//! The options of the training benches: the model's shape, how it is stored, what is trained, where, how long.
//!
//! The defaults are a 110M-parameter Llama, the shape of the comparison with other programs (`compare_peers.py`).

use std::error::Error;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::Backend;

/// A known model's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// 110M parameters.
    #[value(name = "110m")]
    Llama110m,
    /// Llama 3.2 1B.
    #[value(name = "1b")]
    Llama1b,
    /// Llama 2 7B, which has a head of its own.
    #[value(name = "7b")]
    Llama7b,
}

impl Shape {
    fn sizes(self) -> Sizes {
        match self {
            Self::Llama110m => Sizes {
                hidden: 768,
                layers: 12,
                heads: 12,
                kv_heads: 12,
                intermediate: 2048,
                vocab: 32_000,
                is_tied: true,
            },
            Self::Llama1b => Sizes {
                hidden: 2048,
                layers: 16,
                heads: 32,
                kv_heads: 8,
                intermediate: 8192,
                vocab: 128_256,
                is_tied: true,
            },
            Self::Llama7b => Sizes {
                hidden: 4096,
                layers: 32,
                heads: 32,
                kv_heads: 32,
                intermediate: 11_008,
                vocab: 32_000,
                is_tied: false,
            },
        }
    }
}

/// A model's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width inside the gated MLP.
    pub intermediate: usize,
    /// Rows of the embedding and of the head.
    pub vocab: usize,
    /// Whether the head is the embedding.
    pub is_tied: bool,
}

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
    /// Where it is trained.
    #[arg(long, value_enum, default_value = "flex")]
    pub device: Backend,
    /// The sizes that are not given one by one.
    #[arg(long, value_enum, default_value = "110m")]
    pub shape: Shape,
    /// Width of the residual stream.
    #[arg(long, value_parser = positive)]
    pub hidden: Option<usize>,
    /// Decoder layers.
    #[arg(long, value_parser = positive)]
    pub layers: Option<usize>,
    /// Query heads.
    #[arg(long, value_parser = positive)]
    pub heads: Option<usize>,
    /// Key and value heads.
    #[arg(long, value_parser = positive)]
    pub kv_heads: Option<usize>,
    /// Width inside the gated MLP.
    #[arg(long, value_parser = positive)]
    pub intermediate: Option<usize>,
    /// Rows of the embedding and of the head.
    #[arg(long, value_parser = positive)]
    pub vocab: Option<usize>,
    /// A head of its own, in every shape.
    #[arg(long)]
    pub untied: bool,
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
    /// DoRA in the place of LoRA.
    #[arg(long)]
    pub dora: bool,
    /// Timed steps.
    #[arg(long, default_value_t = 10, value_parser = positive)]
    pub steps: usize,
    /// Steps before them, which are not timed.
    #[arg(long, default_value_t = 2)]
    pub warmup: usize,
    /// CPU threads; 0 takes rayon's default, one per CPU.
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
        if self.dora && self.targets == Targets::Full {
            return Err("--dora with --targets full: there is no adapter; wanted qv or all-linear".into());
        }
        if self.seq < 2 {
            return Err("--seq 1: found no token to predict; wanted at least 2".into());
        }
        Ok(())
    }

    /// The model's sizes: the shape's, and in their place those that were given.
    pub fn sizes(&self) -> Sizes {
        let shape = self.shape.sizes();
        Sizes {
            hidden: self.hidden.unwrap_or(shape.hidden),
            layers: self.layers.unwrap_or(shape.layers),
            heads: self.heads.unwrap_or(shape.heads),
            kv_heads: self.kv_heads.unwrap_or(shape.kv_heads),
            intermediate: self.intermediate.unwrap_or(shape.intermediate),
            vocab: self.vocab.unwrap_or(shape.vocab),
            is_tied: shape.is_tied && !self.untied,
        }
    }

    /// Steps in all.
    pub fn all_steps(&self) -> usize {
        self.warmup + self.steps
    }

    /// The options by their names.
    pub fn to_json(&self) -> Value {
        let sizes = self.sizes();
        json!({
            "device": name(self.device),
            "hidden": sizes.hidden,
            "layers": sizes.layers,
            "heads": sizes.heads,
            "kv_heads": sizes.kv_heads,
            "intermediate": sizes.intermediate,
            "vocab": sizes.vocab,
            "tied": sizes.is_tied,
            "seq": self.seq,
            "batch": self.batch,
            "r": self.r,
            "alpha": self.alpha,
            "lr": self.learning_rate,
            "targets": name(self.targets),
            "dtype": name(self.dtype),
            "grad_ckpt": name(self.grad_ckpt),
            "qlora": self.qlora,
            "dora": self.dora,
            "steps": self.steps,
            "warmup": self.warmup,
        })
    }
}

/// Sets the number of threads that the kernels and Burn's Flex backend share, unless `wanted` is 0, and gives it.
///
/// # Errors
/// If the pool was made before.
pub fn set_threads(wanted: usize) -> Result<usize, Box<dyn Error>> {
    if wanted > 0 {
        rayon::ThreadPoolBuilder::new().num_threads(wanted).build_global()?;
    }
    Ok(rayon::current_num_threads())
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn sizes(line: &str) -> Sizes {
        Line::parse_from(["bench"].into_iter().chain(line.split_whitespace())).options.sizes()
    }

    #[test]
    fn sizes_that_are_given_replace_the_shapes() {
        assert_eq!(sizes(""), Shape::Llama110m.sizes());
        assert_eq!(sizes("--shape 7b"), Shape::Llama7b.sizes());
        let want = Sizes { layers: 2, is_tied: false, ..Shape::Llama1b.sizes() };
        assert_eq!(sizes("--shape 1b --layers 2 --untied"), want);
    }
}
