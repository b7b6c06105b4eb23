use std::fmt;

use super::permute::Permutations;
use super::shingle::{ShingleHash, Shingler, Shingling};
use super::words::WordRule;
use crate::error::DataError;

/// Permutations that a signature may have at most.
const MAX_PERMUTATIONS: usize = 65_536;

/// Which hashes and permutations a signature is made with. Signatures of two families cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum HashFamily {
    /// XXH3 of each word, the words of a shingle combined by a polynomial; a·h + b mod 2^32 with odd a, from
    /// splitmix64. The fastest, and compatible with nothing else.
    #[default]
    Fast,
    /// datasketch before 2.0, and its scheme `legacy`: SHA-1, 32 bits; (a·h + b mod 2^64) mod 2^61 - 1, of which
    /// 32 bits stay.
    DatasketchLegacy,
    /// The default of datasketch 2.0, `affine32`: SHA-1, 32 bits, mixed by MurmurHash3's fmix32; a·h + b mod 2^32.
    DatasketchAffine32,
    /// datasketch 2.0's `affine64`: SHA-1, 64 bits, mixed by fmix64; a·h + b mod 2^64.
    DatasketchAffine64,
    /// datatrove 0.10: XXH64; (a·h + b mod 2^64) mod 2^61 - 1.
    Datatrove,
}

impl HashFamily {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::DatasketchLegacy => "datasketch legacy",
            Self::DatasketchAffine32 => "datasketch affine32",
            Self::DatasketchAffine64 => "datasketch affine64",
            Self::Datatrove => "datatrove",
        }
    }

    fn shingle_hash(self) -> ShingleHash {
        match self {
            Self::Fast => ShingleHash::Combined,
            Self::DatasketchLegacy | Self::DatasketchAffine32 => ShingleHash::Sha1Low32,
            Self::DatasketchAffine64 => ShingleHash::Sha1Low64,
            Self::Datatrove => ShingleHash::Xxh64,
        }
    }
}

/// What a MinHash signature (Broder 1997) is made of. Signatures can be compared only if all of it is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MinHashConfig {
    /// Permutations, that is numbers per signature; 128 by default. The standard error of an estimated Jaccard
    /// similarity J is sqrt(J (1 - J) / permutations).
    pub num_perm: usize,
    /// The seed of the permutations; 1 by default, as in datasketch and datatrove.
    pub seed: u64,
    /// The hashes and permutations.
    pub family: HashFamily,
    /// How a text becomes a set.
    pub shingling: Shingling,
}

impl Default for MinHashConfig {
    fn default() -> Self {
        Self::new(128)
    }
}

impl MinHashConfig {
    /// Signatures of `num_perm` numbers over shingles of 5 words.
    pub fn new(num_perm: usize) -> Self {
        Self { num_perm, seed: 1, family: HashFamily::default(), shingling: Shingling::default() }
    }

    /// What datasketch 2.0 computes for the shingles of text-dedup: `affine32`, seed 1, 5 words split at `\W`.
    pub fn datasketch(num_perm: usize) -> Self {
        let shingling = Shingling::default().with_words(WordRule::NonWord);
        Self::new(num_perm).with_family(HashFamily::DatasketchAffine32).with_shingling(shingling)
    }

    /// datatrove's 112 permutations (14 bands of 8) over 5 words of the simplified text.
    pub fn datatrove() -> Self {
        let shingling = Shingling::default().with_words(WordRule::Simplified);
        Self::new(112).with_family(HashFamily::Datatrove).with_shingling(shingling)
    }

    /// Sets the number of permutations.
    #[must_use]
    pub fn with_num_perm(mut self, num_perm: usize) -> Self {
        self.num_perm = num_perm;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the family.
    #[must_use]
    pub fn with_family(mut self, family: HashFamily) -> Self {
        self.family = family;
        self
    }

    /// Sets how a text becomes a set.
    #[must_use]
    pub fn with_shingling(mut self, shingling: Shingling) -> Self {
        self.shingling = shingling;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] for no or more than 65,536 permutations, a seed that `RandomState` does not
    /// take (above 2^32 - 1, for the families other than [`HashFamily::Fast`]), or shingles of nothing.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.num_perm == 0 || self.num_perm > MAX_PERMUTATIONS {
            return Err(DataError::InvalidConfig {
                field: "num_perm",
                found: self.num_perm.to_string(),
                wanted: "1 to 65536 permutations",
            });
        }
        if self.family != HashFamily::Fast && u32::try_from(self.seed).is_err() {
            return Err(DataError::InvalidConfig {
                field: "seed",
                found: self.seed.to_string(),
                wanted: "at most 4294967295 for a family that NumPy's RandomState seeds",
            });
        }
        self.shingling.validate()
    }
}

impl fmt::Display for MinHashConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MinHash of {} permutations ({}, seed {}) over {}",
            self.num_perm,
            self.family.as_str(),
            self.seed,
            self.shingling
        )
    }
}

/// The signature of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinHash {
    values: Vec<u64>,
    config: MinHashConfig,
}

impl MinHash {
    /// The smallest hash under each permutation; all the largest possible number for a blank text.
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// The part of the numbers that are equal in both: an unbiased estimate of the Jaccard similarity.
    ///
    /// # Errors
    ///
    /// [`DataError::SketchMismatch`] if the two were made with different parameters.
    pub fn jaccard(&self, other: &Self) -> Result<f64, DataError> {
        if self.config != other.config {
            return Err(DataError::SketchMismatch {
                found: other.config.to_string(),
                wanted: self.config.to_string(),
            });
        }
        let equal = self.values.iter().zip(&other.values).filter(|(left, right)| left == right).count();
        Ok(equal as f64 / self.values.len() as f64)
    }
}

/// Signs texts with permutations that are drawn once.
///
/// ```
/// use burnisher_data::{MinHashConfig, MinHasher};
///
/// let hasher = MinHasher::new(MinHashConfig::default())?;
/// let left = hasher.sign("The tram was late, so we walked to the station.");
/// let right = hasher.sign("the tram was late so we walked to the station");
/// assert_eq!(left.jaccard(&right)?, 1.0);
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinHasher {
    config: MinHashConfig,
    permutations: Permutations,
}

impl MinHasher {
    /// Draws the permutations.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`MinHashConfig::validate`].
    pub fn new(config: MinHashConfig) -> Result<Self, DataError> {
        config.validate()?;
        Ok(Self { config, permutations: Permutations::draw(&config) })
    }

    /// The signature of a text.
    pub fn sign(&self, text: &str) -> MinHash {
        let mut rows = self.permutations.rows();
        self.sign_into(text, &mut Shingler::default(), &mut rows);
        MinHash { values: rows.to_u64(), config: self.config }
    }

    /// The multipliers `a` and the summands `b` of the permutations h -> a·h + b.
    pub fn permutations(&self) -> (Vec<u64>, Vec<u64>) {
        self.permutations.coefficients()
    }

    pub(crate) fn rows(&self) -> super::signatures::Rows {
        self.permutations.rows()
    }

    /// Appends the signature to `rows` and returns the hash of what was signed.
    pub(crate) fn sign_into(
        &self,
        text: &str,
        shingler: &mut Shingler,
        rows: &mut super::signatures::Rows,
    ) -> u64 {
        let hash = self.config.family.shingle_hash();
        let (hashes, content) = shingler.shingles(text, &self.config.shingling, hash);
        self.permutations.minima(hashes, rows);
        content
    }
}
