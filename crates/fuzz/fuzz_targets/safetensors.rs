//! safetensors: header and checkpoint of one file.
//!
//! What was opened is also a file for the safetensors crate, has as many bytes as shapes say, and written again reads
//! equal.
#![no_main]

use std::sync::LazyLock;

use burnisher_fuzz::Scratch;
use burnisher_models::{Checkpoint, TensorEntry, write_safetensors};
use libfuzzer_sys::fuzz_target;

static SCRATCH: LazyLock<[Scratch; 2]> =
    LazyLock::new(|| [Scratch::new("safetensors"), Scratch::new("safetensors-written")]);

fuzz_target!(|data: &[u8]| {
    let [read, written] = &*SCRATCH;
    read.write("model.safetensors", data);
    let checkpoint = match Checkpoint::open(read.dir()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    if let Err(error) = ::safetensors::SafeTensors::deserialize(data) {
        panic!("the safetensors crate refuses the file: {error}");
    }
    checkpoint.fingerprint();
    let tensors: Vec<(String, TensorEntry)> =
        checkpoint.names().map(|name| (name.to_owned(), checkpoint.tensor(name).unwrap())).collect();
    for (name, tensor) in &tensors {
        let count: usize = tensor.shape.iter().product();
        assert_eq!(tensor.bytes.len(), count * tensor.dtype.size(), "{name}");
        assert!(tensor.to_f32().is_none_or(|values| values.len() == count), "{name}");
        assert_eq!(checkpoint.check_finite(name).is_ok(), tensor.first_non_finite().is_none(), "{name}");
    }
    let _ = checkpoint.check(&[], |_| false);
    let path = written.dir().join("model.safetensors");
    write_safetensors(&path, &tensors, checkpoint.metadata()).unwrap();
    let again = Checkpoint::open(written.dir()).unwrap();
    assert_eq!(again.metadata(), checkpoint.metadata());
    assert_eq!(again.fingerprint(), checkpoint.fingerprint());
    assert!(tensors.iter().all(|(name, tensor)| again.tensor(name).as_ref() == Some(tensor)));
});
