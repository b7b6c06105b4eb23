//! How weights are stored, and loading a Hugging Face directory.

use std::path::Path;

use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Tensor, TensorData};
use burnisher_kernels::FourBitWeight;
use burnisher_lora::Weight;
use burnisher_quant::{QuantConfig, QuantState, RawDtype, RawTensor, SourceDtype};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::{
    CausalLm, Checkpoint, CheckpointDtype, ModelConfig, ModelError, TensorEntry,
    build::{Parts, build},
    layout,
};

/// The dtype that a model computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComputeDtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE 754's 16-bit floats, for training with a scaled loss.
    F16,
}

impl ComputeDtype {
    /// Burn's name of it.
    pub fn float_dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }

    fn stored(self) -> CheckpointDtype {
        match self {
            Self::F32 => CheckpointDtype::F32,
            Self::Bf16 => CheckpointDtype::BF16,
            Self::F16 => CheckpointDtype::F16,
        }
    }

    /// A tensor of these values, rounded to nearest.
    pub(crate) fn tensor<const D: usize>(
        self,
        values: Vec<f32>,
        shape: [usize; D],
        device: &Device,
    ) -> Tensor<D> {
        let data = match self {
            Self::F32 => TensorData::new(values, shape),
            Self::Bf16 => {
                let values: Vec<bf16> = values.into_par_iter().map(bf16::from_f32).collect();
                TensorData::new(values, shape)
            }
            Self::F16 => {
                let values: Vec<f16> = values.into_par_iter().map(f16::from_f32).collect();
                TensorData::new(values, shape)
            }
        };
        Tensor::from_data(data, (device, DType::from(self.float_dtype())))
    }
}

/// A projection's weight in 4 bits.
pub(crate) fn quantized(
    values: &[f32],
    shape: [usize; 2],
    config: QuantConfig,
    device: &Device,
) -> Result<Weight, ModelError> {
    let state = config.quantize(values, shape)?;
    Ok(Weight::FourBit(FourBitWeight::from_state(&state, device)))
}

/// How to store the weights of a model that is loaded or made from scratch.
#[derive(Clone, Debug, Default)]
pub struct LoadConfig {
    /// The dtype of activations and dense weights.
    pub dtype: ComputeDtype,
    /// Quantize the projections inside the blocks, each as soon as it is read or made; embedding, norms and head stay
    /// dense.
    pub quantize: Option<QuantConfig>,
}

impl LoadConfig {
    /// f32, not quantized.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the compute dtype.
    #[must_use]
    pub fn with_dtype(self, dtype: ComputeDtype) -> Self {
        Self { dtype, ..self }
    }

    /// Quantizes the blocks' projections. A checkpoint's own dtype replaces the configuration's source dtype.
    #[must_use]
    pub fn with_quantize(self, quantize: QuantConfig) -> Self {
        Self { quantize: Some(quantize), ..self }
    }
}

impl CausalLm {
    /// Loads a Hugging Face directory: `config.json` and `model.safetensors` or its shards.
    ///
    /// A tensor stored in the compute dtype stays in the mapped file on backends that can use host
    /// memory; others are converted. A checkpoint in bitsandbytes' 4 bits stays in 4 bits.
    ///
    /// # Errors
    /// [`ModelError`] listing every problem of the configuration, or every missing, unexpected and
    /// mis-shaped tensor; [`ModelError::NonFinite`] for a weight that holds infinities or NaN.
    pub fn from_pretrained(
        dir: impl AsRef<Path>,
        load: &LoadConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let dir = dir.as_ref();
        let config = ModelConfig::from_dir(dir)?;
        let checkpoint = Checkpoint::open(dir)?;
        checkpoint.check(&layout::expected(&config), |_| false)?;
        let device = device.clone().without_autodiff();
        build(config, &mut FromCheckpoint { checkpoint, load: load.clone(), device })
    }
}

struct FromCheckpoint {
    checkpoint: Checkpoint,
    load: LoadConfig,
    device: Device,
}

impl FromCheckpoint {
    fn entry(&self, name: &str) -> Result<TensorEntry, ModelError> {
        self.checkpoint.check_finite(name)?;
        self.checkpoint.tensor(name).ok_or_else(|| ModelError::Checkpoint {
            path: self.checkpoint.dir().to_path_buf(),
            message: format!("found no tensor `{name}`"),
        })
    }

    fn values(&self, name: &str, entry: &TensorEntry) -> Result<Vec<f32>, ModelError> {
        entry.to_f32().ok_or_else(|| ModelError::Checkpoint {
            path: self.checkpoint.dir().to_path_buf(),
            message: format!("`{name}`: found dtype {}, wanted F32, F16 or BF16", entry.dtype),
        })
    }

    fn dense<const D: usize>(&self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, ModelError> {
        let entry = self.entry(name)?;
        let wanted = self.load.dtype;
        if entry.dtype != wanted.stored() {
            return Ok(wanted.tensor(self.values(name, &entry)?, shape, &self.device));
        }
        let dtype = DType::from(wanted.float_dtype());
        let bytes = Bytes::from_shared(entry.bytes, AllocationProperty::File);
        Ok(Tensor::from_data(TensorData::from_bytes(bytes, shape, dtype), (&self.device, dtype)))
    }

    /// The quantized weight as bitsandbytes stored it.
    fn stored_state(&self, name: &str) -> Result<QuantState, ModelError> {
        let state = QuantState::from_tensors(name, |key| {
            let entry = self.checkpoint.tensor(key)?;
            let dtype = match entry.dtype {
                CheckpointDtype::U8 => RawDtype::U8,
                CheckpointDtype::F32 => RawDtype::F32,
                _ => return None,
            };
            Some(RawTensor { dtype, shape: entry.shape, data: entry.bytes.to_vec() })
        });
        Ok(state?)
    }
}

impl Parts for FromCheckpoint {
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, ModelError> {
        if self.checkpoint.tensor(name).is_some_and(|entry| entry.dtype == CheckpointDtype::U8) {
            let weight = FourBitWeight::from_state(&self.stored_state(name)?, &self.device);
            return Ok(weight.dequantize(self.load.dtype.float_dtype()));
        }
        self.dense(name, shape)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<1>, ModelError> {
        self.dense(name, [length])
    }

    fn weight(&mut self, name: &str, shape: [usize; 2]) -> Result<Weight, ModelError> {
        let entry = self.entry(name)?;
        if entry.dtype == CheckpointDtype::U8 {
            let state = self.stored_state(name)?;
            return Ok(Weight::FourBit(FourBitWeight::from_state(&state, &self.device)));
        }
        let Some(quantize) = &self.load.quantize else {
            return Ok(Weight::frozen(self.dense(name, shape)?));
        };
        let source = match entry.dtype {
            CheckpointDtype::BF16 => SourceDtype::Bf16,
            CheckpointDtype::F16 => SourceDtype::F16,
            _ => SourceDtype::F32,
        };
        quantized(&self.values(name, &entry)?, shape, quantize.with_source_dtype(source), &self.device)
    }
}
