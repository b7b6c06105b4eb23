//! Integration tests.

mod bitsandbytes;
mod malformed;
mod properties;
