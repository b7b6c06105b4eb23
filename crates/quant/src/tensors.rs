use std::fmt;

use crate::codebook::NF4;
use crate::config::{QuantType, check_finite};
use crate::description::{Description, Nested};
use crate::double::Absmax;
use crate::dynamic_map::dynamic_map_signed;
use crate::error::QuantError;
use crate::state::QuantState;

// bitsandbytes 0.50.2, `QuantState.as_dict(packed=True)`: these follow the name of the weight.
const ABSMAX: &str = ".absmax";
const QUANT_MAP: &str = ".quant_map";
const NESTED_ABSMAX: &str = ".nested_absmax";
const NESTED_QUANT_MAP: &str = ".nested_quant_map";
const STATE: &str = ".quant_state.bitsandbytes__";
/// Types that bitsandbytes writes and this crate does not read.
const OTHER_TYPES: [&str; 1] = ["fp4"];

/// The last bits of a nested map depend on how torch rounded `linspace` on the machine that wrote it.
const NESTED_MAP_TOLERANCE: f32 = 1e-6;

/// The dtype of a [`RawTensor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RawDtype {
    /// Unsigned bytes.
    U8,
    /// IEEE half precision. Only packed codes may have it (`bnb_4bit_quant_storage`): the same bytes under another name.
    F16,
    /// Brain floating point; as with [`RawDtype::F16`], only for packed codes.
    Bf16,
    /// 32-bit floating point.
    F32,
}

impl RawDtype {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

impl fmt::Display for RawDtype {
    /// The name in safetensors headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "U8",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F32 => "F32",
        })
    }
}

/// A tensor as a file holds it: little-endian bytes, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// The element type.
    pub dtype: RawDtype,
    /// The shape.
    pub shape: Vec<usize>,
    /// The elements; the length is the product of the shape times the size of the dtype.
    pub data: Vec<u8>,
}

impl RawTensor {
    fn from_bytes(shape: Vec<usize>, data: Vec<u8>) -> Self {
        Self { dtype: RawDtype::U8, shape, data }
    }

