//! The settings of LoftQ and EVA, as adapter_config.json holds them.

use serde_json::{Map, Value, json};

use crate::error::LoraError;

/// How LoftQ starts (peft 0.21, `LoftQConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoftqConfig {
    /// The bits that the base is quantized to: 4 for NF4 in blocks of 64, 8 for LLM.int8 rows.
    pub bits: u32,
    /// Rounds of quantizing and decomposing, at least 1.
    pub iterations: usize,
}

impl Default for LoftqConfig {
    fn default() -> Self {
        Self { bits: 4, iterations: 1 }
    }
}

impl LoftqConfig {
    pub(crate) const WANTED: &str = "{\"loftq_bits\": 4 or 8, \"loftq_iter\": at least 1}";

    pub(crate) fn validate(&self) -> Result<(), LoraError> {
        if !matches!(self.bits, 4 | 8) {
            return Err(LoraError::config("loftq_config.loftq_bits", self.bits, "4 or 8"));
        }
        if self.iterations == 0 {
            return Err(LoraError::config("loftq_config.loftq_iter", 0, "at least 1"));
        }
        Ok(())
    }

    /// `Some(None)` for `{}`, which PEFT writes where LoftQ is not used.
    pub(crate) fn from_json(value: &Value) -> Option<Option<Self>> {
        let fields = value.as_object()?;
        if fields.is_empty() {
            return Some(None);
        }
        let default = Self::default();
        let known = only(fields, &["loftq_bits", "loftq_iter"])?;
        let bits = field(known, "loftq_bits", Value::as_u64, u64::from(default.bits))?;
        let iterations = field(known, "loftq_iter", Value::as_u64, default.iterations as u64)?;
        Some(Some(Self { bits: u32::try_from(bits).ok()?, iterations: usize::try_from(iterations).ok()? }))
    }

    pub(crate) fn to_json(self) -> Value {
        json!({"loftq_bits": self.bits, "loftq_iter": self.iterations})
    }
}

/// How EVA starts (peft 0.21, `EvaConfig`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaConfig {
    /// A module's rank is at most this multiple of its configured one; 1 leaves every rank as it is. At least 1.
    pub rho: f64,
    /// Directions have settled when the cosine between two updates is at least this, from 0 to 1.
    pub tau: f64,
    /// Whether positions without a label are left out. For who collects the inputs; carried, not used here.
    pub use_label_mask: bool,
    /// The label that stands for none; carried, not used here.
    pub label_mask_value: i64,
    /// Whether a direction is divided by the root of its singular value.
    pub whiten: bool,
    /// Whether alpha grows with a module's rank, so that its scaling stays.
    pub adjust_scaling_factors: bool,
}

impl Default for EvaConfig {
    fn default() -> Self {
        Self {
            rho: 2.0,
            tau: 0.99,
            use_label_mask: true,
            label_mask_value: -100,
            whiten: false,
            adjust_scaling_factors: true,
        }
    }
}

impl EvaConfig {
    pub(crate) const WANTED: &str = "the fields of PEFT's EvaConfig (rho, tau, use_label_mask, \
        label_mask_value, whiten, adjust_scaling_factors)";

    pub(crate) fn validate(&self) -> Result<(), LoraError> {
        if !self.rho.is_finite() || self.rho < 1.0 {
            return Err(LoraError::config("eva_config.rho", self.rho, "a finite number from 1"));
        }
        if !(0.0..=1.0).contains(&self.tau) {
            return Err(LoraError::config("eva_config.tau", self.tau, "a number from 0 to 1"));
        }
        Ok(())
    }

    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let default = Self::default();
        let names = ["rho", "tau", "use_label_mask", "label_mask_value", "whiten", "adjust_scaling_factors"];
        let fields = only(value.as_object()?, &names)?;
        Some(Self {
            rho: field(fields, "rho", Value::as_f64, default.rho)?,
            tau: field(fields, "tau", Value::as_f64, default.tau)?,
            use_label_mask: field(fields, "use_label_mask", Value::as_bool, default.use_label_mask)?,
            label_mask_value: field(fields, "label_mask_value", Value::as_i64, default.label_mask_value)?,
            whiten: field(fields, "whiten", Value::as_bool, default.whiten)?,
            adjust_scaling_factors: field(
                fields,
                "adjust_scaling_factors",
                Value::as_bool,
                default.adjust_scaling_factors,
            )?,
        })
    }

    pub(crate) fn to_json(self) -> Value {
        json!({
            "adjust_scaling_factors": self.adjust_scaling_factors,
            "label_mask_value": self.label_mask_value,
            "rho": self.rho,
            "tau": self.tau,
            "use_label_mask": self.use_label_mask,
            "whiten": self.whiten,
        })
    }
}

/// The object, if it has no other fields than these.
fn only<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Map<String, Value>> {
    fields.keys().all(|key| names.contains(&key.as_str())).then_some(fields)
}

/// A field's value, or the default where it is absent; `None` if it is of another type.
fn field<T>(
    fields: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&Value) -> Option<T>,
    default: T,
) -> Option<T> {
    fields.get(name).map_or(Some(default), parse)
}
