//! LLM.int8: rows in 8 bits, and the columns that do not fit them.

mod rows;
mod tensors;
#[cfg(test)]
mod tests;
mod weight;

pub use rows::{Int8Rows, outlier_columns, quantize_rows};
pub use weight::{INT8_PRODUCT_STEP, Int8Weight};
