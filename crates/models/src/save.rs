//! Writing a model as a Hugging Face directory.

use std::path::Path;

use burn::tensor::{DType, FloatDType, Tensor};
use burnisher_lora::{Adaptable, Site, Weight};
use burnisher_quant::{Absmax, RawDtype};

use crate::{
    CausalLm, CheckpointDtype, ModelError, QuantizationConfig, TensorEntry, WriteOptions, write_checkpoint,
    write_config,
};

impl CausalLm {
    /// Writes `config.json` and the weights, dense ones in `dtype` or as they are, 4-bit ones in
    /// bitsandbytes' form. Adapters must be merged or dropped before.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] while an adapter is attached and not merged; errors of files, with
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
            double_quant: None,
            dense: Vec::new(),
            failed: None,
        };
        self.clone().sites(&mut |path, site| writer.site(path, site));
        let Collected { tensors, stored, double_quant, dense, failed, .. } = writer;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut config = self.config().clone();
        if let Some(stored) = stored {
            config = config.with_dtype(stored);
        }
        let quantization = double_quant.map(|double_quant| {
            let compute = stored.unwrap_or(CheckpointDtype::F32);
            let config =
                QuantizationConfig::nf4().with_double_quant(double_quant).with_compute_dtype(compute);
            match dense.is_empty() {
                true => config,
                // transformers leaves out the head by itself only while there is no list.
                false => config.with_skip_modules(dense.into_iter().chain(["lm_head".to_owned()])),
            }
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
    /// Whether 4-bit weights are double-quantized; `None` without 4-bit weights.
    double_quant: Option<bool>,
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
        if site.has_adapter() && !site.is_merged() {
            self.failed.get_or_insert_with(|| ModelError::Unsupported {
                what: format!("saving a model with the adapter of {path} not merged"),
                supported: "merging it first, or saving the adapter in PEFT's format".to_owned(),
            });
            return;
        }
        match site {
            Site::Projection(projection) | Site::Head(projection) => {
                match projection.weight() {
                    Weight::Dense(weight) => self.dense(&format!("{path}.weight"), weight.val()),
                    Weight::FourBit(weight) => match weight.to_state() {
                        Ok(state) => {
                            self.double_quant = Some(matches!(state.absmax(), Absmax::Nested { .. }));
                            self.quantized(&format!("{path}.weight"), &state);
                        }
                        Err(error) => {
                            self.failed.get_or_insert(error.into());
                        }
                    },
                }
                if let Some(bias) = projection.bias() {
                    self.dense(&format!("{path}.bias"), bias);
                }
            }
            Site::Embedding(embedding) => self.dense(&format!("{path}.weight"), embedding.weight()),
            Site::Norm(weight) => self.dense(&format!("{path}.weight"), weight.val()),
        }
    }

    fn dense<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) {
        let tensor = tensor.without_autodiff();
        let tensor = match self.dtype {
            Some(dtype) => tensor.cast(dtype),
            None => tensor,
        };
        let shape = tensor.dims().to_vec();
        let data = tensor.to_data();
        let dtype = match data.dtype() {
            DType::BF16 => CheckpointDtype::BF16,
            DType::F16 => CheckpointDtype::F16,
            _ => CheckpointDtype::F32,
        };
        self.stored = Some(dtype);
        let bytes = data.as_bytes().to_vec().into();
        self.tensors.push((name.to_owned(), TensorEntry { dtype, shape, bytes }));
    }

    fn quantized(&mut self, name: &str, state: &burnisher_quant::QuantState) {
        for (name, tensor) in state.to_tensors(name) {
            let dtype = match tensor.dtype {
                RawDtype::U8 => CheckpointDtype::U8,
                RawDtype::F16 => CheckpointDtype::F16,
                RawDtype::Bf16 => CheckpointDtype::BF16,
                _ => CheckpointDtype::F32,
            };
            self.tensors.push((name, TensorEntry { dtype, shape: tensor.shape, bytes: tensor.data.into() }));
        }
    }
}
