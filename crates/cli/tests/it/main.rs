//! The `burnisher` program, run as a user runs it.

mod compare;
mod data;
mod kill;
mod methods;
mod metrics;
mod program;
mod real_data;
mod support;
mod task;
