//! How adapters start.

mod convert;
mod decompose;
mod eva;
mod incremental;
mod random;
mod settings;
mod start;

pub use self::{
    convert::{initial_adapter, save_peft_converted},
    eva::{Eva, EvaStart, attach_eva},
    settings::{EvaConfig, LoftqConfig},
};
pub(crate) use self::{
    random::{factors, generator, normal, unit},
    start::{InitialFactors, start},
};
