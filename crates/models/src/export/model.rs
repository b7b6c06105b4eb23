//! A complete dense model directory from a checkpoint on disk, with an adapter merged in.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Tensor};
use burnisher_lora::{
    Adaptable, AdapterConfig, Embedding, Projection, Site, Weight, load_peft, merge_and_unload,
};

use crate::{
    CausalLm, Checkpoint, CheckpointDtype, CheckpointWriter, ComputeDtype, LoadConfig, ModelConfig,
    ModelError, Quantize, TensorEntry, TensorSpec, WriteOptions, copy_tokenizer_files, layout, write_config,
};

/// What to make of a checkpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExportOptions {
    /// A PEFT directory, merged into the weights.
    pub adapter: Option<PathBuf>,
    /// The dtype of the weights. `None`: the base's own if it has 16 bits, else bf16.
    pub dtype: Option<CheckpointDtype>,
    /// The form in which the adapter's training held a dense base: its weights are quantized, and what they are
    /// restored to is what the adapter is merged into and what is written. A base that is stored quantized needs no
    /// such note.
    pub quantized_base: Option<Quantize>,
    /// How weights are laid out in files.
    pub write: WriteOptions,
}

impl ExportOptions {
    /// The weights as they are, in 16 bits.
    pub fn new() -> Self {
        Self { adapter: None, dtype: None, quantized_base: None, write: WriteOptions::new() }
    }

    /// Merges the adapter in a PEFT directory.
    #[must_use]
    pub fn with_adapter(self, adapter: impl Into<PathBuf>) -> Self {
        Self { adapter: Some(adapter.into()), ..self }
    }

    /// Sets the dtype of the weights.
    #[must_use]
    pub fn with_dtype(self, dtype: CheckpointDtype) -> Self {
        Self { dtype: Some(dtype), ..self }
    }

    /// Says how the adapter's training held the base.
    #[must_use]
    pub fn with_quantized_base(self, quantize: impl Into<Quantize>) -> Self {
        Self { quantized_base: Some(quantize.into()), ..self }
    }

    /// Sets how weights are laid out in files.
    #[must_use]
    pub fn with_write(self, write: WriteOptions) -> Self {
        Self { write, ..self }
    }
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What an export wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// The dtype of the weights.
    pub dtype: CheckpointDtype,
    /// Modules that an adapter was merged into.
    pub merged: Vec<String>,
    /// Modules that were restored from 4 or 8 bits.
    pub restored: usize,
    /// The files beside weights and config.json that came along: tokenizer, chat template, generation settings.
    pub companions: Vec<&'static str>,
}

/// Writes the model in `from` into `to` as transformers reads it, dense: weights in shards with their index, config.json,
/// tokenizer, chat template and generation settings; tied embeddings stay tied.
///
/// Weights are read from the mapped file, changed one after the other in f32, rounded once and written, so that memory
/// holds one of them; one that is stored quantized is held in its few bits. Only beside an adapter that trained parameters
/// of the base itself (`modules_to_save`, biases, PiSSA, OLoRA, LoftQ) the whole model is held in f32. A quantized base becomes dense: nothing is
/// merged into 4 or 8 bits.
///
/// # Errors
/// Those of loading the model and the adapter; [`ModelError::Lora`] naming the first module whose merged weight is not
/// finite, [`ModelError::OutOfRange`] the first tensor with a value beyond the dtype's range;
/// [`ModelError::Unsupported`] for a dtype that is none of f32, f16 and bf16; [`ModelError::Write`]. Weights that were
/// in `to` stay as they were then.
pub fn export_model(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: &ExportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<ExportReport, ModelError> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let config = ModelConfig::from_dir(from)?;
    let dtype = match (options.dtype, config.dtype) {
        (Some(dtype), _) if !dtype.is_weight() => {
            return Err(ModelError::Unsupported {
                what: format!("weights in {dtype}"),
                supported: "F32, F16 and BF16".to_owned(),
            });
        }
        (Some(dtype), _) => dtype,
        (None, Some(CheckpointDtype::F16)) => CheckpointDtype::F16,
        (None, _) => CheckpointDtype::BF16,
    };
    let device = Device::flex();
    let load = LoadConfig { dtype: compute_dtype(from, options)?, quantize: options.quantized_base };
    let mut model = CausalLm::from_pretrained(from, &load, &device)?;
    let mut merged = Vec::new();
    if let Some(adapter) = &options.adapter {
        let (adapted, config, report) = load_peft(adapter, model, false, &device)?;
        model = adapted;
        if model.virtual_tokens.count() > 0 {
            return Err(ModelError::Unsupported {
                what: format!("exporting a model with an adapter of the method {}", config.peft_type()),
                supported: "adapters of weights: virtual tokens cannot be merged".to_owned(),
            });
        }
        merged = report.adapted.into_iter().map(|module| module.path).collect();
    }
    let mut specs = Vec::new();
    model.sites(&mut |path, site| announce(path, &site, dtype, &mut specs));
    let mut output = Output {
        writer: CheckpointWriter::create(to, &specs, &options.write)?,
        dtype,
        done: 0,
        all: specs.len(),
        restored: 0,
        progress,
    };
    let mut outcome = Ok(());
    model.sites(&mut |path, site| {
        if outcome.is_ok() {
            outcome = output.site(path, site);
        }
    });
    outcome?;
    let Output { writer, restored, .. } = output;
    writer.finish()?;
    write_config(to, &config.with_dtype(dtype).with_quantization(None))?;
    let companions = copy_tokenizer_files(from, to)?;
    Ok(ExportReport { dtype, merged, restored, companions })
}

