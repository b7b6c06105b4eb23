//! Quantizing a checkpoint on disk, tensor by tensor.

use std::{collections::BTreeSet, path::Path};

use burnisher_quant::{NESTED_BLOCK_SIZE, SourceDtype};

use crate::{
    Checkpoint, CheckpointDtype, CheckpointWriter, ModelConfig, ModelError, QuantizationConfig, Quantize,
    TensorEntry, TensorSpec, WriteOptions, copy_tokenizer_files,
    layout::{self, HEAD},
    load::{entry, source_dtype},
    quantize::Quantized,
    write_config,
};

/// Elements that are compared at a time.
const PIECE: usize = 1 << 16;

/// What quantizing a checkpoint did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QuantizeReport {
    /// Every quantized module, with the root mean square of what was lost, relative to that of the weight.
    pub modules: Vec<(String, f64)>,
    /// Bytes of all tensors before.
    pub bytes_before: u64,
    /// Bytes of all tensors after.
    pub bytes_after: u64,
}

impl QuantizeReport {
    /// The module that lost most.
    pub fn worst(&self) -> Option<&(String, f64)> {
        self.modules.iter().max_by(|left, right| left.1.total_cmp(&right.1))
    }
}

/// Writes the model in `from` into `to` with its blocks' projections quantized, as transformers and bitsandbytes read
/// it, and copies its tokenizer. Embedding, norms and head stay as they are, and so do the projections in `skip`, which
/// are named by path or by its end, such as `down_proj`.
///
/// One tensor after the other is read from the mapped file and written, so the dense model is never in memory: it holds
/// one weight in f32 and its codes. `progress` hears how many of how many tensors are done.
///
/// # Errors
/// Those of reading and checking the model; [`ModelError::Unsupported`] for one that is quantized already and for an
/// entry of `skip` that names no projection; [`ModelError::NonFinite`]; [`ModelError::Quant`] for a block size that
/// cannot be used; [`ModelError::Write`]. Weights that were in `to` stay as they were then.
pub fn quantize_checkpoint(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    quantize: Quantize,
    skip: &[String],
    options: &WriteOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<QuantizeReport, ModelError> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let quantize = quantize.checked()?;
    let config = ModelConfig::from_dir(from)?;
    if config.quantization.is_some() {
        return Err(ModelError::Unsupported {
            what: format!("quantizing {}, whose weights are quantized already", from.display()),
            supported: "a checkpoint in f32, f16 or bf16".to_owned(),
        });
    }
    let checkpoint = Checkpoint::open(from)?;
    checkpoint.check(&layout::expected(&config), |_| false)?;
    let is_skipped = skipped(&config, skip)?;
    let chosen = |name: &str| -> Option<String> {
        let path = name.strip_suffix(".weight")?;
        (layout::projection_shape(&config, path).is_some() && !is_skipped(path)).then(|| path.to_owned())
    };

    let mut specs = Vec::new();
    let mut report = QuantizeReport { modules: Vec::new(), bytes_before: 0, bytes_after: 0 };
    for (name, tensor) in tensors(&checkpoint) {
        report.bytes_before += tensor.bytes.len() as u64;
        match chosen(name) {
            Some(path) => specs.extend(quantized_specs(&path, &tensor, quantize)?),
            None => specs.push(TensorSpec::new(name, tensor.dtype, tensor.shape)),
        }
    }
    let mut writer = CheckpointWriter::create(to, &specs, options)?;
    let count = checkpoint.names().count();
    let (mut compute_dtype, mut method) = (CheckpointDtype::F32, None);
    for (done, (name, tensor)) in tensors(&checkpoint).enumerate() {
        progress(done, count);
        checkpoint.check_finite(name)?;
        let Some(path) = chosen(name) else {
            if tensor.dtype.is_weight() {
                compute_dtype = tensor.dtype;
            }
            report.bytes_after += tensor.bytes.len() as u64;
            writer.write(name, &tensor)?;
            continue;
        };
        let (values, shape) = values(&checkpoint, name, &tensor)?;
        let weight = quantize.quantize(&values, shape, source_dtype(tensor.dtype))?;
        report.modules.push((path.clone(), relative_error(&values, &weight)));
        drop(values);
        method = Some(weight.method());
        for (name, tensor) in weight.to_tensors(&path) {
            report.bytes_after += tensor.data.len() as u64;
            writer.write(&name, &entry(tensor))?;
        }
    }
    progress(count, count);
    writer.finish()?;
    let quantization = method.map(|method| {
        let quantization = QuantizationConfig::new(method).with_compute_dtype(compute_dtype);
        quantization.with_skip_modules(skip.iter().cloned())
    });
    write_config(to, &config.with_quantization(quantization))?;
    copy_tokenizer_files(from, to)?;
    Ok(report)
}

