//! Run files in TOML and YAML, with overrides on lines after 0xFF. The first byte chooses the format.
//!
//! A run that was read, written as JSON, which is YAML, reads equal.
#![no_main]

use std::sync::LazyLock;

use burnisher_fuzz::{Scratch, texts};
use burnisher_train::RunConfig;
use libfuzzer_sys::fuzz_target;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| Scratch::new("run_file"));

fuzz_target!(|data: &[u8]| {
    let Some((format, data)) = data.split_first() else {
        return;
    };
    let Some([file, overrides]) = texts::<2>(data) else {
        return;
    };
    let name = if format & 1 == 0 { "run.toml" } else { "run.yaml" };
    let path = SCRATCH.write(name, file.as_bytes());
    let overrides: Vec<&str> = overrides.lines().collect();
    let run = match RunConfig::from_file_with(path, &overrides) {
        Ok(run) => run,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    run.validate().unwrap();
    // A path of a file in UTF-8 is UTF-8.
    let text = serde_json::to_string(&run).unwrap();
    let again = RunConfig::from_file(SCRATCH.write("written.yaml", text.as_bytes()));
    assert_eq!(again.unwrap_or_else(|error| panic!("{text}\n{error}")), run);
    let mut changed = run.clone();
    for line in overrides {
        let _ = changed.set(line);
    }
});
