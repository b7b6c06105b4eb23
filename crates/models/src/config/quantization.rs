//! The `quantization_config` of a checkpoint stored in 4 bits.

use serde_json::{Value, json};

use super::fields::Fields;
use crate::checkpoint::CheckpointDtype;

/// How bitsandbytes quantized a checkpoint's projections. NF4 is the only 4-bit type that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuantizationConfig {
    /// Whether the blocks' scales are quantized too.
    pub double_quant: bool,
    /// What transformers computes in (`bnb_4bit_compute_dtype`). Kept for the file; here the caller decides.
    pub compute_dtype: CheckpointDtype,
    /// Modules that were left as they are, as the file lists them; `None` leaves out the head alone.
    pub skip_modules: Option<Vec<String>>,
}

impl QuantizationConfig {
    /// NF4 in blocks of 64, head excluded.
    pub fn nf4() -> Self {
        Self { double_quant: false, compute_dtype: CheckpointDtype::F32, skip_modules: None }
    }

    /// Quantizes the scales, too.
    #[must_use]
    pub fn with_double_quant(mut self, double_quant: bool) -> Self {
        self.double_quant = double_quant;
        self
    }

    /// Names the modules that were left as they are, by their paths; the head is one of them unless it was quantized.
    #[must_use]
    pub fn with_skip_modules(mut self, modules: impl IntoIterator<Item = String>) -> Self {
        self.skip_modules = Some(modules.into_iter().collect());
        self
    }

    /// What other readers shall compute in: f32, f16 or bf16.
    ///
    /// # Panics
    /// Where `dtype` is none of these.
    #[must_use]
    pub fn with_compute_dtype(mut self, dtype: CheckpointDtype) -> Self {
        assert!(dtype.is_weight(), "compute dtype: found {dtype}, wanted F32, F16 or BF16");
        self.compute_dtype = dtype;
        self
    }

    /// Reads `quantization_config`; the inner `None` is a checkpoint that is not quantized.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Option<Self>> {
        let Some(mut quantization) = fields.object("quantization_config")? else {
            return Some(None);
        };
        let method = quantization.text("quant_method", "bitsandbytes");
        if method.is_some_and(|method| method != "bitsandbytes") {
            return quantization.problem("quant_method", "\"bitsandbytes\"");
        }
        let four_bit = ["load_in_4bit", "_load_in_4bit"].map(|key| quantization.bool(key, false));
        if !four_bit.contains(&Some(true)) {
            return quantization.problem("load_in_4bit", "true");
        }
        // transformers' own default is fp4, so a file that does not say means that.
        let quant_type = quantization.text("bnb_4bit_quant_type", "fp4");
        if quant_type.is_some_and(|quant_type| quant_type != "nf4") {
            quantization.problem::<()>("bnb_4bit_quant_type", "\"nf4\"");
        }
        let storage = quantization.text("bnb_4bit_quant_storage", "uint8");
        if storage.is_some_and(|storage| storage != "uint8") {
            quantization.problem::<()>("bnb_4bit_quant_storage", "\"uint8\"");
        }
        let double_quant = quantization.bool("bnb_4bit_use_double_quant", false);
        let compute_dtype = quantization.dtype("bnb_4bit_compute_dtype");
        let skip_modules = quantization.read(
            "llm_int8_skip_modules",
            Some(None),
            "a list of module names or null",
            |value| {
                let names = value.as_array()?.iter();
                Some(Some(names.map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?))
            },
        );
        Some(Some(Self {
            double_quant: double_quant?,
            compute_dtype: compute_dtype?.unwrap_or(CheckpointDtype::F32),
            skip_modules: skip_modules?,
        }))
    }

    /// The object that transformers 5.23 writes.
    pub(super) fn to_value(&self) -> Value {
        json!({
            "_load_in_4bit": true,
            "_load_in_8bit": false,
            "bnb_4bit_compute_dtype": self.compute_dtype.config_name(),
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": self.double_quant,
            "llm_int8_enable_fp32_cpu_offload": false,
            "llm_int8_has_fp16_weight": false,
            "llm_int8_skip_modules": self.skip_modules,
            "llm_int8_threshold": 6.0,
            "load_in_4bit": true,
            "load_in_8bit": false,
            "quant_method": "bitsandbytes",
        })
    }
}
