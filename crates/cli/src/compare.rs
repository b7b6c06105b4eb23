//! `burnisher compare`: several systems on the same examples.

use burnisher::train::{CompareConfig, compare};

use crate::{Outcome, args::CompareArgs, commands::device};

pub(crate) fn run(args: &CompareArgs) -> Outcome {
    let config = CompareConfig::from_file(&args.config)?;
    let report = compare(&config, &device(), &mut |line| eprintln!("{line}"))?;
    println!("{}", report.to_markdown());
    for name in ["systems.md", "systems.json", "systems.html"] {
        println!("wrote {}", config.output_dir.join(name).display());
    }
    Ok(())
}
