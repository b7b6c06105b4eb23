use super::weight::Int8Weight;
use crate::error::QuantError;
use crate::raw::{RawDtype, RawTensor};
use crate::reader::Reader;

// bitsandbytes 0.50.2, `Linear8bitLt._save_to_state_dict`: these follow the name of the module.
const WEIGHT: &str = ".weight";
const ABSMAX: &str = ".SCB";
const FORMAT: &str = ".weight_format";

/// The only layout that is still written: row by row.
const ROW_MAJOR: u8 = 0;

impl Int8Weight {
    /// The tensors that bitsandbytes saves for the linear layer `module`, in its order.
    ///
    /// | key | dtype, shape |
    /// |---|---|
    /// | `MODULE.weight` | I8 `[out, in]` |
    /// | `MODULE.SCB` | F32 `[out]`: the absmax |
    /// | `MODULE.weight_format` | U8 `[]`: 0, for codes row by row |
    pub fn to_tensors(&self, module: &str) -> Vec<(String, RawTensor)> {
        let tensors = [
            (WEIGHT, RawTensor::from_signed(self.shape().to_vec(), self.codes())),
            (ABSMAX, RawTensor::from_floats(self.absmax())),
            (FORMAT, RawTensor::from_bytes(Vec::new(), vec![ROW_MAJOR])),
        ];
        tensors.map(|(suffix, tensor)| (format!("{module}{suffix}"), tensor)).into()
    }

    /// Reads the weight of the linear layer `module` from the tensors of a bitsandbytes checkpoint.
    ///
    /// `get` returns a tensor by its full name, or `None`. The keys are those of [`Int8Weight::to_tensors`]; old files
    /// have no `weight_format`.
    ///
    /// # Errors
    ///
    /// [`QuantError::Int8Tensors`] with everything that is missing or does not fit: dtypes, lengths, scales that are
    /// not finite, a layout other than row by row.
    pub fn from_tensors(module: &str, get: impl Fn(&str) -> Option<RawTensor>) -> Result<Self, QuantError> {
        let mut reader = Reader::new(module, get);
        match read(&mut reader) {
            Some(weight) if reader.problems.is_empty() => Ok(weight),
            _ => Err(QuantError::Int8Tensors { module: module.to_owned(), problems: reader.problems }),
        }
    }
}

fn read<G: Fn(&str) -> Option<RawTensor>>(reader: &mut Reader<'_, G>) -> Option<Int8Weight> {
    let weight = reader.tensor(WEIGHT, Some(RawDtype::I8));
    let shape = weight.as_ref().and_then(|weight| {
        let shape = <[usize; 2]>::try_from(weight.shape.as_slice()).ok();
        if shape.is_none() {
            let (name, found) = (reader.name(WEIGHT), weight.shape.clone());
            reader.problems.push(QuantError::TensorShape { name, found, wanted: "[out, in]" });
        }
        shape
    });
    let absmax = reader.scales(ABSMAX, shape.map(|[out, _]| out));
    if reader.has(FORMAT) {
        let format = reader.tensor(FORMAT, Some(RawDtype::U8)).map(|tensor| tensor.data);
        let found = reader.of_length(FORMAT, format, Some(1)).map(|format| format[0]);
        if let Some(found) = found.filter(|found| *found != ROW_MAJOR) {
            reader.problems.push(QuantError::WeightFormat { name: reader.name(FORMAT), found });
        }
    }
    let codes = weight?.data.into_iter().map(u8::cast_signed).collect();
    let weight = Int8Weight::new(codes, absmax?, shape?);
    weight.map_err(|problem| reader.problems.push(problem)).ok()
}
