//! The `burnisher` program, run as a user runs it.

mod data;
mod kill;
mod methods;
mod program;
mod real_data;
mod support;
