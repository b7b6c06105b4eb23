//! GGUF. A file that was read, written and read again, gives the same file.
#![no_main]

use std::sync::LazyLock;

use burnisher_fuzz::Scratch;
use burnisher_models::{GgufFile, GgufValue, write_gguf};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| Scratch::new("gguf"));

fuzz_target!(|data: &[u8]| {
    let file = match GgufFile::from_bytes(Bytes::copy_from_slice(data), "model.gguf") {
        Ok(file) => file,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for tensor in file.tensors() {
        let count: usize = tensor.shape.iter().product();
        assert_eq!(tensor.to_f32().len(), count, "{}", tensor.name);
        assert!(file.tensor(&tensor.name).is_some());
    }
    for (key, _) in file.metadata() {
        assert!(file.get(key).is_some());
    }
    // Tensors would be padded to any power of two.
    let alignment = file.get("general.alignment");
    if alignment.is_some_and(|found| !matches!(found, GgufValue::U32(size) if *size <= 4096)) {
        return;
    }
    let write = |file: &GgufFile| {
        let path = SCRATCH.dir().join("written.gguf");
        write_gguf(&path, file.metadata(), file.tensors()).map(|()| std::fs::read(path).unwrap())
    };
    // Writing is stricter with names.
    if let Ok(first) = write(&file) {
        let again = GgufFile::from_bytes(first.clone().into(), "written.gguf").unwrap();
        assert_eq!(again.tensors(), file.tensors());
        assert_eq!(again.metadata().len(), file.metadata().len());
        // The bytes, since NaN is not equal to itself.
        assert!(write(&again).unwrap() == first);
    }
});
