use std::fmt;
use std::str::FromStr;

use crate::error::DataError;

/// One of `count` equal parts of a set: the records at positions index - 1, index - 1 + count, …
///
/// Written `2/4`, the second of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    index: u64,
    count: u64,
}

impl Shard {
    /// The whole set.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Part `index`, counted from 1, of `count`.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if `index` is 0 or above `count`.
    pub fn new(index: u64, count: u64) -> Result<Self, DataError> {
        if index == 0 || index > count {
            return Err(invalid(&format!("{index}/{count}")));
        }
        Ok(Self { index, count })
    }

    /// Whether the record at a position, counted from 0, belongs to this part.
    pub fn holds(&self, position: u64) -> bool {
        position % self.count == self.index - 1
    }
}

fn invalid(found: &str) -> DataError {
    DataError::InvalidConfig {
        field: "shard",
        found: found.to_owned(),
        wanted: "i/n with i from 1 to n, as 2/4 for the second of four",
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let parts =
            text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        let (index, count) = parts.ok_or_else(|| invalid(&format!("{text:?}")))?;
        Self::new(index, count)
    }
}
