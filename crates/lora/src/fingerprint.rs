//! Which base an adapter was trained on, told by numbers that survive a change of dtype and quantization.

use std::{collections::BTreeMap, fs, io, path::Path};

use burn::tensor::{FloatDType, Tensor};

use crate::{Adaptable, AdapterPlan, LoraError, Site, error::Problem, peft::write_whole};

/// The file beside adapter_config.json. PEFT and others leave it alone.
const FILE: &str = "base_fingerprint.json";

/// Rows of the embedding that count.
const ROWS: usize = 64;

/// Relative difference that rounding to 16 bits does not reach, and another training does.
const TOLERANCE: f64 = 0.01;

/// The root mean square of every norm's weight and of the embedding's first rows, which no quantization touches, by
/// parameter; without those that the adapter changes. It tells models apart that were trained differently, not a base from
/// itself with an adapter merged in.
pub(crate) fn of<M: Adaptable>(model: &M, plan: &AdapterPlan) -> BTreeMap<String, f64> {
    let mut numbers = BTreeMap::new();
    let changed = |path: &str| {
        plan.saved.iter().any(|saved| saved == path) || plan.adapted.iter().any(|module| module.path == path)
    };
    model.clone().sites(&mut |path, site| {
        let size = match site {
            Site::Norm(weight) if !changed(path) => rms(weight.val()),
            Site::Embedding(embedding) if !changed(path) => {
                let table = embedding.weight();
                let rows = table.dims()[0].min(ROWS);
                rms(table.narrow(0, 0, rows))
            }
            _ => return,
        };
        numbers.insert(format!("{path}.weight"), size);
    });
    numbers
}

fn rms<const D: usize>(values: Tensor<D>) -> f64 {
    let values: Vec<f32> =
        values.without_autodiff().cast(FloatDType::F32).into_data().iter::<f32>().collect();
    let sum: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    (sum / values.len().max(1) as f64).sqrt()
}

/// Removes the numbers of an adapter that is about to be replaced.
pub(crate) fn remove(dir: &Path) -> Result<(), LoraError> {
    let path = dir.join(FILE);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LoraError::Write { path, source }),
        _ => Ok(()),
    }
}

/// Writes the numbers into an adapter's directory.
pub(crate) fn write(dir: &Path, numbers: &BTreeMap<String, f64>) -> Result<(), LoraError> {
    // Numbers with string keys always serialize.
    let text = serde_json::to_string_pretty(numbers).unwrap_or_default();
    write_whole(dir, FILE, text.as_bytes())
}

/// Compares the numbers in an adapter's directory, if there are any, with those of a model.
///
/// # Errors
/// [`LoraError::OtherBase`] with every number that differs; [`LoraError::Read`] and [`LoraError::Json`].
pub(crate) fn check(dir: &Path, numbers: &BTreeMap<String, f64>) -> Result<(), LoraError> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(LoraError::Read { path, source }),
    };
    let wanted: BTreeMap<String, f64> =
        serde_json::from_str(&text).map_err(|source| LoraError::Json { path: path.clone(), source })?;
    let problems: Vec<Problem> = numbers
        .iter()
        .filter_map(|(name, found)| Some((name, found, wanted.get(name)?)))
        .filter(|(_, found, wanted)| {
            let difference = (*found - *wanted).abs();
            difference.is_nan() || difference > TOLERANCE * wanted.abs().max(1e-6)
        })
        .map(|(name, found, wanted)| {
            Problem::new(name, format_args!("a root mean square of {found:.6}"), format_args!("{wanted:.6}"))
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(LoraError::OtherBase { path, problems }) }
}
