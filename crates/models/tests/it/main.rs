//! Models against transformers' values, and checkpoints that lie.

mod changed_configs;
mod checkpoint;
mod config;
mod generate;
mod gguf;
mod init;
mod load;
mod logits;
mod sample;
mod support;
