//! `burnisher logits`: token ids in, logits and per-token losses out.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::FloatDType;
use burnisher::{
    data::TokenBatch,
    models::{Checkpoint, CheckpointDtype, ModelInput, TensorEntry, write_safetensors},
};

use crate::{Outcome, args::LogitsArgs, commands::load};

pub(crate) fn run(args: &LogitsArgs) -> Outcome {
    if let (Ok(one), Ok(other)) = (fs::canonicalize(&args.out), fs::canonicalize(&args.input))
        && one == other
    {
        return Err(
            format!("--out is the file of --input, {}; wanted another one", args.out.display()).into()
        );
    }
    let file = Checkpoint::open_file(&args.input)?;
    let model = load(&args.model)?;
    let vocab = model.config().vocab_size;
    let (shape, ids) = ints(&file, "input_ids", &args.input)?.ok_or_else(|| {
        format!("{}: found no tensor `input_ids`; wanted [rows, t] in I64 or I32", args.input.display())
    })?;
    let [rows, length] = shape[..] else {
        return Err(format!("input_ids: found shape {shape:?}, wanted [rows, t]").into());
    };
    if let Some(id) = ids.iter().find(|id| !(0..vocab as i64).contains(id)) {
        return Err(format!("input_ids: found {id}, wanted ids from 0 to {}", vocab - 1).into());
    }
    let same_shape = |name: &str| -> Result<Option<Vec<i64>>, Box<dyn std::error::Error>> {
        match ints(&file, name, &args.input)? {
            Some((found, _)) if found != shape => {
                Err(format!("{name}: found shape {found:?}, wanted that of input_ids, {shape:?}").into())
            }
            Some((_, values)) => Ok(Some(values)),
            None => Ok(None),
        }
    };
    let mask = same_shape("attention_mask")?.unwrap_or_else(|| vec![1; ids.len()]);
    let labels = same_shape("labels")?;
    if let Some(label) =
        labels.iter().flatten().find(|&&label| label != -100 && !(0..vocab as i64).contains(&label))
    {
        return Err(format!("labels: found {label}, wanted -100 or ids from 0 to {}", vocab - 1).into());
    }
    let is_run = |row: &[i64]| {
        let row = &row[row.iter().position(|&seen| seen != 0).unwrap_or(0)..];
        let end = row.iter().position(|&seen| seen == 0).unwrap_or(row.len());
        row[end..].iter().all(|&seen| seen == 0)
    };
    let wrong = mask.chunks(length.max(1)).position(|row| !is_run(row));
    if let Some(row) = wrong {
        return Err(format!("attention_mask: row {row} has a hole; wanted one run of ones").into());
    }
    let batch = batch(rows, length, &ids, &mask, labels.clone());
    let logits = model.logits(&ModelInput::from_batch(&batch)).cast(FloatDType::F32);
    let values: Vec<f32> = logits.to_data().iter::<f32>().collect();
    let mut tensors = vec![("logits".to_owned(), TensorEntry::from_f32(&values, vec![rows, length, vocab]))];
    if labels.is_some() {
        let losses = model.token_losses(&batch);
        let losses: Vec<f32> =
            losses.chunks(length.max(1)).flat_map(|row| &row[..row.len() - 1]).copied().collect();
        let shape = vec![rows, length.saturating_sub(1)];
        tensors.push(("token_losses".to_owned(), TensorEntry::from_f32(&losses, shape)));
        let count = batch.labels.iter().filter(|&&label| label != -100).count();
        let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        println!("loss {:.6} over {count} labels", sum / count.max(1) as f64);
    }
    write_safetensors(&args.out, &tensors, &BTreeMap::new())?;
    println!("wrote {}", args.out.display());
    Ok(())
}

/// One document per row; padding, where the mask is 0, may stand on either side.
fn batch(rows: usize, length: usize, ids: &[i64], mask: &[i64], labels: Option<Vec<i64>>) -> TokenBatch {
    let mut positions = Vec::with_capacity(ids.len());
    for row in mask.chunks(length.max(1)) {
        let mut next = 0u32;
        for &seen in row {
            next += u32::from(seen != 0);
            positions.push(next.saturating_sub(1));
        }
    }
    TokenBatch {
        rows,
        seq_len: length,
        input_ids: ids.iter().map(|&id| id as u32).collect(),
        labels: labels.unwrap_or_else(|| vec![-100; ids.len()]),
        position_ids: positions,
        segment_ids: mask.iter().map(|&seen| u32::from(seen != 0)).collect(),
        token_keys: vec![0; ids.len()],
    }
}

/// An integer tensor with its shape; `None` if the file has none of that name.
fn ints(
    file: &Checkpoint,
    name: &str,
    path: &Path,
) -> Result<Option<(Vec<usize>, Vec<i64>)>, Box<dyn std::error::Error>> {
    let Some(tensor) = file.tensor(name) else { return Ok(None) };
    let values = match tensor.dtype {
        CheckpointDtype::I64 => {
            tensor.bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
        }
        CheckpointDtype::I32 => {
            let values = tensor.bytes.as_chunks::<4>().0.iter();
            values.map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()
        }
        other => {
            return Err(format!("{}: `{name}` has dtype {other}, wanted I64 or I32", path.display()).into());
        }
    };
    Ok(Some((tensor.shape, values)))
}
