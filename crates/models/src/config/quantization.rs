//! The `quantization_config` of a checkpoint whose projections are quantized.

use burnisher_quant::QuantType;
use serde_json::{Value, json};

use super::fields::Fields;
use crate::checkpoint::CheckpointDtype;
use crate::layout::HEAD;

/// How bitsandbytes quantized a checkpoint's projections.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QuantizationConfig {
    /// The form of the quantized weights.
    pub method: QuantizationMethod,
    /// What transformers computes in (`bnb_4bit_compute_dtype`). Kept for the file; here the caller decides.
    pub compute_dtype: CheckpointDtype,
    /// Modules that were left as they are, as the file lists them; `None` leaves out the head alone.
    pub skip_modules: Option<Vec<String>>,
}

/// The form of quantized weights.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuantizationMethod {
    /// 4 bits a value (`load_in_4bit`).
    FourBit {
        /// NF4 or FP4.
        quant_type: QuantType,
        /// Whether the blocks' scales are quantized too.
        double_quant: bool,
    },
    /// LLM.int8 (`load_in_8bit`).
    Int8 {
        /// The magnitude from which on an input is an outlier.
        threshold: f32,
    },
}

impl QuantizationConfig {
    /// Weights of this form, head excluded.
    pub fn new(method: QuantizationMethod) -> Self {
        Self { method, compute_dtype: CheckpointDtype::F32, skip_modules: None }
    }

    /// Names the projections that were left as they are, by path or its end. The head, which always is, joins the list:
    /// transformers leaves it out by itself only while there is none.
    #[must_use]
    pub fn with_skip_modules(mut self, modules: impl IntoIterator<Item = String>) -> Self {
        let modules = modules.into_iter().filter(|module| module != HEAD);
        let named: Vec<String> = modules.chain([HEAD.to_owned()]).collect();
        self.skip_modules = (named.len() > 1).then_some(named);
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
        let name = quantization.text("quant_method", "bitsandbytes");
        if name.is_some_and(|name| name != "bitsandbytes") {
            return quantization.problem("quant_method", "\"bitsandbytes\"");
        }
        let mut is_set = |bits: u8| {
            let keys = [format!("load_in_{bits}bit"), format!("_load_in_{bits}bit")];
            keys.map(|key| quantization.bool(&key, false)).contains(&Some(true))
        };
        let method = match (is_set(4), is_set(8)) {
            (true, false) => four_bit(&mut quantization),
            (false, true) => int8(&mut quantization),
            _ => return quantization.problem("load_in_4bit", "true, or load_in_8bit true, and not both"),
        };
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
            method: method?,
            compute_dtype: compute_dtype?.unwrap_or(CheckpointDtype::F32),
            skip_modules: skip_modules?,
        }))
    }

    /// The object that transformers 5.23 writes.
    pub(super) fn to_value(&self) -> Value {
        let is_4bit = matches!(self.method, QuantizationMethod::FourBit { .. });
        // What the other form would say is transformers' default.
        let (quant_type, double_quant, threshold) = match self.method {
            QuantizationMethod::FourBit { quant_type, double_quant } => {
                (quant_type.as_str(), double_quant, 6.0)
            }
            // Without outliers is 0 in the file.
            QuantizationMethod::Int8 { threshold } if threshold.is_infinite() => ("fp4", false, 0.0),
            QuantizationMethod::Int8 { threshold } => ("fp4", false, threshold),
        };
        json!({
            "_load_in_4bit": is_4bit,
            "_load_in_8bit": !is_4bit,
            "bnb_4bit_compute_dtype": self.compute_dtype.config_name(),
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_quant_type": quant_type,
            "bnb_4bit_use_double_quant": double_quant,
            "llm_int8_enable_fp32_cpu_offload": false,
            "llm_int8_has_fp16_weight": false,
            "llm_int8_skip_modules": self.skip_modules,
            "llm_int8_threshold": threshold,
            "load_in_4bit": is_4bit,
            "load_in_8bit": !is_4bit,
            "quant_method": "bitsandbytes",
        })
    }
}

fn four_bit(quantization: &mut Fields<'_>) -> Option<QuantizationMethod> {
    // transformers' own default is fp4, so a file that does not say means that.
    let quant_type = match quantization.text("bnb_4bit_quant_type", "fp4")?.as_str() {
        "nf4" => Some(QuantType::Nf4),
        "fp4" => Some(QuantType::Fp4),
        _ => quantization.problem("bnb_4bit_quant_type", "\"nf4\" or \"fp4\""),
    };
    let storage = quantization.text("bnb_4bit_quant_storage", "uint8");
    if storage.is_some_and(|storage| storage != "uint8") {
        quantization.problem::<()>("bnb_4bit_quant_storage", "\"uint8\"");
    }
    let double_quant = quantization.bool("bnb_4bit_use_double_quant", false);
    Some(QuantizationMethod::FourBit { quant_type: quant_type?, double_quant: double_quant? })
}

fn int8(quantization: &mut Fields<'_>) -> Option<QuantizationMethod> {
    let fp16_weight = quantization.bool("llm_int8_has_fp16_weight", false);
    if fp16_weight == Some(true) {
        quantization.problem::<()>("llm_int8_has_fp16_weight", "false");
    }
    // 0 switches outliers off.
    let threshold = quantization.read("llm_int8_threshold", Some(6.0), "a number from 0", |value| {
        value.as_f64().filter(|threshold| *threshold >= 0.0).map(|threshold| threshold as f32)
    })?;
    let threshold = if threshold == 0.0 { f32::INFINITY } else { threshold };
    Some(QuantizationMethod::Int8 { threshold })
}
