//! The `burnisher` program, run as a user runs it.

mod compare;
mod data;
mod kill;
mod methods;
mod program;
mod real_data;
mod support;
