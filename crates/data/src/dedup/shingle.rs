use std::fmt;

use sha1::{Digest, Sha1};
use xxhash_rust::xxh3::xxh3_64;
use xxhash_rust::xxh64::xxh64;

use super::words::{WordRule, Words};
use crate::error::DataError;

/// What one shingle is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShingleUnit {
    /// So many words in a row.
    Words(usize),
    /// So many characters in a row, of the words joined by one space.
    Characters(usize),
}

/// How a text becomes a set of shingles.
///
/// A text that is shorter than one shingle is one shingle as a whole: with [`WordRule::Letters`] lower-cased
/// with white space collapsed and punctuation kept, with the other rules all its words. A blank text has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shingling {
    /// What a shingle is made of; 5 words by default.
    pub unit: ShingleUnit,
    /// What a word is.
    pub words: WordRule,
}

impl Default for Shingling {
    fn default() -> Self {
        Self { unit: ShingleUnit::Words(5), words: WordRule::default() }
    }
}

impl Shingling {
    /// Shingles of `count` words.
    pub fn words(count: usize) -> Self {
        Self { unit: ShingleUnit::Words(count), words: WordRule::default() }
    }

    /// Shingles of `count` characters.
    pub fn characters(count: usize) -> Self {
        Self { unit: ShingleUnit::Characters(count), words: WordRule::default() }
    }

    /// Sets what a word is.
    #[must_use]
    pub fn with_words(mut self, words: WordRule) -> Self {
        self.words = words;
        self
    }

    /// Checks the size.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if a shingle has no word or more than 4,294,967,295.
    pub fn validate(&self) -> Result<(), DataError> {
        let (ShingleUnit::Words(size) | ShingleUnit::Characters(size)) = self.unit;
        if size == 0 || u32::try_from(size).is_err() {
            return Err(DataError::InvalidConfig {
                field: "shingling",
                found: self.to_string(),
                wanted: "shingles of 1 to 4294967295 words or characters",
            });
        }
        Ok(())
    }
}

impl fmt::Display for Shingling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            ShingleUnit::Words(size) => write!(f, "{size} words")?,
            ShingleUnit::Characters(size) => write!(f, "{size} characters")?,
        }
        write!(f, " (rule {})", self.words.as_str())
    }
}

/// The first hash of a shingle, before any permutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShingleHash {
    /// XXH3 of each word, the words of a shingle combined by a polynomial.
    Combined,
    /// The first four bytes of SHA-1, little endian.
    Sha1Low32,
    /// The first eight bytes of SHA-1, little endian.
    Sha1Low64,
    /// XXH64 with seed 0.
    Xxh64,
}

/// Shingles texts one after the other without allocating for each.
#[derive(Debug, Default)]
pub(crate) struct Shingler {
    words: Words,
    word_hashes: Vec<u64>,
    hashes: Vec<u64>,
}

impl Shingler {
    /// The hashes of the text's shingles, in order, repeated ones included, and a hash of all that was shingled.
    pub(crate) fn shingles(
        &mut self,
        text: &str,
        shingling: &Shingling,
        hash: ShingleHash,
    ) -> (&mut Vec<u64>, u64) {
        self.words.fill(text, shingling.words);
        self.hashes.clear();
        if let ShingleUnit::Words(size) = shingling.unit
            && hash == ShingleHash::Combined
            && self.words.spans().len() >= size
        {
            let content = self.combine(size);
            return (&mut self.hashes, content);
        }
        self.words.join();
        match shingling.unit {
            ShingleUnit::Words(size) => self.windows(size, hash),
            ShingleUnit::Characters(size) => self.characters(size, hash),
        }
        if self.hashes.is_empty() {
            self.whole(text, shingling, hash);
        }
        (&mut self.hashes, xxh3_64(self.words.form()))
    }

    /// The hashes of the text's shingles as a set: ascending, each once.
    pub(crate) fn set(&mut self, text: &str, shingling: &Shingling) -> Vec<u64> {
        let mut set = self.shingles(text, shingling, ShingleHash::Combined).0.clone();
        set.sort_unstable();
        set.dedup();
        set
    }

