use serde::Deserialize;

use crate::config::{QuantType, SourceDtype, check_block_size};
use crate::double::Absmax;
use crate::error::QuantError;
use crate::state::{QuantState, element_count};

const NESTED_DTYPE: &str = "float32";
const NESTED_FIELDS: &str = "nested_blocksize, nested_dtype, nested_offset";

/// What the tensor `quant_state.bitsandbytes__nf4`, or `__fp4`, says in JSON.
pub(crate) struct Description {
    pub(crate) quant_type: QuantType,
    pub(crate) block_size: usize,
    pub(crate) source_dtype: SourceDtype,
    pub(crate) shape: [usize; 2],
    pub(crate) nested: Option<Nested>,
}

/// The part of the description that double quantization adds.
#[derive(Clone, Copy)]
pub(crate) struct Nested {
    pub(crate) block_size: usize,
    pub(crate) offset: f32,
}

#[derive(Deserialize)]
struct Fields {
    quant_type: String,
    blocksize: usize,
    dtype: String,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_dtype: Option<String>,
    nested_offset: Option<f64>,
}

impl Description {
    pub(crate) fn of(state: &QuantState) -> Self {
        Self {
            quant_type: state.quant_type(),
            block_size: state.block_size(),
            source_dtype: state.source_dtype(),
            shape: state.shape(),
            nested: match state.absmax() {
                Absmax::Plain(_) => None,
                Absmax::Nested { offset, block_size, .. } => {
                    Some(Nested { block_size: *block_size, offset: *offset })
                }
            },
        }
    }

    /// Elements of the weight; the product was checked.
    pub(crate) fn count(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    pub(crate) fn blocks(&self) -> usize {
        self.count().div_ceil(self.block_size)
    }

    /// The text of Python's `json.dumps`: bitsandbytes' field order, a space after colons and commas.
    pub(crate) fn to_json(&self) -> String {
        let quant_type = self.quant_type.as_str();
        let block_size = self.block_size;
        let dtype = self.source_dtype.as_str();
        let [rows, columns] = self.shape;
        let nested = self.nested.map_or_else(String::new, |nested| {
            let block_size = nested.block_size;
            let offset = python_repr(f64::from(nested.offset));
            format!(r#", "nested_blocksize": {block_size}, "nested_dtype": "{NESTED_DTYPE}", "nested_offset": {offset}"#)
        });
        format!(
            r#"{{"quant_type": "{quant_type}", "blocksize": {block_size}, "dtype": "{dtype}", "shape": [{rows}, {columns}]{nested}}}"#
        )
    }

    /// Reads the text of the tensor `name`, whose key says `quant_type`; unknown fields are left alone. Errors:
    /// everything that is wrong.
    pub(crate) fn parse(name: &str, quant_type: QuantType, text: &[u8]) -> Result<Self, Vec<QuantError>> {
        let fields: Fields = serde_json::from_slice(text).map_err(|source| {
            let name = name.to_owned();
            vec![QuantError::StateJson { name, source }]
        })?;
        let mut problems = Vec::new();
        let mut wrong = |field: &'static str, found: String, wanted: &'static str| {
            let name = name.to_owned();
            problems.push(QuantError::StateField { name, field, found, wanted });
        };

        if fields.quant_type != quant_type.as_str() {
            let wanted = match quant_type {
                QuantType::Nf4 => "\"nf4\"",
                QuantType::Fp4 => "\"fp4\"",
            };
            wrong("quant_type", format!("{:?}", fields.quant_type), wanted);
        }
        if check_block_size("weight", fields.blocksize).is_err() {
            wrong("blocksize", fields.blocksize.to_string(), "a power of two from 32 to 4096");
        }
        let source_dtype = SourceDtype::ALL.into_iter().find(|dtype| dtype.as_str() == fields.dtype);
        if source_dtype.is_none() {
            let wanted = "\"float32\", \"bfloat16\" or \"float16\"";
            wrong("dtype", format!("{:?}", fields.dtype), wanted);
        }
        let shape = <[usize; 2]>::try_from(fields.shape.as_slice()).ok();
        let shape = shape.filter(|shape| element_count(*shape).is_ok());
        if shape.is_none() {
            wrong("shape", format!("{:?}", fields.shape), "[out, in] with a product that can be addressed");
        }
        let nested = match (fields.nested_blocksize, &fields.nested_dtype, fields.nested_offset) {
            (None, None, None) => None,
            (Some(block_size), Some(dtype), Some(offset)) => {
                if check_block_size("nested absmax", block_size).is_err() {
                    wrong("nested_blocksize", block_size.to_string(), "a power of two from 32 to 4096");
                }
                if dtype != NESTED_DTYPE {
                    wrong("nested_dtype", format!("{dtype:?}"), "\"float32\"");
                }
                if !(offset as f32).is_finite() {
                    wrong("nested_offset", format!("{offset:e}"), "a finite f32");
                }
                Some(Nested { block_size, offset: offset as f32 })
            }
            _ => {
                wrong(NESTED_FIELDS, "partly there".to_owned(), "all three or none");
                None
            }
        };

        match (source_dtype, shape) {
            (Some(source_dtype), Some(shape)) if problems.is_empty() => {
                Ok(Self { quant_type, block_size: fields.blocksize, source_dtype, shape, nested })
            }
            _ => Err(problems),
        }
    }
}

/// A finite number as Python's `repr` spells it: the shortest digits that read back as the same f64, with an exponent
/// of at least two digits below 1e-4 and from 1e16 on.
fn python_repr(value: f64) -> String {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if !(-4..16).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let direction = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{first}{point}{rest}e{direction}{:02}", exponent.abs())
    } else if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        format!("{sign}0.{zeros}{digits}")
    } else {
        let whole = exponent.unsigned_abs() as usize + 1;
        if digits.len() > whole {
            let (whole, fraction) = digits.split_at(whole);
            format!("{sign}{whole}.{fraction}")
        } else {
            let zeros = "0".repeat(whole - digits.len());
            format!("{sign}{digits}{zeros}.0")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_python_spells_them() {
        // Made with CPython 3: repr(x).
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.5, "0.5"),
            (-2.5, "-2.5"),
            (100.0, "100.0"),
            (123456.75, "123456.75"),
            (0.001, "0.001"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012345"),
            (0.00001, "1e-05"),
            (-0.000012345, "-1.2345e-05"),
            (1e-20, "1e-20"),
            (1e-123, "1e-123"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (1.25e100, "1.25e+100"),
            (f64::from(0.1f32), "0.10000000149011612"),
            (f64::from(1e-20f32), "9.999999682655225e-21"),
            (f64::from(f32::MAX), "3.4028234663852886e+38"),
        ];
        for (value, wanted) in cases {
            assert_eq!(python_repr(value), wanted);
        }
    }
}
