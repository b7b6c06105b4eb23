//! A checkpoint's tensors against what the model needs.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::Checkpoint;
use super::dtype::CheckpointDtype;
use super::entry::TensorEntry;
use crate::error::{CheckpointProblem, ModelError};

/// The tensors that bitsandbytes stores next to a 4-bit weight, by the end of their names.
const COMPANIONS: [&str; 6] =
    [".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", NF4_STATE, FP4_STATE];
const NF4_STATE: &str = ".quant_state.bitsandbytes__nf4";
const FP4_STATE: &str = ".quant_state.bitsandbytes__fp4";

/// The tensors that bitsandbytes stores next to an LLM.int8 weight, by the end of their names after the module's path.
const SCALES: &str = ".SCB";
const INT8_COMPANIONS: [&str; 2] = [SCALES, ".weight_format"];

/// How the names of weights end.
const WEIGHT: &str = ".weight";

/// The tables of old rotary embeddings, which are computed and not read.
const INVERSE_FREQUENCIES: &str = ".rotary_emb.inv_freq";

/// Whether a tensor must be in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its absence is an error.
    Required,
    /// It may be absent: the `lm_head.weight` of tied embeddings.
    Optional,
}

/// A tensor that a model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTensor {
    /// Its name in the files.
    pub name: String,
    /// Its shape, unquantized.
    pub shape: Vec<usize>,
    /// Whether it must be there.
    pub presence: Presence,
}

impl ExpectedTensor {
    /// A tensor that must be there.
    pub fn required(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), shape: shape.into(), presence: Presence::Required }
    }

    /// A tensor that may be absent.
    pub fn optional(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { presence: Presence::Optional, ..Self::required(name, shape) }
    }
}

impl Checkpoint {
    /// Compares the files with the tensors a model has, and reports every difference at once.
    ///
    /// A weight is f32, f16 or bf16 in its expected shape, I8 next to the scales of LLM.int8, or U8 next to its 4-bit
    /// quantization state, whose shape is the one compared. The state itself is checked by `burnisher_quant` where it
    /// is read. Besides the expected tensors the files may hold a quantized weight's companions, rotary `inv_freq` buffers, and names that
    /// `allowed_extra` accepts.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] with every missing, unexpected and mis-shaped tensor and every dtype that no weight
    /// can have.
    pub fn check(
        &self,
        expected: &[ExpectedTensor],
        allowed_extra: impl Fn(&str) -> bool,
    ) -> Result<(), ModelError> {
        let mut problems: Vec<_> = expected.iter().filter_map(|tensor| self.compare(tensor)).collect();
        let known: BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
        for (name, located) in &self.tensors {
            let expected = known.contains(name.as_str()) || self.is_companion(name, &known);
            if !expected && !name.ends_with(INVERSE_FREQUENCIES) && !allowed_extra(name) {
                problems.push(CheckpointProblem::Unexpected {
                    tensor: name.clone(),
                    found: located.span.shape.clone(),
                });
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ModelError::Tensors { path: self.dir.clone(), problems })
        }
    }

    fn compare(&self, expected: &ExpectedTensor) -> Option<CheckpointProblem> {
        let tensor = expected.name.clone();
        let wanted = expected.shape.clone();
        let Some(located) = self.tensors.get(&expected.name) else {
            return (expected.presence == Presence::Required)
                .then_some(CheckpointProblem::Missing { tensor, wanted });
        };
        let found = match located.span.dtype {
            dtype if dtype.is_weight() => located.span.shape.clone(),
            CheckpointDtype::U8 if self.state(&tensor).is_some() => {
                // A state that cannot be read is for the reader of the weight to describe.
                self.quantized_shape(&tensor)?
            }
            CheckpointDtype::I8 if self.has_scales(&tensor) => located.span.shape.clone(),
            dtype => {
                return Some(CheckpointProblem::Dtype {
                    tensor,
                    found: dtype.to_string(),
                    wanted: "F32, F16, BF16, U8 with a bitsandbytes quant_state, or I8 with SCB".to_owned(),
                });
            }
        };
        (found != wanted).then_some(CheckpointProblem::Shape { tensor, found, wanted })
    }

    /// The shape in a 4-bit weight's state, if there is one to read.
    fn quantized_shape(&self, weight: &str) -> Option<Vec<usize>> {
        #[derive(Deserialize)]
        struct State {
            shape: Vec<usize>,
        }
        let state = self.state(weight)?;
        serde_json::from_slice::<State>(&state.bytes).ok().map(|state| state.shape)
    }

    /// The quantization state of a 4-bit weight.
    fn state(&self, weight: &str) -> Option<TensorEntry> {
        [NF4_STATE, FP4_STATE].iter().find_map(|end| self.tensor(&format!("{weight}{end}")))
    }

    fn has_scales(&self, weight: &str) -> bool {
        weight
            .strip_suffix(WEIGHT)
            .is_some_and(|module| self.tensors.contains_key(&format!("{module}{SCALES}")))
    }

    /// Whether `name` belongs to one of the `known` weights, which is stored in codes.
    fn is_companion(&self, name: &str, known: &BTreeSet<&str>) -> bool {
        let is_stored = |weight: &str, dtype| {
            let found = self.tensors.get(weight).map(|located| located.span.dtype);
            known.contains(weight) && found == Some(dtype)
        };
        COMPANIONS
            .iter()
            .filter_map(|end| name.strip_suffix(end))
            .any(|weight| is_stored(weight, CheckpointDtype::U8))
            || INT8_COMPANIONS
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .any(|module| is_stored(&format!("{module}{WEIGHT}"), CheckpointDtype::I8))
    }
}
