//! Speed and memory of training steps of a Llama with random weights: forward, loss, backward, clipping, AdamW. By
//! default 110M parameters (hidden 768, 12 layers, vocabulary 32,000) on the processor. Prints one JSON object; sizes
//! are MiB.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench train_step
//! cargo bench -p burnisher-benches --bench train_step -- --dtype bf16 --qlora --targets all-linear --threads 2
//! cargo bench -p burnisher-benches --features cuda --bench train_step -- --device cuda --shape 7b --dtype bf16
//! cargo bench -p burnisher-benches --bench train_step -- --help
//! ```
//!
//! `peak_mb` is the most that the process ever held, `model_peak_mb` the most until the model was ready: its tensors
//! are made one after the other, each in f32 before it is stored as the options say. `train_peak_mb` and `growth_mb`
//! count from the ready model on. `gpu_peak_mb` is the most that all programs together held on the GPU during training.

use std::process::ExitCode;

use burnisher_benches::{Options, measure, print};
use clap::Parser;

/// Measures training steps.
#[derive(Parser)]
struct Args {
    /// Cargo adds this; it means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    print(measure(&Args::parse().options))
}
