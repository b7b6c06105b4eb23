//! Adapters and PEFT's files.

mod config;
mod peft_files;
mod target;
