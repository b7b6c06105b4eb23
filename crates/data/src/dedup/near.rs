use std::borrow::Cow;
use std::fmt;

use super::bands::Bands;
use super::cluster::{Banding, Check, Clusters, clusters};
use super::minhash::MinHashConfig;
use super::signatures::{Signatures, Stack};
use super::simhash::{BITS, SimHashConfig};
use super::sketch::{Signer, Sketch};
use crate::error::DataError;

/// Bits in which two SimHashes may differ at most: more leave too few bits for each table.
const MAX_DISTANCE: u32 = 16;

/// What a candidate pair must pass to be taken as near-duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verify {
    /// Nothing, as in datasketch and datatrove: chance collisions chain unrelated texts.
    None,
    /// The similarity that the signatures show is at least the threshold.
    #[default]
    Estimated,
    /// The Jaccard similarity of the shingle sets is at least the threshold; the shingles of candidates are
    /// computed again. MinHash only.
    Exact,
}

/// Which record of a cluster stays; the first of several equally good ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Keep {
    /// The first.
    #[default]
    First,
    /// The one whose user and assistant text is longest, in bytes.
    Longest,
    /// The one with the largest number in this further column (`Record::extra`).
    Highest {
        /// The column; every record of a cluster must have a number in it.
        column: String,
    },
}

/// How near-duplicates are found and which of them stay.
///
/// ```
/// use burnisher_data::{Keep, MinHashConfig, NearDuplicateConfig, Shingling, Verify};
///
/// let config = NearDuplicateConfig::new(0.7)
///     .with_minhash(MinHashConfig::new(256).with_shingling(Shingling::characters(9)))
///     .with_verify(Verify::Exact)
///     .with_keep(Keep::Longest);
/// config.validate()?;
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NearDuplicateConfig {
    /// The similarity from which on two texts are near-duplicates, above 0 and at most 1.
    pub threshold: f64,
    /// What stands for a text; a MinHash signature of 128 permutations by default.
    pub sketch: Sketch,
    /// How candidates are found (MinHash only).
    pub bands: Bands,
    /// How candidates are checked.
    pub verify: Verify,
    /// Which record of a cluster stays.
    pub keep: Keep,
}

impl NearDuplicateConfig {
    /// MinHash: two texts whose sets of 5-word shingles have a Jaccard similarity of `threshold` (0.7 to 0.9 are
    /// usual).
    pub fn new(threshold: f64) -> Self {
        Self {
            threshold,
            sketch: Sketch::MinHash(MinHashConfig::default()),
            bands: Bands::default(),
            verify: Verify::default(),
            keep: Keep::default(),
        }
    }

    /// SimHash: two texts whose 64-bit hashes differ in at most `distance` bits (3 is usual). No such pair is
    /// missed. The threshold becomes 1 - distance / 64.
    pub fn simhash(distance: u32) -> Self {
        let threshold = 1.0 - f64::from(distance) / f64::from(BITS);
        Self { sketch: Sketch::SimHash(SimHashConfig::default()), ..Self::new(threshold) }
    }

    /// Sets the MinHash signature.
    #[must_use]
    pub fn with_minhash(self, minhash: MinHashConfig) -> Self {
        self.with_sketch(Sketch::MinHash(minhash))
    }

    /// Sets what stands for a text.
    #[must_use]
    pub fn with_sketch(mut self, sketch: Sketch) -> Self {
        self.sketch = sketch;
        self
    }

    /// Sets how candidates are found.
    #[must_use]
    pub fn with_bands(mut self, bands: Bands) -> Self {
        self.bands = bands;
        self
    }

