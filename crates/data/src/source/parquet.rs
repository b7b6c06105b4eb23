//! Parquet files, if the feature `parquet` is on.

#[cfg(feature = "parquet")]
mod enabled;
#[cfg(feature = "parquet")]
use enabled as imp;

#[cfg(not(feature = "parquet"))]
mod disabled;
#[cfg(not(feature = "parquet"))]
use disabled as imp;

pub(crate) use imp::Rows;
