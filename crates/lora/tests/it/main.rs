//! Adapters and PEFT's files.

mod any;
mod any_peft;
mod combine;
mod config;
mod mlx;
mod peft_files;
mod target;
