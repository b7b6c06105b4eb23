//! Several sources in one order.

mod config;
mod order;
mod permute;
mod report;

pub use self::config::{MixConfig, MixShares, MixSource};
pub use self::order::{MixIter, MixOrder};
pub use self::report::{MixReport, MixSourceReport};
