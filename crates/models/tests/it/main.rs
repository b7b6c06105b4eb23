//! Models against transformers' values, and checkpoints that lie.

mod changed_configs;
mod checkpoint;
mod config;
mod export;
mod generate;
mod gguf;
mod init;
mod likelihood;
mod load;
mod logits;
mod quantize;
mod sample;
mod support;
