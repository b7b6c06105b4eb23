use std::fmt;

use super::shingle::{ShingleHash, Shingler, Shingling};
use crate::error::DataError;

/// Bits of a SimHash.
pub(crate) const BITS: u32 = 64;

/// What a 64-bit SimHash is made of (Charikar 2002; Manku, Jain, Das Sarma 2007): bit i is set if more of the
/// text's shingles, counted as often as they occur, have a hash with bit i than without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SimHashConfig {
    /// How a text becomes shingles; 3 words by default.
    pub shingling: Shingling,
}

impl Default for SimHashConfig {
    fn default() -> Self {
        Self { shingling: Shingling::words(3) }
    }
}

impl SimHashConfig {
    /// Hashes over shingles of 3 words.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how a text becomes shingles.
    #[must_use]
    pub fn with_shingling(mut self, shingling: Shingling) -> Self {
        self.shingling = shingling;
        self
    }

    /// Checks the shingles.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`Shingling::validate`].
    pub fn validate(&self) -> Result<(), DataError> {
        self.shingling.validate()
    }
}

impl fmt::Display for SimHashConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimHash of 64 bits over {}", self.shingling)
    }
}

/// The SimHash of a text; 0 for a blank one.
///
/// ```
/// use burnisher_data::{SimHashConfig, sim_hash};
///
/// let config = SimHashConfig::new();
/// assert_eq!(sim_hash("One, two, three, four.", &config), sim_hash("one two three four", &config));
/// ```
pub fn sim_hash(text: &str, config: &SimHashConfig) -> u64 {
    sign(text, &mut Shingler::default(), config).0
}

/// The SimHash of a text, and the hash of what it was made of.
pub(crate) fn sign(text: &str, shingler: &mut Shingler, config: &SimHashConfig) -> (u64, u64) {
    let (hashes, content) = shingler.shingles(text, &config.shingling, ShingleHash::Combined);
    let mut set = [0_usize; BITS as usize];
    for hash in hashes.iter() {
        for (bit, set) in set.iter_mut().enumerate() {
            *set += (*hash >> bit & 1) as usize;
        }
    }
    let count = hashes.len();
    let bits = set.iter().enumerate().filter(|(_, set)| 2 * **set > count);
    (bits.fold(0, |bits, (bit, _)| bits | 1 << bit), content)
}

/// Whether `bit` of a hash belongs to table `table` of `tables`: the mask of that table's bits.
///
/// Two hashes that differ in fewer bits than there are tables agree in all bits of at least one.
pub(crate) fn table_mask(table: u32, tables: u32) -> u64 {
    let below = |bits: u32| if bits == BITS { u64::MAX } else { (1 << bits) - 1 };
    below((table + 1) * BITS / tables) & !below(table * BITS / tables)
}
