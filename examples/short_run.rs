//! A short adapter, for examples that need one and are given none.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use burnisher::train::{Progress, RunConfig, run};

use crate::assets::{self, BASE};

/// Trains an adapter of the embedded base model on the finance task, `steps` optimizer steps of 8 examples without
/// validation, and gives its PEFT directory.
///
/// # Errors
/// Whatever the run reports.
pub fn train_adapter(out: &Path, steps: u64, device: &Device) -> Result<PathBuf, Box<dyn Error>> {
    let mut config = RunConfig::new(BASE, assets::finance("train"), out);
    for field in ["lora.r=16", "lora.lora_alpha=32", "lora.target_modules=all-linear", "train.batch_size=8"] {
        config.set(field)?;
    }
    config.data.validation_fraction = 0.0;
    config.train.max_steps = Some(steps);
    config.train.learning_rate = 2e-3;
    Ok(run(&config, device, vec![Box::new(Progress::stderr())], &mut |line| println!("{line}"))?.saved)
}
