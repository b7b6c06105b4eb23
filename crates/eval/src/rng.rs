//! The generators of the reference implementations, bit by bit, so that their resamples can be drawn again.

mod mt19937;
mod pcg64;

pub use self::mt19937::Mt19937;
pub use self::pcg64::Pcg64;
