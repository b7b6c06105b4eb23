//! Runs QLoRA as a file describes it: `assets/qlora.yaml` names model, data, adapter and training, every field with a
//! comment. Any field can be set on the command line.
//!
//! ```sh
//! cargo run --release --example qlora_from_yaml
//! cargo run --release --example qlora_from_yaml -- --set train.max_steps=20 --set lora.r=8
//! cargo run --release --example qlora_from_yaml -- --resume
//! ```

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use burnisher::train::{JsonLines, Observer, Progress, RunConfig, StopReason, run};
use burnisher_examples::assets::{self, BASE};
use clap::Parser;

/// A QLoRA run from a file to a saved adapter.
#[derive(Parser)]
struct Args {
    /// The run file, TOML or YAML.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/qlora.yaml"))]
    config: PathBuf,
    /// Sets one field; may be repeated.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    overrides: Vec<String>,
    /// Goes on from the newest checkpoint instead of starting over.
    #[arg(long)]
    resume: bool,
}

const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/examples/qlora_from_yaml");

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let out = Path::new(OUT);
    if out.exists() && !args.resume {
        fs::remove_dir_all(out)?;
    }

    // 1. The file. Its paths hold in the workspace's root, these anywhere; what the user sets comes last and wins.
    let data = |name: &str| assets::finance(name).display().to_string();
    let mut overrides = vec![
        format!("model.path={BASE}"),
        format!("data.train={}", data("train")),
        format!("data.validation={}", data("validation")),
        format!("data.test={}", data("test")),
        format!("data.replay={}", assets::replay().display()),
        format!("train.output_dir={OUT}"),
    ];
    overrides.extend(args.overrides);
    let config = RunConfig::from_file_with(&args.config, &overrides)?;
    println!("run file: {}", args.config.display());

    // 2. The run. Its events go to the terminal, and line by line into a file.
    let observers: Vec<Box<dyn Observer>> = vec![
        Box::new(Progress::stderr()),
        Box::new(JsonLines::append(config.train.output_dir.join("metrics.jsonl"))?),
    ];
    let outcome = run(&config, &Device::flex(), observers, &mut |line| println!("{line}"))?;

    // 3. The result: the parameters of the best validated step.
    let training = &outcome.training;
    let ended = match training.reason {
        StopReason::EarlyStopping => "stopped early",
        _ => "finished",
    };
    println!("\n{ended} at step {} after {:.0} s", training.steps, training.seconds);
    if let Some(best) = training.best {
        // Only a run that begins at step 0 validates before it trains.
        let before = training.first_validation.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}"));
        println!(
            "validation loss (nats per token)   before {before}   best {:.4} (step {})",
            best.loss, best.step
        );
    }
    if let Some(adapter) = &outcome.adapter {
        println!("{} adapted projections, {adapter}", adapter.adapted.len());
    }
    println!("adapter: {}", outcome.saved.display());
    Ok(())
}
