//! The optimizer's state as a safetensors file, written and read tensor by tensor: paged state need not fit into memory.

use std::{collections::BTreeMap, io, path::Path};

use burn::tensor::{DType, Device, TensorData};
use burnisher_models::{Checkpoint, CheckpointDtype};
use serde_json::{Map, Value, json};

use crate::{
    Optimizer, TrainError, atomic,
    optim::{parameter_of, wanted_count},
};

/// The key of the file's metadata that names the optimizer's rule.
const RULE: &str = "optimizer";

/// Writes all state. Tensors of f32 come first, so that each is aligned.
pub(crate) fn write(path: &Path, optimizer: &Optimizer) -> Result<(), TrainError> {
    let mut listed = optimizer.listed();
    listed.sort_by_key(|(name, dtype, _)| (*dtype == DType::U8, name.clone()));
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ RULE: optimizer.rule().name() }));
    let mut end = 0;
    for (name, dtype, count) in &listed {
        let (start, text) = (end, if *dtype == DType::U8 { "U8" } else { "F32" });
        end += count * dtype.size();
        header.insert(name.clone(), json!({ "dtype": text, "shape": [count], "data_offsets": [start, end] }));
    }
    let mut header = Value::Object(header).to_string();
    // The data begins at a multiple of eight.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut failed = None;
    let written = atomic::write_atomic(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for (name, ..) in &listed {
            match optimizer.tensor(name) {
                Ok(data) => file.write_all(data.as_bytes())?,
                Err(error) => {
                    failed = Some(error);
                    return Err(io::Error::other("the optimizer's state"));
                }
            }
        }
        Ok(())
    });
    match failed {
        Some(error) => Err(error),
        None => written,
    }
}

/// Restores an optimizer that has done `step` steps; `shapes` are those of the trained parameters.
///
/// # Errors
/// [`TrainError::Checkpoint`] for the state of another rule, and naming every tensor that does not fit a parameter.
pub(crate) fn read(
    path: &Path,
    step: u64,
    shapes: &BTreeMap<String, Vec<usize>>,
    optimizer: &mut Optimizer,
    device: &Device,
) -> Result<(), TrainError> {
    let file = Checkpoint::open_file(path)?;
    // Files of earlier versions name no rule; they hold AdamW's state.
    let found = file.metadata().get(RULE).map_or("adamw_torch", String::as_str);
    if found != optimizer.rule().name() {
        return Err(TrainError::Checkpoint {
            path: path.to_path_buf(),
            found: format!("the state of the optimizer {found}"),
            wanted: format!("that of {}", optimizer.rule().name()),
        });
    }
    let mut problems = Vec::new();
    for (name, tensor) in file.tensors() {
        let found = tensor.bytes.len() / tensor.dtype.size();
        let of = parameter_of(name).and_then(|(parameter, suffix)| Some((shapes.get(parameter)?, suffix)));
        let wanted = of.map_or(0, |(shape, suffix)| wanted_count(suffix, shape));
        if found != wanted || !matches!(tensor.dtype, CheckpointDtype::F32 | CheckpointDtype::U8) {
            let dtype = tensor.dtype;
            problems.push(format!("{name}: found {found} values of {dtype}, wanted {wanted} of F32 or U8"));
        }
    }
    if !problems.is_empty() {
        return Err(TrainError::checkpoint(path, &problems));
    }
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    optimizer.restore_with(step, &names, device, &mut |name| {
        let tensor = file.tensor(name).expect("a tensor that the file names");
        let dtype = if tensor.dtype == CheckpointDtype::U8 { DType::U8 } else { DType::F32 };
        let count = tensor.bytes.len() / tensor.dtype.size();
        Ok(TensorData::from_bytes_vec(tensor.bytes.to_vec(), [count], dtype))
    })
}