    /// Sets how candidates are checked.
    #[must_use]
    pub fn with_verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Sets which record of a cluster stays.
    #[must_use]
    pub fn with_keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] naming the field: a threshold out of range, parameters of the sketch that do
    /// not hold, bands that do not fit the signature, a SimHash with bands, with [`Verify::Exact`] or with a
    /// distance above 16.
    pub fn validate(&self) -> Result<(), DataError> {
        let invalid = |field, found: String, wanted| Err(DataError::InvalidConfig { field, found, wanted });
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            return invalid("threshold", self.threshold.to_string(), "a similarity above 0 and at most 1");
        }
        self.sketch.validate()?;
        match &self.sketch {
            Sketch::MinHash(config) => self.bands.validate(config.num_perm),
            Sketch::SimHash(_) if self.verify == Verify::Exact => invalid(
                "verify",
                "exact".to_owned(),
                "none or estimated with SimHash, which has no Jaccard similarity",
            ),
            Sketch::SimHash(_) if self.bands != Bands::Optimal => invalid(
                "bands",
                format!("{:?}", self.bands),
                "optimal with SimHash, which needs distance + 1 tables",
            ),
            Sketch::SimHash(_) if self.distance() > MAX_DISTANCE => {
                invalid("distance", self.distance().to_string(), "at most 16 of 64 bits")
            }
            Sketch::SimHash(_) => Ok(()),
        }
    }

    /// Bits in which two SimHashes of the threshold's similarity may differ.
    fn distance(&self) -> u32 {
        ((1.0 - self.threshold) * f64::from(BITS)).floor() as u32
    }

    /// The clusters over signatures of this configuration, which is valid.
    pub(crate) fn cluster<'a>(
        &self,
        stack: &Stack<'_>,
        text: &'a (dyn Fn(usize) -> Cow<'a, str> + Sync),
    ) -> Clusters {
        let banding = match &self.sketch {
            Sketch::MinHash(config) => {
                let (bands, rows) = self.bands.resolve(self.threshold, config.num_perm);
                Banding::Bands { bands, rows }
            }
            Sketch::SimHash(_) => Banding::Tables { tables: self.distance() + 1 },
        };
        let check = Check { sketch: self.sketch, verify: self.verify, threshold: self.threshold, text };
        clusters(stack, banding, &check)
    }
}

impl fmt::Display for NearDuplicateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "similarity of at least {}, {}", self.threshold, self.sketch)?;
        if let Sketch::MinHash(config) = &self.sketch {
            let (bands, rows) = self.bands.resolve(self.threshold, config.num_perm);
            write!(f, ", {bands} bands of {rows} rows")?;
        }
        match self.verify {
            Verify::None => write!(f, ", candidates not verified"),
            Verify::Estimated => write!(f, ", candidates verified by their signatures"),
            Verify::Exact => write!(f, ", candidates verified by their shingles"),
        }
    }
}

/// Finds the texts that are near-duplicates of each other.
///
/// The clusters do not depend on the order of the texts (but for the numbers that name them), nor on the number
/// of threads. Only signatures are kept in memory, 4 bytes per permutation for the default family, and not the
/// shingles; [`Verify::Exact`] computes those of a bucket of candidates again, one bucket at a time. Texts that
/// are word for word the same are always in one cluster, and cost one comparison. The time grows with the square
/// of the number of texts only where many share a band but stay below the threshold.
///
/// # Errors
///
/// [`DataError::InvalidConfig`] as [`NearDuplicateConfig::validate`].
///
/// ```
/// use burnisher_data::{NearDuplicateConfig, near_duplicates};
///
/// let texts = ["One tram, two trams, three trams.", "A ship.", "one tram two trams three trams"];
/// let clusters = near_duplicates(&texts, &NearDuplicateConfig::new(0.8))?;
/// assert_eq!(clusters.of, [0, 1, 0]);
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
pub fn near_duplicates<T: AsRef<str> + Sync>(
    texts: &[T],
    config: &NearDuplicateConfig,
) -> Result<Clusters, DataError> {
    config.validate()?;
    let signer = Signer::new(&config.sketch)?;
    let none: Signatures = signer.none();
    let signatures = signer.sign_all(texts, |text| Cow::Borrowed(text.as_ref()));
    let stack = Stack { first: &none, second: &signatures };
    Ok(config.cluster(&stack, &|index| Cow::Borrowed(texts[index].as_ref())))
}
