//! Adapters and PEFT's files.

mod any;
mod config;
mod peft_files;
mod target;
