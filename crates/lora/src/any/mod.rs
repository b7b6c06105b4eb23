//! LoRA on a Burn module that knows nothing of this crate.
//!
//! The adapter is a [`Reparameterization`](burn::module::Reparameterization) of the weights of `burn::nn::Linear` and
//! `burn::nn::Embedding`: the module's type and its `forward` stay as they are. [`survey`] finds the layers,
//! [`attach`] changes them, [`files`] reads and writes PEFT's directories, [`lora`] and [`whole`] compute.

mod attach;
mod config;
mod files;
mod lora;
mod survey;
mod whole;

pub use attach::{attach_to_module, detach_module, merge_module};
pub use files::{load_module_peft, save_module_peft};
pub use lora::{ModuleLora, lora_embedding_forward, lora_forward, without_adapters};
