//! Integration tests.

mod adamw8bit;
mod bitsandbytes;
mod eight_bit;
mod fixtures;
mod int8;
mod malformed;
mod properties;
