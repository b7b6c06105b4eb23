//! Reference values on disk, and comparison.

#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Tensor;
use burnisher_data::TokenBatch;
use safetensors::{Dtype, SafeTensors};

/// Models whose reference values are committed.
pub(crate) const MODELS: [&str; 6] =
    ["llama2", "llama3", "llama-sharded", "llama-bias-linear", "mistral", "gemma"];

/// Models whose reference values are below `../shared` alone.
pub(crate) const SHARED_MODELS: [&str; 5] = ["gemma2", "gemma3", "qwen2", "qwen3", "phi3"];

/// All of them, but without `../shared` the committed ones.
pub(crate) fn models() -> Vec<&'static str> {
    let shared = fixture_or_shared("models/gemma2").map(|_| SHARED_MODELS);
    MODELS.into_iter().chain(shared.into_iter().flatten()).collect()
}

/// A path of reference values: committed ones, else those below `../shared` where they are there.
pub(crate) fn fixture(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("../models/tests/fixtures").join(path);
    let shared = root.join("../../../shared/fixtures/models").join(path);
    if !committed.exists() && shared.exists() { shared } else { committed }
}

/// A committed reference value, or the same below `../shared`; `None`, with a message, where neither is.
pub(crate) fn fixture_or_shared(path: &str) -> Option<PathBuf> {
    let found = fixture(path);
    if found.exists() {
        return Some(found);
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if !shared.exists() {
        assert!(std::env::var_os("CI").is_none(), "no ../shared in CI");
        println!("skipped: no ../shared");
        return None;
    }
    Some(shared.join("fixtures/models").join(path))
}

pub(crate) fn json(path: impl AsRef<Path>) -> serde_json::Value {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tensors of a safetensors file, by name.
pub(crate) struct Tensors(BTreeMap<String, (Vec<usize>, Values)>);

enum Values {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Tensors {
    pub(crate) fn read(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).expect("a reference file is valid");
        let tensors = file.tensors().into_iter().filter_map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F32 => Values::Float(
                    view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
                ),
                Dtype::I64 => Values::Int(
                    view.data().as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
                ),
                _ => return None,
            };
            Some((name, (view.shape().to_vec(), values)))
        });
        Self(tensors.collect())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn shape(&self, name: &str) -> &[usize] {
        &self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}")).0
    }

    pub(crate) fn floats(&self, name: &str) -> &[f32] {
        match self.0.get(name) {
            Some((_, Values::Float(values))) => values,
            _ => panic!("no float tensor {name}"),
        }
    }

    pub(crate) fn ints(&self, name: &str) -> &[i64] {
        match self.0.get(name) {
            Some((_, Values::Int(values))) => values,
            _ => panic!("no int tensor {name}"),
        }
    }

    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        self.ints(name).iter().map(|&id| id as u32).collect()
    }
}

/// A batch of one document per row; `mask` is 1 at tokens and 0 at padding, on either side.
pub(crate) fn batch(ids: Vec<u32>, labels: Vec<i64>, mask: &[i64], seq_len: usize) -> TokenBatch {
    let rows = ids.len() / seq_len;
    let positions = mask.chunks(seq_len).flat_map(|row| {
        let mut next = 0;
        row.iter().map(move |&seen| {
            next += seen as u32;
            next.saturating_sub(1)
        })
    });
    TokenBatch {
        rows,
        seq_len,
        labels,
        position_ids: positions.collect(),
        segment_ids: mask.iter().map(|&seen| seen as u32).collect(),
        token_keys: (0..ids.len() as u64).collect(),
        input_ids: ids,
    }
}

pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().without_autodiff().to_data().iter::<f32>().collect()
}

/// Every element within an absolute tolerance.
#[track_caller]
pub(crate) fn assert_near(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let worst = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0f32, f32::max);
    assert!(worst <= tolerance, "{what}: differs by {worst}, allowed {tolerance}");
    assert!(got.iter().all(|value| value.is_finite()), "{what}: not finite");
}

/// Every element within a tolerance relative to the reference's largest magnitude.
#[track_caller]
pub(crate) fn assert_near_max(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    let scale = want.iter().fold(0.0f32, |max, value| max.max(value.abs()));
    assert_near(got, want, tolerance * scale, what);
}

/// A relative tolerance on one number.
#[track_caller]
pub(crate) fn assert_relative(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance * want.abs(), "{what}: got {got}, want {want}");
}
