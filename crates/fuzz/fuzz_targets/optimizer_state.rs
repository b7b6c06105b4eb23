//! A checkpoint's tensors: trained parameters, and the state of any optimizer. The first byte says which.
#![no_main]

use std::sync::LazyLock;

use burnisher_fuzz::run::Run;
use libfuzzer_sys::fuzz_target;

const OPTIMS: [&str; 7] =
    ["adamw_torch", "adamw_8bit", "lion_32bit", "lion_8bit", "adafactor", "sgd", "paged_adamw_8bit"];

const FILES: [&str; 2] = ["optimizer.safetensors", "parameters.safetensors"];

static RUNS: LazyLock<Vec<Run>> = LazyLock::new(|| {
    let run = |(index, optim): (usize, &&str)| {
        let prefix = |file: &str| {
            let file = FILES.iter().position(|known| *known == file)?;
            Some(vec![(2 * index + file) as u8])
        };
        Run::new(&format!("optimizer_state-{optim}"), optim, prefix)
    };
    OPTIMS.iter().enumerate().map(run).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((which, file)) = data.split_first() else {
        return;
    };
    let which = usize::from(*which);
    RUNS[which / 2 % RUNS.len()].resume(FILES[which % 2], file);
});
