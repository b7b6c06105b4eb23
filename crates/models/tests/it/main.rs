//! Models against transformers' values, and checkpoints that lie.

mod checkpoint;
mod config;
mod generate;
mod gguf;
mod init;
mod load;
mod logits;
mod longrope;
mod sample;
mod support;
