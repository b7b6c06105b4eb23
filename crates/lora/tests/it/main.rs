//! Adapters and PEFT's files.

mod combine;
mod config;
mod mlx;
mod peft_files;
mod target;
