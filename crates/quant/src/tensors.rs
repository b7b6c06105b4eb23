use crate::config::QuantType;
use crate::description::{Description, Nested};
use crate::double::Absmax;
use crate::dynamic_map::dynamic_map_signed;
use crate::error::QuantError;
use crate::raw::{RawDtype, RawTensor};
use crate::reader::Reader;
use crate::state::QuantState;

// bitsandbytes 0.50.2, `QuantState.as_dict(packed=True)`: these follow the name of the weight.
const ABSMAX: &str = ".absmax";
const QUANT_MAP: &str = ".quant_map";
const NESTED_ABSMAX: &str = ".nested_absmax";
const NESTED_QUANT_MAP: &str = ".nested_quant_map";
const STATE: &str = ".quant_state.bitsandbytes__";

/// The last bits of a nested map depend on how torch rounded `linspace` on the machine that wrote it.
const NESTED_MAP_TOLERANCE: f32 = 1e-6;

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
    /// | `NAME.quant_state.bitsandbytes__nf4` or `__fp4` | U8: JSON text in the spelling of Python's `json.dumps` |
    pub fn to_tensors(&self, name: &str) -> Vec<(String, RawTensor)> {
        let packed = self.packed().to_vec();
        let mut tensors = vec![(name.to_owned(), RawTensor::from_bytes(vec![packed.len(), 1], packed))];
        let mut push = |suffix: &str, tensor| tensors.push((format!("{name}{suffix}"), tensor));
        let levels = RawTensor::from_floats(self.quant_type().levels());
        match self.absmax() {
            Absmax::Plain(values) => {
                push(ABSMAX, RawTensor::from_floats(values));
                push(QUANT_MAP, levels);
            }
            Absmax::Nested { codes, nested_absmax, .. } => {
                push(ABSMAX, RawTensor::from_bytes(vec![codes.len()], codes.clone()));
                push(QUANT_MAP, levels);
                push(NESTED_ABSMAX, RawTensor::from_floats(nested_absmax));
                push(NESTED_QUANT_MAP, RawTensor::from_floats(dynamic_map_signed()));
            }
        }
        let text = Description::of(self).to_json();
        let suffix = state_suffix(self.quant_type());
        push(suffix.as_str(), RawTensor::from_bytes(vec![text.len()], text.into_bytes()));
        tensors
    }

    /// Reads the weight `name` (ending in `.weight`) from the tensors of a bitsandbytes checkpoint.
    ///
    /// `get` returns a tensor by its full name, or `None`. The keys are those of [`QuantState::to_tensors`]; packed
    /// codes may have any dtype (`bnb_4bit_quant_storage`).
    ///
    /// # Errors
    ///
    /// [`QuantError::Tensors`] with everything that is missing or does not fit: dtypes, lengths, the JSON text and its
    /// fields, scales that are not finite, code tables other than that of the type and the signed dynamic map.
    pub fn from_tensors(name: &str, get: impl Fn(&str) -> Option<RawTensor>) -> Result<Self, QuantError> {
        let mut reader = Reader::new(name, get);
        match read(&mut reader) {
            Some(state) if reader.problems.is_empty() => Ok(state),
            _ => Err(QuantError::Tensors { weight: name.to_owned(), problems: reader.problems }),
        }
    }
}

fn state_suffix(quant_type: QuantType) -> String {
    format!("{STATE}{}", quant_type.as_str())
}

fn read<G: Fn(&str) -> Option<RawTensor>>(reader: &mut Reader<'_, G>) -> Option<QuantState> {
    let quant_type = quant_type(reader)?;
    let description = description(reader, quant_type);
    let count = description.as_ref().map(Description::count);
    let blocks = description.as_ref().map(Description::blocks);

    let packed = reader.tensor("", None).map(|tensor| tensor.data);
    let packed = reader.of_length("", packed, count.map(|count| count.div_ceil(2)));
    reader.table(QUANT_MAP, quant_type.levels(), 0.0);
    // Without a readable description the tensors themselves say whether to look for nested ones.
    let nested = match &description {
        Some(description) => description.nested.is_some(),
        None => reader.has(NESTED_ABSMAX),
    };
    let absmax = if nested {
        let nested = description.as_ref().and_then(|description| description.nested);
        nested_absmax(reader, nested, blocks)
    } else {
        reader.scales(ABSMAX, blocks).map(Absmax::Plain)
    };

    let (packed, absmax, description) = (packed?, absmax?, description?);
    let state = QuantState::new(
        description.quant_type,
        packed,
        absmax,
        description.shape,
        description.block_size,
        description.source_dtype,
    );
    state.map_err(|problem| reader.problems.push(problem)).ok()
}

/// The type that the key of the description names; NF4 if there is no description, which is then missed under that
/// name.
fn quant_type<G: Fn(&str) -> Option<RawTensor>>(reader: &mut Reader<'_, G>) -> Option<QuantType> {
    let there = QuantType::ALL.map(|quant_type| reader.has(&state_suffix(quant_type)));
    match there {
        [true, true] => {
            let names = QuantType::ALL.map(|quant_type| reader.name(&state_suffix(quant_type)));
            reader.problems.push(QuantError::TwoStates { names });
            None
        }
        [_, false] => Some(QuantType::Nf4),
        [false, true] => Some(QuantType::Fp4),
    }
}

fn description<G: Fn(&str) -> Option<RawTensor>>(
    reader: &mut Reader<'_, G>,
    quant_type: QuantType,
) -> Option<Description> {
    let suffix = state_suffix(quant_type);
    let tensor = reader.tensor(&suffix, Some(RawDtype::U8))?;
    match Description::parse(&reader.name(&suffix), quant_type, &tensor.data) {
        Ok(description) => Some(description),
        Err(problems) => {
            reader.problems.extend(problems);
            None
        }
    }
}

fn nested_absmax<G: Fn(&str) -> Option<RawTensor>>(
    reader: &mut Reader<'_, G>,
    nested: Option<Nested>,
    blocks: Option<usize>,
) -> Option<Absmax> {
    let codes = reader.tensor(ABSMAX, Some(RawDtype::U8)).map(|tensor| tensor.data);
    let codes = reader.of_length(ABSMAX, codes, blocks);
    let wanted = blocks.zip(nested).map(|(blocks, nested)| blocks.div_ceil(nested.block_size));
    let nested_absmax = reader.scales(NESTED_ABSMAX, wanted);
    reader.table(NESTED_QUANT_MAP, dynamic_map_signed(), NESTED_MAP_TOLERANCE);
    let nested = nested?;
    Some(Absmax::Nested {
        codes: codes?,
        nested_absmax: nested_absmax?,
        offset: nested.offset,
        block_size: nested.block_size,
    })
}
