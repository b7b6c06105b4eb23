//! Training.

mod adapters;
mod atomic;
mod bf16;
mod config;
mod parity;
mod properties;
mod replay;
mod schedule;
#[path = "../../../models/tests/it/support.rs"]
mod support;