/// What to load the model in. Weights that are stored in it stay in the file until they are changed; an adapter that
/// trained the base's own parameters has them in f32, which nothing may round before the end.
fn compute_dtype(from: &Path, options: &ExportOptions) -> Result<ComputeDtype, ModelError> {
    if let Some(adapter) = &options.adapter
        && AdapterConfig::read(adapter.join("adapter_config.json"))?.changes_the_base()
    {
        return Ok(ComputeDtype::F32);
    }
    let stored = Checkpoint::open(from)?.tensor(layout::EMBEDDING).map(|tensor| tensor.dtype);
    Ok(match stored {
        Some(CheckpointDtype::BF16) => ComputeDtype::Bf16,
        Some(CheckpointDtype::F16) => ComputeDtype::F16,
        _ => ComputeDtype::F32,
    })
}

/// The tensors of a place, before any of them is made.
fn announce(path: &str, site: &Site<'_>, dtype: CheckpointDtype, specs: &mut Vec<TensorSpec>) {
    let weight = format!("{path}.weight");
    match site {
        Site::Projection(projection) | Site::Head(projection) => {
            let [out, inn] = projection.dims();
            specs.push(TensorSpec::new(weight, dtype, [out, inn]));
            if projection.bias().is_some() {
                specs.push(TensorSpec::new(format!("{path}.bias"), dtype, [out]));
            }
        }
        Site::Embedding(embedding) => {
            specs.push(TensorSpec::new(weight, dtype, embedding.weight().dims()));
        }
        Site::Norm(norm) => specs.push(TensorSpec::new(weight, dtype, norm.lazy_shape().to_vec())),
        Site::VirtualTokens(_) => {}
    }
}

struct Output<'a> {
    writer: CheckpointWriter,
    dtype: CheckpointDtype,
    done: usize,
    all: usize,
    restored: usize,
    progress: &'a mut dyn FnMut(usize, usize),
}

impl Output<'_> {
    fn site(&mut self, path: &str, site: Site<'_>) -> Result<(), ModelError> {
        match site {
            Site::Projection(projection) | Site::Head(projection) => {
                self.restored += usize::from(projection.weight().is_quantized());
                let plain = One::merged(path, projection)?;
                self.write(format!("{path}.weight"), plain.dense_weight(FloatDType::F32))?;
                if let Some(bias) = plain.bias() {
                    self.write(format!("{path}.bias"), bias)?;
                }
                Ok(())
            }
            Site::Embedding(embedding) if embedding.adapter().is_some() => {
                let one = One { path: path.to_owned(), place: Place::Embedding(embedding.clone()) };
                let Place::Embedding(embedding) = merge_and_unload(one)?.place else {
                    unreachable!("merging keeps a place what it is");
                };
                self.write(format!("{path}.weight"), embedding.weight())
            }
            Site::Embedding(embedding) => self.write(format!("{path}.weight"), embedding.weight()),
            Site::Norm(norm) => self.write(format!("{path}.weight"), norm.val()),
            Site::VirtualTokens(_) => Ok(()),
        }
    }

    fn write<const D: usize>(&mut self, name: String, tensor: Tensor<D>) -> Result<(), ModelError> {
        let entry = TensorEntry::rounded(&name, tensor, self.dtype)?;
        self.writer.write(&name, &entry)?;
        self.done += 1;
        (self.progress)(self.done, self.all);
        Ok(())
    }
}

/// A model of one place, so that its adapter is merged by itself.
#[derive(Clone)]
struct One {
    path: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Projection(Projection),
    Embedding(Embedding),
}

impl One {
    /// The projection in f32 with its adapter merged, if it has one.
    fn merged(path: &str, projection: &Projection) -> Result<Projection, ModelError> {
        if projection.adapter().is_none() {
            return Ok(projection.clone());
        }
        let weight = Weight::frozen(projection.dense_weight(FloatDType::F32));
        let place = Place::Projection(projection.clone().with_weight(weight));
        match merge_and_unload(Self { path: path.to_owned(), place })?.place {
            Place::Projection(projection) => Ok(projection),
            Place::Embedding(_) => unreachable!("merging keeps a place what it is"),
        }
    }
}

impl Adaptable for One {
    fn model_type(&self) -> &str {
        ""
    }

    fn is_head_tied(&self) -> bool {
        false
    }

    fn sites(&mut self, visit: &mut dyn FnMut(&str, Site<'_>)) {
        visit(
            &self.path,
            match &mut self.place {
                Place::Projection(projection) => Site::Projection(projection),
                Place::Embedding(embedding) => Site::Embedding(embedding),
            },
        );
    }
}
