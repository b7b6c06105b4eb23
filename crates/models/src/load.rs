//! How weights are stored, and loading a Hugging Face directory.

use std::path::Path;

use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Tensor, TensorData};
use burnisher_kernels::INT8_THRESHOLD;
use burnisher_lora::Weight;
use burnisher_quant::{Int8Weight, QuantState, RawDtype, RawTensor, SourceDtype};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::{
    CausalLm, Checkpoint, CheckpointDtype, ModelConfig, ModelError, QuantizationMethod, Quantize,
    TensorEntry,
    build::{Parts, build},
    layout,
    quantize::Quantized,
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

/// How to store the weights of a model that is loaded or made from scratch.
#[derive(Clone, Debug, Default)]
pub struct LoadConfig {
    /// The dtype of activations and dense weights.
    pub dtype: ComputeDtype,
    /// Quantize the projections inside the blocks, each as soon as it is read or made; embedding, norms and head stay
    /// dense.
    pub quantize: Option<Quantize>,
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
    pub fn with_quantize(self, quantize: impl Into<Quantize>) -> Self {
        Self { quantize: Some(quantize.into()), ..self }
    }
}

impl CausalLm {
    /// Loads a Hugging Face directory: `config.json` and `model.safetensors` or its shards.
    ///
    /// A tensor stored in the compute dtype stays in the mapped file on backends that can use host
    /// memory; others are converted. A checkpoint in bitsandbytes' 4 bits or LLM.int8 stays so.
    ///
    /// # Errors
    /// [`ModelError`] listing every problem of the configuration, or every missing, unexpected and
    /// mis-shaped tensor; [`ModelError::NonFinite`] for a weight that holds infinities or NaN;
    /// [`ModelError::Unsupported`] for a checkpoint that is stored in another quantized form than `load` asks for.
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
        let quantize = load.quantize.map(Quantize::checked).transpose()?;
        if let (Some(quantize), Some(stored)) = (quantize, &config.quantization) {
            quantize.check_stored(stored.method)?;
        }
        let load = LoadConfig { quantize, ..load.clone() };
        let threshold = match config.quantization.as_ref().map(|quantization| quantization.method) {
            Some(QuantizationMethod::Int8 { threshold }) => threshold,
            _ => INT8_THRESHOLD,
        };
        build(config, &mut FromCheckpoint { checkpoint, load, threshold, device })
    }
}

struct FromCheckpoint {
    checkpoint: Checkpoint,
    load: LoadConfig,
    /// From which magnitude on inputs of LLM.int8 are outliers.
    threshold: f32,
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

    /// The quantized weight as bitsandbytes stored it; `None` for one that is not quantized.
    fn stored(&self, name: &str) -> Result<Option<Quantized>, ModelError> {
        let dtype = self.checkpoint.tensor(name).map(|entry| entry.dtype);
        Ok(match dtype {
            Some(CheckpointDtype::U8) => {
                Some(Quantized::FourBit(QuantState::from_tensors(name, |key| self.raw(key))?))
            }
            Some(CheckpointDtype::I8) => {
                let module = name.strip_suffix(".weight").unwrap_or(name);
                let weight = Int8Weight::from_tensors(module, |key| self.raw(key))?;
                Some(Quantized::Int8(weight, self.threshold))
            }
            _ => None,
        })
    }

    fn raw(&self, key: &str) -> Option<RawTensor> {
        raw(self.checkpoint.tensor(key)?)
    }
}

impl Parts for FromCheckpoint {
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, ModelError> {
        if let Some(stored) = self.stored(name)? {
            return Ok(stored.to_weight(&self.device).dense(self.load.dtype.float_dtype()));
        }
        self.dense(name, shape)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<1>, ModelError> {
        self.dense(name, [length])
    }

    fn weight(&mut self, name: &str, shape: [usize; 2]) -> Result<Weight, ModelError> {
        if let Some(stored) = self.stored(name)? {
            return Ok(stored.to_weight(&self.device));
        }
        let Some(quantize) = &self.load.quantize else {
            return Ok(Weight::frozen(self.dense(name, shape)?));
        };
        let entry = self.entry(name)?;
        let values = self.values(name, &entry)?;
        Ok(quantize.quantize(&values, shape, source_dtype(entry.dtype))?.to_weight(&self.device))
    }
}

/// What a quantized weight remembers of the dtype it was stored in.
pub(crate) fn source_dtype(dtype: CheckpointDtype) -> SourceDtype {
    match dtype {
        CheckpointDtype::BF16 => SourceDtype::Bf16,
        CheckpointDtype::F16 => SourceDtype::F16,
        _ => SourceDtype::F32,
    }
}

/// A stored tensor as the quantization crate reads it; `None` for a dtype that it has no use for.
pub(crate) fn raw(entry: TensorEntry) -> Option<RawTensor> {
    let dtype = RAW_DTYPES.iter().find(|(_, dtype)| *dtype == entry.dtype)?.0;
    Some(RawTensor { dtype, shape: entry.shape, data: entry.bytes.to_vec() })
}

/// A tensor of the quantization crate as a file holds it.
pub(crate) fn entry(tensor: RawTensor) -> TensorEntry {
    let dtype = RAW_DTYPES.iter().find(|(raw, _)| *raw == tensor.dtype);
    let dtype = dtype.map_or(CheckpointDtype::U8, |(_, dtype)| *dtype);
    TensorEntry { dtype, shape: tensor.shape, bytes: tensor.data.into() }
}

const RAW_DTYPES: [(RawDtype, CheckpointDtype); 5] = [
    (RawDtype::U8, CheckpointDtype::U8),
    (RawDtype::I8, CheckpointDtype::I8),
    (RawDtype::F16, CheckpointDtype::F16),
    (RawDtype::Bf16, CheckpointDtype::BF16),
    (RawDtype::F32, CheckpointDtype::F32),
];
