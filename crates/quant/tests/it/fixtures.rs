//! Where the reference values lie, and how their tensors are read.

use std::fs;
use std::path::{Path, PathBuf};

use burnisher_quant::{RawDtype, RawTensor, SourceDtype};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

/// Runs `check` on a safetensors file, unless it is absent; see [`fixture`].
pub(crate) fn with_fixture(path: &str, check: impl FnOnce(&SafeTensors<'_>)) {
    let Some(path) = fixture(path) else { return };
    let data = read(&path);
    check(&SafeTensors::deserialize(&data).expect("a safetensors file"));
}

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn committed(path: &str) -> PathBuf {
    workspace("crates/models/tests/fixtures").join(path)
}

/// The committed copy of a fixture, or else the one in ../shared.
pub(crate) fn fixture(path: &str) -> Option<PathBuf> {
    let copy = committed(path);
    if copy.exists() { Some(copy) } else { shared(path) }
}

/// A fixture in ../shared; without that folder the test is skipped, but never in CI.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = workspace("../shared");
    if root.is_dir() {
        return Some(root.join("fixtures/models").join(path));
    }
    assert!(std::env::var_os("CI").is_none(), "CI needs ../shared");
    println!("skipped: no ../shared");
    None
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn has(file: &SafeTensors<'_>, name: &str) -> bool {
    file.tensor(name).is_ok()
}

pub(crate) fn bytes(file: &SafeTensors<'_>, name: &str) -> Vec<u8> {
    let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(view.dtype(), Dtype::U8, "{name}");
    view.data().to_vec()
}

/// The values of a floating-point tensor, widened to f32, and its dtype.
pub(crate) fn floats(file: &SafeTensors<'_>, name: &str) -> (Vec<f32>, SourceDtype) {
    let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => {
            let values = data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            (values.collect(), SourceDtype::F32)
        }
        Dtype::BF16 => {
            let values = data.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32());
            (values.collect(), SourceDtype::Bf16)
        }
        Dtype::F16 => {
            let values = data.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32());
            (values.collect(), SourceDtype::F16)
        }
        other => panic!("{name} has dtype {other:?}"),
    }
}

pub(crate) fn raw(file: &SafeTensors<'_>, name: &str) -> Option<RawTensor> {
    let view = file.tensor(name).ok()?;
    let dtype = match view.dtype() {
        Dtype::U8 => RawDtype::U8,
        Dtype::F16 => RawDtype::F16,
        Dtype::BF16 => RawDtype::Bf16,
        Dtype::F32 => RawDtype::F32,
        Dtype::I8 => RawDtype::I8,
        other => panic!("{name} has dtype {other:?}"),
    };
    Some(RawTensor { dtype, shape: view.shape().to_vec(), data: view.data().to_vec() })
}
