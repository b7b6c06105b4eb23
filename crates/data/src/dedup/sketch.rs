use std::borrow::Cow;
use std::fmt;

use rayon::prelude::*;

use super::minhash::{MinHashConfig, MinHasher};
use super::shingle::{Shingler, Shingling};
use super::signatures::{Rows, Signatures, Stack};
use super::simhash::{self, SimHashConfig};
use crate::error::DataError;
use crate::record::Record;

/// Texts that one thread signs before it takes the next ones.
const CHUNK: usize = 256;

/// What stands for a text when texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sketch {
    /// A MinHash signature, which estimates the Jaccard similarity of sets of shingles.
    MinHash(MinHashConfig),
    /// A 64-bit SimHash, whose equal bits measure the angle between vectors of shingle counts.
    SimHash(SimHashConfig),
}

impl Sketch {
    /// Checks the parameters.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`MinHashConfig::validate`] and [`SimHashConfig::validate`].
    pub fn validate(&self) -> Result<(), DataError> {
        match self {
            Self::MinHash(config) => config.validate(),
            Self::SimHash(config) => config.validate(),
        }
    }

    /// How a text becomes shingles.
    pub fn shingling(&self) -> &Shingling {
        match self {
            Self::MinHash(config) => &config.shingling,
            Self::SimHash(config) => &config.shingling,
        }
    }

    /// The similarity that two signatures show, from 0 to 1.
    pub(crate) fn similarity(&self, stack: &Stack<'_>, i: usize, j: usize) -> f64 {
        match self {
            Self::MinHash(config) => stack.equal(i, j) as f64 / config.num_perm as f64,
            Self::SimHash(_) => {
                let ((left, i), (right, j)) = (stack.at(i), stack.at(j));
                let differ = (left.rows.value(i, 0) ^ right.rows.value(j, 0)).count_ones();
                1.0 - f64::from(differ) / f64::from(simhash::BITS)
            }
        }
    }
}

impl fmt::Display for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinHash(config) => config.fmt(f),
            Self::SimHash(config) => config.fmt(f),
        }
    }
}

/// Signs texts by a sketch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signer {
    MinHash(MinHasher),
    SimHash(SimHashConfig),
}

impl Signer {
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`Sketch::validate`].
    pub(crate) fn new(sketch: &Sketch) -> Result<Self, DataError> {
        sketch.validate()?;
        Ok(match sketch {
            Sketch::MinHash(config) => Self::MinHash(MinHasher::new(*config)?),
            Sketch::SimHash(config) => Self::SimHash(*config),
        })
    }

    /// No signatures.
    pub(crate) fn none(&self) -> Signatures {
        Signatures::new(match self {
            Self::MinHash(hasher) => hasher.rows(),
            Self::SimHash(_) => Rows::wide(1),
        })
    }

    /// The signatures of all texts, in order.
    pub(crate) fn sign_all<T: Sync>(
        &self,
        texts: &[T],
        text: impl Fn(&T) -> Cow<'_, str> + Sync,
    ) -> Signatures {
        let parts: Vec<Signatures> = texts
            .par_chunks(CHUNK)
            .map_init(Shingler::default, |shingler, texts| {
                let mut part = self.none();
                for one in texts {
                    self.sign(&text(one), shingler, &mut part);
                }
                part
            })
            .collect();
        let mut all = self.none();
        for part in parts {
            all.append(&part);
        }
        all
    }

    fn sign(&self, text: &str, shingler: &mut Shingler, part: &mut Signatures) {
        let content = match self {
            Self::MinHash(hasher) => hasher.sign_into(text, shingler, &mut part.rows),
            Self::SimHash(config) => {
                let (bits, content) = simhash::sign(text, shingler, config);
                part.rows.wide_mut().push(bits);
                content
            }
        };
        part.contents.push(content);
    }
}

/// The text of a record that is compared: what user and assistant say, since a system prompt that many records
/// share would make all of them alike.
pub(crate) fn compared_text(record: &Record) -> Cow<'_, str> {
    Cow::Owned(record.user_and_assistant_text())
}