fn tensors(checkpoint: &Checkpoint) -> impl Iterator<Item = (&str, TensorEntry)> {
    checkpoint.names().filter_map(|name| Some((name, checkpoint.tensor(name)?)))
}

/// Tells whether a projection is left as it is.
fn skipped(config: &ModelConfig, skip: &[String]) -> Result<impl Fn(&str) -> bool + use<>, ModelError> {
    let names = |entry: &str, path: &str| {
        path == entry
            || path.strip_suffix(entry).is_some_and(|head| head.ends_with('.'))
            || path.strip_prefix(entry).is_some_and(|tail| tail.starts_with('.'))
    };
    let paths = layout::projection_paths(config);
    for entry in skip.iter().filter(|entry| *entry != HEAD) {
        if !paths.iter().any(|path| names(entry, path)) {
            let ends: BTreeSet<&str> = paths.iter().filter_map(|path| path.rsplit('.').next()).collect();
            return Err(ModelError::Unsupported {
                what: format!("leaving out {entry:?}, which names no projection"),
                supported: ends.into_iter().collect::<Vec<_>>().join(", "),
            });
        }
    }
    let skip = skip.to_vec();
    Ok(move |path: &str| skip.iter().any(|entry| names(entry, path)))
}

/// The tensors that a weight becomes.
fn quantized_specs(
    path: &str,
    tensor: &TensorEntry,
    quantize: Quantize,
) -> Result<Vec<TensorSpec>, ModelError> {
    let elements: usize = tensor.shape.iter().product();
    // The tensors of a weight of one value say which there are; only their lengths differ.
    let sample = quantize.quantize(&[0.0], [1, 1], SourceDtype::F32)?;
    let specs = sample.to_tensors(path).into_iter().map(|(name, tensor_of_one)| {
        let of_one = entry(tensor_of_one);
        let shape = match (quantize, name.strip_prefix(path).unwrap_or_default()) {
            (Quantize::Int8 { .. }, ".weight") => tensor.shape.clone(),
            (Quantize::Int8 { .. }, ".SCB") => vec![tensor.shape[0]],
            (Quantize::FourBit(_), ".weight") => vec![elements.div_ceil(2), 1],
            (Quantize::FourBit(config), ".weight.absmax") => vec![elements.div_ceil(config.block_size)],
            (Quantize::FourBit(config), ".weight.nested_absmax") => {
                vec![elements.div_ceil(config.block_size).div_ceil(NESTED_BLOCK_SIZE)]
            }
            (_, end) if end.starts_with(".weight.quant_state") => return TensorSpec::late(name),
            _ => of_one.shape,
        };
        TensorSpec::new(name, of_one.dtype, shape)
    });
    Ok(specs.collect())
}

fn values(
    checkpoint: &Checkpoint,
    name: &str,
    tensor: &TensorEntry,
) -> Result<(Vec<f32>, [usize; 2]), ModelError> {
    let wrong = || ModelError::Checkpoint {
        path: checkpoint.dir().to_path_buf(),
        message: format!(
            "`{name}`: found {} {:?}, wanted F32, F16 or BF16 [out, in]",
            tensor.dtype, tensor.shape
        ),
    };
    let shape = <[usize; 2]>::try_from(tensor.shape.as_slice()).map_err(|_| wrong())?;
    Ok((tensor.to_f32().ok_or_else(wrong)?, shape))
}

/// √(Σ(w − restored)² / Σw²), piece by piece; 0 for a weight of zeros.
fn relative_error(values: &[f32], weight: &Quantized) -> f64 {
    let (mut lost, mut all) = (0.0f64, 0.0f64);
    let absmax = weight.absmax();
    let mut restored = vec![0.0f32; PIECE.min(values.len())];
    for (piece, values) in values.chunks(PIECE).enumerate() {
        let restored = &mut restored[..values.len()];
        weight.dequantize_range(&absmax, piece * PIECE, restored);
        for (value, restored) in values.iter().zip(restored) {
            lost += f64::from(value - *restored).powi(2);
            all += f64::from(*value).powi(2);
        }
    }
    if all == 0.0 { 0.0 } else { (lost / all).sqrt() }
}
