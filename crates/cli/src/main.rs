//! The `burnisher` program.
fn main() {}
