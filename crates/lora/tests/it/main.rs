//! Adapters and PEFT's files.

mod any;
mod any_peft;
mod config;
mod peft_files;
mod target;
