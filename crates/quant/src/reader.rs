use crate::config::check_finite;
use crate::error::QuantError;
use crate::raw::{RawDtype, RawTensor};

/// Reads the tensors of one weight and collects everything that is wrong with them.
///
/// `prefix` and a suffix make the name of a tensor.
pub(crate) struct Reader<'a, G> {
    prefix: &'a str,
    get: G,
    pub(crate) problems: Vec<QuantError>,
}

impl<'a, G: Fn(&str) -> Option<RawTensor>> Reader<'a, G> {
    pub(crate) fn new(prefix: &'a str, get: G) -> Self {
        Self { prefix, get, problems: Vec::new() }
    }

    pub(crate) fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.prefix)
    }

    pub(crate) fn has(&self, suffix: &str) -> bool {
        (self.get)(&self.name(suffix)).is_some()
    }

    /// A tensor whose bytes match its shape, with the wanted dtype if one is wanted.
    pub(crate) fn tensor(&mut self, suffix: &str, wanted: Option<RawDtype>) -> Option<RawTensor> {
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

    /// Finite f32 values, `wanted` of them if that is known.
    pub(crate) fn scales(&mut self, suffix: &str, wanted: Option<usize>) -> Option<Vec<f32>> {
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
    pub(crate) fn table(&mut self, suffix: &str, wanted: &[f32], tolerance: f32) {
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

    pub(crate) fn of_length<T>(
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
}
