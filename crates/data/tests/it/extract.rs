//! Source-grounded extraction.

mod align;
#[cfg(feature = "http")]
mod http;
mod output;
mod page;
mod reference;
mod run;
mod task;
