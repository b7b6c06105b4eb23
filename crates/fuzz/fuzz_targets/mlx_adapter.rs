//! Adapters of mlx-lm: adapter_config.json and adapters.safetensors, of which the input has both.
//!
//! What was read is a PEFT adapter that can be written, and written for mlx-lm again reads equal.
#![no_main]

use std::sync::LazyLock;

use burnisher_fuzz::{Scratch, two_files};
use burnisher_lora::PeftFiles;
use libfuzzer_sys::fuzz_target;

static SCRATCH: LazyLock<[Scratch; 2]> =
    LazyLock::new(|| [Scratch::new("mlx_adapter"), Scratch::new("mlx_adapter-written")]);

fuzz_target!(|data: &[u8]| {
    let Some((config, tensors)) = two_files(data) else {
        return;
    };
    let [read, written] = &*SCRATCH;
    read.write("adapter_config.json", config);
    read.write("adapters.safetensors", tensors);
    let files = match PeftFiles::read_mlx(read.dir()) {
        Ok(files) => files,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    files.config.validate().unwrap();
    for (name, tensor) in &files.tensors {
        assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>(), "{name}");
    }
    files.write(written.dir()).unwrap();
    let again = PeftFiles::read(written.dir()).unwrap();
    assert_eq!((again.config.to_json(), &again.tensors), (files.config.to_json(), &files.tensors));
    files.write_mlx(written.dir()).unwrap();
    assert_eq!(PeftFiles::read_mlx(written.dir()).unwrap().tensors, files.tensors);
});
