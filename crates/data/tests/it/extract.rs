//! Source-grounded extraction.

mod align;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod killed;
mod output;
mod page;
mod reference;
mod run;
mod task;
