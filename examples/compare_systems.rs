//! Which of five systems to take: the embedded base model as it is, with retrieval, with LoRA, with QLoRA, and with every
//! parameter trained, on the same unseen financial reports. Offline, on the CPU. Started again, it goes on where it was.
//!
//! ```sh
//! cargo run --release --example compare_systems
//! ```

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::tensor::Device;
use burnisher::train::{CompareConfig, ComparedSystem, compare};
use clap::Parser;

/// Five systems on the same examples, and which to take.
#[derive(Parser)]
struct Args {
    /// Optimizer steps of each training; by default those of examples/assets/compare_run.yaml.
    #[arg(long)]
    steps: Option<u64>,
    /// Test examples and general examples; by default those of examples/assets/compare.yaml.
    #[arg(long)]
    examples: Option<usize>,
    /// Where the report and a folder for each system go; by default target/compare.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    // The paths in the files count from the root of the workspace.
    env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
    let started = Instant::now();
    let mut config = CompareConfig::from_file("examples/assets/compare.yaml")?;
    if let Some(steps) = args.steps {
        for system in [ComparedSystem::Lora, ComparedSystem::Qlora, ComparedSystem::Full] {
            config.set.entry(system).or_default().push(format!("train.max_steps={steps}"));
        }
    }
    if let Some(examples) = args.examples {
        (config.examples, config.general_examples) = (Some(examples), Some(examples));
    }
    if let Some(out) = args.out {
        config.output_dir = out;
    }
    let report = compare(&config, &Device::flex(), &mut |line| eprintln!("{line}"))?;
    println!("{}", report.to_markdown());
    println!(
        "{:.0} s; {}",
        started.elapsed().as_secs_f64(),
        config.output_dir.join("systems.html").display()
    );
    Ok(())
}
