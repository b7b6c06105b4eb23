//! Which of five systems to take: the embedded base model as it is, with retrieval, with LoRA, with QLoRA, and with every
//! parameter trained, on the same unseen financial reports. Offline, on the CPU. Started again, it goes on where it was.
//!
//! ```sh
//! cargo run --release --example compare_systems
//! ```

use std::{env, error::Error, path::Path, time::Instant};

use burn::tensor::Device;
use burnisher::train::{CompareConfig, compare};

fn main() -> Result<(), Box<dyn Error>> {
    // The paths in the files count from the root of the workspace.
    env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
    let started = Instant::now();
    let config = CompareConfig::from_file("examples/assets/compare.yaml")?;
    let report = compare(&config, &Device::flex(), &mut |line| eprintln!("{line}"))?;
    println!("{}", report.to_markdown());
    println!(
        "{:.0} s; {}",
        started.elapsed().as_secs_f64(),
        config.output_dir.join("systems.html").display()
    );
    Ok(())
}
