//! Models against transformers' values, and checkpoints that lie.

mod checkpoint;
mod config;
mod generate;
mod init;
mod load;
mod logits;
mod sample;
mod support;
