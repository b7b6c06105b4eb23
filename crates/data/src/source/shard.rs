use std::fmt;
use std::str::FromStr;

use crate::error::DataError;

/// One process's part of a source: record `i` belongs to shard `i % count`.
///
/// Its text form is `index/count`, with the index counted from 0, as ranks are: `0/4` to `3/4`.
///
/// ```
/// use burnisher_data::Shard;
///
/// let shard: Shard = "1/4".parse()?;
/// assert_eq!(shard, Shard::new(1, 4)?);
/// assert!("4/4".parse::<Shard>().is_err());
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// The whole source.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Shard `index`, counted from 0, of `count`.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] unless `index < count`.
    pub fn new(index: usize, count: usize) -> Result<Self, DataError> {
        match index < count {
            true => Ok(Self { index, count }),
            false => Err(invalid(format!("{index}/{count}"))),
        }
    }

    /// The number of the shard, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many shards there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Whether record `index` of the whole source, counted from 0, belongs to this shard.
    pub fn has(self, index: usize) -> bool {
        index % self.count == self.index
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
        let parsed = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.trim().parse().ok()?, count.trim().parse().ok()?)));
        let (index, count) = parsed.ok_or_else(|| invalid(text.to_owned()))?;
        Self::new(index, count)
    }
}

fn invalid(found: String) -> DataError {
    DataError::InvalidConfig {
        field: "shard",
        found,
        wanted: "index/count with an index from 0 to count - 1",
    }
}
