//! adapter_model.safetensors. Tensors that were read are finite, as many as their shapes say, and written read equal.
#![no_main]

use std::sync::LazyLock;

use burnisher_fuzz::Scratch;
use burnisher_lora::{LoraConfig, PeftFiles, TargetModules, obstacles};
use libfuzzer_sys::fuzz_target;

static SCRATCH: LazyLock<[Scratch; 2]> = LazyLock::new(|| {
    let read = Scratch::new("peft_files");
    let config = LoraConfig::new(2).with_target_modules(TargetModules::suffixes(["q_proj"]));
    read.write("adapter_config.json", config.to_json().as_bytes());
    [read, Scratch::new("peft_files-written")]
});

fuzz_target!(|data: &[u8]| {
    let [read, written] = &*SCRATCH;
    read.write("adapter_model.safetensors", data);
    let files = match PeftFiles::read(read.dir()) {
        Ok(files) => files,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for (name, tensor) in &files.tensors {
        assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>(), "{name}");
        assert!(tensor.values.iter().all(|value| value.is_finite()), "{name}");
    }
    let _ = files.check(&Default::default());
    obstacles(&files);
    files.write(written.dir()).unwrap();
    assert_eq!(PeftFiles::read(written.dir()).unwrap(), files);
    if files.write_mlx(written.dir()).is_ok() {
        PeftFiles::read_mlx(written.dir()).unwrap();
    }
});
