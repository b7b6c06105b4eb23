//! Speed and memory of training steps of a 110M-parameter Llama (hidden 768, 12 layers, vocabulary 32,000) with random
//! weights: forward, loss, backward, clipping, AdamW. Prints one JSON object; sizes are MiB.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench train_step
//! cargo bench -p burnisher-benches --bench train_step -- --dtype bf16 --qlora --targets all-linear --threads 2
//! cargo bench -p burnisher-benches --bench train_step -- --help
//! ```
//!
//! `peak_mb` is the most that the process ever held. A model that is not in f32 is made from one that is
//! (`model_peak_mb`); `train_peak_mb` and `growth_mb` count from the ready model on.

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
