//! Training.

mod adapters;
mod ask;
mod atomic;
mod bf16;
mod config;
mod f16;
mod inits;
mod leaks;
mod methods;
mod optimizers;
mod parity;
mod properties;
mod recipe;
mod replay;
mod schedule;
mod scores;
mod several;
#[path = "../../../models/tests/it/support.rs"]
mod support;
mod virtual_tokens;
