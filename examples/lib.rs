//! What the examples share: the seeded generators behind the embedded base model and the finance task.
//!
//! [`generate`] writes every text that the examples train and measure on. Nothing is downloaded: the same seed
//! gives the same records on every machine.

#![deny(missing_docs)]

pub mod generate;
