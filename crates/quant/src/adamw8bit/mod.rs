//! AdamW with its state in 8 bits.

mod options;
mod step;
#[cfg(test)]
mod tests;

pub use options::{Adamw8bit, DecayOrder};
pub(crate) use step::TASK_BLOCKS;
pub use step::{Adamw8bitSlices, Adamw8bitState};
