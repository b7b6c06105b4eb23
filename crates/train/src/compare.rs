//! Base, base with retrieval, LoRA, QLoRA, full fine-tuning and given adapters, on the same examples.

mod config;
mod measure;
mod retrieval;
mod runner;

pub use self::config::{CompareConfig, ComparedSystem};
pub use self::runner::compare;