    fn from_floats(values: &[f32]) -> Self {
        Self {
            dtype: RawDtype::F32,
            shape: vec![values.len()],
            data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    fn floats(&self) -> Vec<f32> {
        let (values, _) = self.data.as_chunks::<4>();
        values.iter().copied().map(f32::from_le_bytes).collect()
    }
}

impl QuantState {
    /// The tensors that bitsandbytes saves for the weight `name` (ending in `.weight`), in its order.
    ///
    /// | key | dtype, shape |
    /// |---|---|
    /// | `NAME` | U8 `[ceil(n / 2), 1]` |
    /// | `NAME.absmax` | F32 `[blocks]`, or U8 `[blocks]` with double quantization |
    /// | `NAME.quant_map` | F32 `[16]` |
    /// | `NAME.nested_absmax` | F32 `[ceil(blocks / 256)]`, only with double quantization |
    /// | `NAME.nested_quant_map` | F32 `[256]`, only with double quantization |
    /// | `NAME.quant_state.bitsandbytes__nf4` | U8: JSON text in the spelling of Python's `json.dumps` |
    pub fn to_tensors(&self, name: &str) -> Vec<(String, RawTensor)> {
        let packed = self.packed().to_vec();
        let mut tensors = vec![(name.to_owned(), RawTensor::from_bytes(vec![packed.len(), 1], packed))];
        let mut push = |suffix: &str, tensor| tensors.push((format!("{name}{suffix}"), tensor));
        match self.absmax() {
            Absmax::Plain(values) => {
                push(ABSMAX, RawTensor::from_floats(values));
                push(QUANT_MAP, RawTensor::from_floats(&NF4));
            }
            Absmax::Nested { codes, nested_absmax, .. } => {
                push(ABSMAX, RawTensor::from_bytes(vec![codes.len()], codes.clone()));
                push(QUANT_MAP, RawTensor::from_floats(&NF4));
                push(NESTED_ABSMAX, RawTensor::from_floats(nested_absmax));
                push(NESTED_QUANT_MAP, RawTensor::from_floats(dynamic_map_signed()));
            }
        }
        let text = Description::of(self).to_json();
        let suffix = format!("{STATE}{}", self.quant_type().as_str());
        push(suffix.as_str(), RawTensor::from_bytes(vec![text.len()], text.into_bytes()));
        tensors
    }

    /// Reads the weight `name` (ending in `.weight`) from the tensors of a bitsandbytes checkpoint.
    ///
    /// `get` returns a tensor by its full name, or `None`. The keys are those of [`QuantState::to_tensors`]; packed codes
    /// may have any dtype (`bnb_4bit_quant_storage`).
    ///
    /// # Errors
    ///
    /// [`QuantError::Tensors`] with everything that is missing or does not fit: dtypes, lengths, the JSON text and its
    /// fields, scales that are not finite, code tables other than NF4's and the signed dynamic map.
    pub fn from_tensors(name: &str, get: impl Fn(&str) -> Option<RawTensor>) -> Result<Self, QuantError> {
        let mut reader = Reader { weight: name, get, problems: Vec::new() };
        match reader.read() {
            Some(state) if reader.problems.is_empty() => Ok(state),
            _ => Err(QuantError::Tensors { weight: name.to_owned(), problems: reader.problems }),
        }
    }
}

/// Reads the tensors of one weight and collects everything that is wrong with them.
struct Reader<'a, G> {
    weight: &'a str,
    get: G,
    problems: Vec<QuantError>,
}

impl<G: Fn(&str) -> Option<RawTensor>> Reader<'_, G> {
    fn read(&mut self) -> Option<QuantState> {
        if self.is_of_another_type() {
            return None;
        }
        let description = self.description();
        let count = description.as_ref().map(Description::count);
        let blocks = description.as_ref().map(Description::blocks);

        let packed = self.tensor("", None).map(|tensor| tensor.data);
        let packed = self.of_length("", packed, count.map(|count| count.div_ceil(2)));
        self.table(QUANT_MAP, &NF4, 0.0);
        // Without a readable description the tensors themselves say whether to look for nested ones.
        let nested = match &description {
            Some(description) => description.nested.is_some(),
            None => (self.get)(&self.name(NESTED_ABSMAX)).is_some(),
        };
        let absmax = if nested {
            let nested = description.as_ref().and_then(|description| description.nested);
            self.nested_absmax(nested, blocks)
        } else {
            self.scales(ABSMAX, blocks).map(Absmax::Plain)
        };

        let (packed, absmax, description) = (packed?, absmax?, description?);
        let state = QuantState::new(
            QuantType::Nf4,
            packed,
            absmax,
            description.shape,
            description.block_size,
            description.source_dtype,
        );
        state.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn is_of_another_type(&mut self) -> bool {
        for other in OTHER_TYPES {
            let name = self.name(&format!("{STATE}{other}"));
            if (self.get)(&name).is_some() {
                let found = other.to_owned();
                self.problems.push(QuantError::UnsupportedType { name, found });
                return true;
            }
        }
        false
    }

    fn description(&mut self) -> Option<Description> {
        let suffix = format!("{STATE}{}", QuantType::Nf4.as_str());
        let tensor = self.tensor(&suffix, Some(RawDtype::U8))?;
        match Description::parse(&self.name(&suffix), &tensor.data) {
            Ok(description) => Some(description),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    fn nested_absmax(&mut self, nested: Option<Nested>, blocks: Option<usize>) -> Option<Absmax> {
        let codes = self.tensor(ABSMAX, Some(RawDtype::U8)).map(|tensor| tensor.data);
        let codes = self.of_length(ABSMAX, codes, blocks);
        let wanted = blocks.zip(nested).map(|(blocks, nested)| blocks.div_ceil(nested.block_size));
        let nested_absmax = self.scales(NESTED_ABSMAX, wanted);
        self.table(NESTED_QUANT_MAP, dynamic_map_signed(), NESTED_MAP_TOLERANCE);
        let nested = nested?;
        Some(Absmax::Nested {
            codes: codes?,
            nested_absmax: nested_absmax?,
            offset: nested.offset,
            block_size: nested.block_size,
        })
    }

    /// Finite f32 values, `wanted` of them if that is known.
    fn scales(&mut self, suffix: &str, wanted: Option<usize>) -> Option<Vec<f32>> {
        let values = self.tensor(suffix, Some(RawDtype::F32)).map(|tensor| tensor.floats());
        let values = self.of_length(suffix, values, wanted)?;
        let what = format!("tensor {}", self.name(suffix));
        match check_finite(&what, &values, 0) {
            Ok(()) => Some(values),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// Checks a code table; `tolerance` is relative to each entry.
    fn table(&mut self, suffix: &str, wanted: &[f32], tolerance: f32) {
        let values = self.tensor(suffix, Some(RawDtype::F32)).map(|tensor| tensor.floats());
        let Some(values) = self.of_length(suffix, values, Some(wanted.len())) else {
            return;
        };
        let close = |found: f32, wanted: f32| (found - wanted).abs() <= tolerance * wanted.abs();
        let differs = values.iter().zip(wanted).position(|(found, wanted)| !close(*found, *wanted));
        if let Some(index) = differs {
            self.problems.push(QuantError::Table {
                name: self.name(suffix),
                index,
                found: values[index],
                wanted: wanted[index],
            });
        }
    }

    /// A tensor whose bytes match its shape, with the wanted dtype if one is wanted.
    fn tensor(&mut self, suffix: &str, wanted: Option<RawDtype>) -> Option<RawTensor> {
        let name = self.name(suffix);
        let Some(tensor) = (self.get)(&name) else {
            self.problems.push(QuantError::MissingTensor { name });
            return None;
        };
        let RawTensor { dtype, shape, data } = &tensor;
        let bytes = shape.iter().try_fold(dtype.size(), |bytes, extent| bytes.checked_mul(*extent));
        if bytes != Some(data.len()) {
            self.problems.push(QuantError::Bytes {
                name,
                shape: shape.clone(),
                dtype: *dtype,
                found: data.len(),
            });
            return None;
        }
        match wanted {
            Some(wanted) if wanted != *dtype => {
                let found = *dtype;
                self.problems.push(QuantError::Dtype { name, found, wanted });
                None
            }
            _ => Some(tensor),
        }
    }

    fn of_length<T>(
        &mut self,
        suffix: &str,
        values: Option<Vec<T>>,
        wanted: Option<usize>,
    ) -> Option<Vec<T>> {
        let values = values?;
        match wanted {
            Some(wanted) if wanted != values.len() => {
                self.problems.push(QuantError::TensorLength {
                    name: self.name(suffix),
                    found: values.len(),
                    wanted,
                });
                None
            }
            _ => Some(values),
        }
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.weight)
    }
}
