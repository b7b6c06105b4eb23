//! AdamW with its state in 8 bits.

mod options;
mod step;
#[cfg(test)]
mod tests;

pub use options::{Adamw8bit, DecayOrder};
pub use step::Adamw8bitState;
