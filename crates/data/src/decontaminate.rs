//! Decontamination exactly as two other projects do it, so that numbers can be compared with theirs. For one's own
//! data [`LeakAudit`](crate::LeakAudit) shows more and misses less.

mod janitor;
mod overlap;

pub use self::janitor::{Janitor, JanitorConfig};
pub use self::overlap::{OverlapConfig, OverlapHit, OverlapIndex};
