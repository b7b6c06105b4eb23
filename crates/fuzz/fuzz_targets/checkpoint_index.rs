//! model.safetensors.index.json, beside two shards.
#![no_main]

use std::sync::LazyLock;

use burnisher_fuzz::Scratch;
use burnisher_models::{Checkpoint, TensorEntry, write_safetensors};
use libfuzzer_sys::fuzz_target;

const SHARDS: [(&str, &str); 2] =
    [("model-00001-of-00002.safetensors", "a"), ("model-00002-of-00002.safetensors", "b")];

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| {
    let scratch = Scratch::new("checkpoint_index");
    for (file, tensor) in SHARDS {
        let tensors = [(tensor.to_owned(), TensorEntry::from_f32(&[1.0, 2.0], vec![2]))];
        write_safetensors(scratch.dir().join(file), &tensors, &Default::default()).unwrap();
    }
    scratch
});

fuzz_target!(|data: &[u8]| {
    SCRATCH.write("model.safetensors.index.json", data);
    match Checkpoint::open(SCRATCH.dir()) {
        Ok(checkpoint) => {
            let names: Vec<&str> = checkpoint.names().collect();
            assert!(matches!(names[..], ["a"] | ["b"] | ["a", "b"]), "{names:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