    fn whole(&mut self, text: &str, shingling: &Shingling, hash: ShingleHash) {
        if shingling.words == WordRule::Letters {
            self.words.fill_whole(text);
            self.words.join();
        }
        if !self.words.form().is_empty() {
            self.hashes.push(one(self.words.form(), hash));
        }
    }

    fn windows(&mut self, size: usize, hash: ShingleHash) {
        let form = self.words.form();
        let windows = self.words.spans().windows(size);
        self.hashes.extend(windows.map(|window| one(&form[window[0].0..window[size - 1].1], hash)));
    }

    fn characters(&mut self, size: usize, hash: ShingleHash) {
        let form = self.words.form();
        let starts = || (0..form.len()).filter(|at| form[*at] & 0xc0 != 0x80);
        if starts().nth(size - 1).is_some() {
            let ends = starts().skip(size).chain([form.len()]);
            self.hashes.extend(starts().zip(ends).map(|(start, end)| one(&form[start..end], hash)));
        }
    }

    /// Hashes each word once; the hash of `size` words in a row is Σ hash(word i)·K^(size-1-i) mod 2^64, mixed,
    /// which takes one multiplication to go on by a word. Returns that sum over all words.
    fn combine(&mut self, size: usize) -> u64 {
        const K: u64 = 0x9e37_79b9_7f4a_7c15;
        let form = self.words.form();
        self.word_hashes.clear();
        self.word_hashes.extend(self.words.spans().iter().map(|(start, end)| xxh3_64(&form[*start..*end])));
        let leaving = K.wrapping_pow(size as u32);
        let onward = |sum: u64, word: &u64| sum.wrapping_mul(K).wrapping_add(*word);
        let (first, rest) = self.word_hashes.split_at(size);
        let mut sum = first.iter().fold(0, onward);
        let mut all = sum;
        self.hashes.push(mix(sum));
        self.hashes.extend(rest.iter().zip(&self.word_hashes).map(|(entering, left)| {
            all = onward(all, entering);
            sum = onward(sum, entering).wrapping_sub(left.wrapping_mul(leaving));
            mix(sum)
        }));
        all
    }
}

/// |A ∩ B| / |A ∪ B| of the shingle sets of two texts, from 0 to 1; 1 if both are blank.
///
/// Shingles are compared by 64-bit hashes.
///
/// ```
/// use burnisher_data::{Shingling, exact_jaccard};
///
/// assert_eq!(exact_jaccard("a b c d", "a b c e", &Shingling::words(2)), 0.5);
/// ```
pub fn exact_jaccard(left: &str, right: &str, shingling: &Shingling) -> f64 {
    let mut shingler = Shingler::default();
    let left = shingler.set(left, shingling);
    jaccard_of_sets(&left, &shingler.set(right, shingling))
}

/// The Jaccard similarity of two ascending lists without repetition.
pub(crate) fn jaccard_of_sets(left: &[u64], right: &[u64]) -> f64 {
    let (mut i, mut j, mut common) = (0, 0, 0_usize);
    while i < left.len() && j < right.len() {
        let order = left[i].cmp(&right[j]);
        common += usize::from(order.is_eq());
        i += usize::from(order.is_le());
        j += usize::from(order.is_ge());
    }
    let all = left.len() + right.len() - common;
    if all == 0 { 1.0 } else { common as f64 / all as f64 }
}

fn one(shingle: &[u8], hash: ShingleHash) -> u64 {
    let sha1 = || Sha1::digest(shingle);
    match hash {
        ShingleHash::Combined => xxh3_64(shingle),
        ShingleHash::Sha1Low32 => low_bytes(&sha1()[..4]),
        ShingleHash::Sha1Low64 => low_bytes(&sha1()[..8]),
        ShingleHash::Xxh64 => xxh64(shingle, 0),
    }
}

fn low_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Spreads the sum of word hashes over all bits; one to one.
fn mix(sum: u64) -> u64 {
    let sum = (sum ^ (sum >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    sum ^ (sum >> 32)
}
