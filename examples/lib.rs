//! What the examples share: the seeded generators behind the embedded base model and the finance task, and what the
//! quick start measures.
//!
//! [`generate`] writes every text that the examples train and measure on. Nothing is downloaded: the same seed
//! gives the same records on every machine. [`assets`] says where the files are.

#![deny(missing_docs)]

pub mod assets;
pub mod generate;
pub mod measure;
pub mod short_run;
