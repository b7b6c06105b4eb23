//! Writing a model as a Hugging Face directory.

use std::path::Path;

use burn::tensor::{DType, FloatDType, Tensor};
use burnisher_lora::{Adaptable, Site, Weight};

use crate::{
    CausalLm, CheckpointDtype, ModelError, QuantizationConfig, QuantizationMethod, TensorEntry, WriteOptions,
    load::entry, quantize::Quantized, write_checkpoint, write_config,
};

impl CausalLm {
    /// Writes `config.json` and the weights, dense ones in `dtype` or as they are, quantized ones in
    /// bitsandbytes' form. Adapters must be merged or dropped before.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] while an adapter is attached and not merged; [`ModelError::OutOfRange`] for a value
    /// that `dtype` cannot hold; errors of files, with
    /// what was there before unchanged.
    pub fn save_pretrained(
        &self,
        dir: impl AsRef<Path>,
        dtype: Option<FloatDType>,
        options: &WriteOptions,
    ) -> Result<(), ModelError> {
        let mut writer = Collected {
            dtype,
            tensors: Vec::new(),
            stored: None,
            method: None,
            dense: Vec::new(),
            failed: None,
        };
        self.clone().sites(&mut |path, site| writer.site(path, site));
        let Collected { tensors, stored, method, dense, failed, .. } = writer;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut config = self.config().clone();
        if let Some(stored) = stored {
            config = config.with_dtype(stored);
        }
        let quantization = method.map(|method| {
            let compute = stored.unwrap_or(CheckpointDtype::F32);
            let config = QuantizationConfig::new(method).with_compute_dtype(compute);
            config.with_skip_modules(dense)
        });
        write_checkpoint(&dir, &tensors, options)?;
        write_config(&dir, &config.with_quantization(quantization))
    }
}

/// The tensors of a model on their way to a file.
struct Collected {
    dtype: Option<FloatDType>,
    tensors: Vec<(String, TensorEntry)>,
    /// The dtype of the dense weights.
    stored: Option<CheckpointDtype>,
    /// The form of quantized weights; `None` without any.
    method: Option<QuantizationMethod>,
    /// Projections inside the blocks that are dense.
    dense: Vec<String>,
    failed: Option<ModelError>,
}

impl Collected {
    fn site(&mut self, path: &str, site: Site<'_>) {
        if let Site::Projection(projection) = &site
            && matches!(projection.weight(), Weight::Dense(_))
        {
            self.dense.push(path.to_owned());
        }
        if matches!(site, Site::VirtualTokens(_)) && site.has_adapter() {
            self.failed.get_or_insert_with(|| ModelError::Unsupported {
                what: "saving a model with the virtual tokens of prompt or prefix tuning, which cannot be merged".to_owned(),
                supported: "saving the adapter in PEFT's format".to_owned(),
            });
            return;
        }
        if site.has_adapter() && !site.is_merged() {
            self.failed.get_or_insert_with(|| ModelError::Unsupported {
                what: format!("saving a model with the adapter of {path} not merged"),
                supported: "merging it first, or saving the adapter in PEFT's format".to_owned(),
            });
            return;
        }
        match site {
            Site::Projection(projection) | Site::Head(projection) => {
                if let Weight::Dense(weight) = projection.weight() {
                    self.dense(&format!("{path}.weight"), weight.val());
                }
                match Quantized::of(projection.weight()) {
                    Ok(quantized) => self.quantized(path, quantized),
                    Err(error) => {
                        self.failed.get_or_insert(error);
                    }
                }
                if let Some(bias) = projection.bias() {
                    self.dense(&format!("{path}.bias"), bias);
                }
            }
            Site::Embedding(embedding) => self.dense(&format!("{path}.weight"), embedding.weight()),
            Site::Norm(weight) => self.dense(&format!("{path}.weight"), weight.val()),
            Site::VirtualTokens(_) => {}
        }
    }

    fn dense<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) {
        let dtype = match self.dtype.map_or(tensor.dtype(), DType::from) {
            DType::BF16 => CheckpointDtype::BF16,
            DType::F16 => CheckpointDtype::F16,
            _ => CheckpointDtype::F32,
        };
        self.stored = Some(dtype);
        match TensorEntry::rounded(name, tensor, dtype) {
            Ok(entry) => self.tensors.push((name.to_owned(), entry)),
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }

    fn quantized(&mut self, path: &str, quantized: Option<Quantized>) {
        let Some(quantized) = quantized else { return };
        self.method = Some(quantized.method());
        let tensors = quantized.to_tensors(path).into_iter();
        self.tensors.extend(tensors.map(|(name, tensor)| (name, entry(tensor))));
    }
}
