use std::collections::HashSet;
use std::fmt::Display;

use super::order::MixOrder;
use crate::error::DataError;

/// One source of a mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct MixSource {
    /// Its name, for reports.
    pub name: String,
    /// Its records, at least one.
    pub records: usize,
    /// Its weight, above 0; 1 by default. Only the weights' ratios count.
    pub weight: f64,
    /// How often each record may come, above 0; without a limit by default. With 2.5, half of the records come three
    /// times.
    pub max_epochs: Option<f64>,
}

impl MixSource {
    /// A source of weight 1 without a limit of epochs.
    pub fn new(name: impl Into<String>, records: usize) -> Self {
        Self { name: name.into(), records, weight: 1.0, max_epochs: None }
    }

    /// Sets the weight.
    #[must_use]
    pub fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Sets how often each record may come.
    #[must_use]
    pub fn with_max_epochs(mut self, max_epochs: f64) -> Self {
        self.max_epochs = Some(max_epochs);
        self
    }

    /// The draws that the limit of epochs allows.
    pub(super) fn cap(&self) -> u64 {
        let draws = self.max_epochs.map(|epochs| (epochs * self.records as f64 + 1e-9).floor());
        draws.map_or(u64::MAX, |draws| (draws as u64).max(1))
    }
}

/// How often each source is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum MixShares {
    /// By the sources' weights.
    #[default]
    Weights,
    /// By the sources' sizes, flattened: the share of a source with `n` records is proportional to weight · n^(1/T).
    /// T = 1 draws every record equally often, T → ∞ every source (Arivazhagan et al. 2019, arXiv:1907.05019, section
    /// 4.2; T5 and mT5 mix likewise).
    Temperature(f64),
}

/// A mixture of sources.
///
/// ```
/// use burnisher_data::{MixConfig, MixShares, MixSource};
///
/// let order = MixConfig::new([MixSource::new("law", 1000), MixSource::new("medicine", 10)])
///     .with_shares(MixShares::Temperature(2.0))
///     .with_replay(MixSource::new("general", 50_000), 0.1)
///     .with_seed(7)
///     .order()?;
/// for (source, index) in order.iter().take(3) {
///     println!("record {index} of {}", order.config().sources[source].name);
/// }
/// assert_eq!(order.iter_from(1000).next(), order.at(1000));
/// println!("{}", order.report(10_000));
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MixConfig {
    /// The sources.
    pub sources: Vec<MixSource>,
    /// How often each is drawn from.
    pub shares: MixShares,
    /// The share of the last source, if it is general data that is replayed against forgetting.
    pub replay: Option<f64>,
    /// The seed of the order.
    pub seed: u64,
}

impl MixConfig {
    /// A mixture by weights with seed 0.
    pub fn new(sources: impl IntoIterator<Item = MixSource>) -> Self {
        Self { sources: sources.into_iter().collect(), shares: MixShares::default(), replay: None, seed: 0 }
    }

    /// Sets how often each source is drawn from.
    #[must_use]
    pub fn with_shares(mut self, shares: MixShares) -> Self {
        self.shares = shares;
        self
    }

    /// Adds general data as the last source, with this share of all draws, above 0 and below 1; the other sources share
    /// the rest. The order ends with the other sources.
    #[must_use]
    pub fn with_replay(mut self, source: MixSource, share: f64) -> Self {
        self.sources.push(source);
        self.replay = Some(share);
        self
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] naming the field.
    pub fn validate(&self) -> Result<(), DataError> {
        let invalid = |field, found: &dyn Display, wanted| {
            Err(DataError::InvalidConfig { field, found: found.to_string(), wanted })
        };
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if self.own() == 0 {
            return invalid("sources", &0, "at least one beside replay");
        }
        let mut names = HashSet::new();
        for source in &self.sources {
            if source.name.is_empty() || !names.insert(&source.name) {
                return invalid(
                    "source name",
                    &format!("{:?}", source.name),
                    "names that are not empty, each once",
                );
            }
            if source.records == 0 {
                return invalid("source records", &format!("0 in {:?}", source.name), "at least one record");
            }
            if !positive(source.weight) {
                return invalid("source weight", &source.weight, "a number above 0");
            }
            if let Some(epochs) = source.max_epochs.filter(|epochs| !positive(*epochs)) {
                return invalid("source max_epochs", &epochs, "a number above 0");
            }
        }
        match (self.shares, self.replay) {
            (MixShares::Temperature(t), _) if !positive(t) => invalid("temperature", &t, "a number above 0"),
            (_, Some(share)) if !(share > 0.0 && share < 1.0) => {
                invalid("replay share", &share, "a number above 0 and below 1")
            }
            _ => Ok(()),
        }
    }

    /// The order of the mixture.
    ///
    /// # Errors
    ///
    /// As [`MixConfig::validate`].
    pub fn order(self) -> Result<MixOrder, DataError> {
        self.validate()?;
        Ok(MixOrder::new(self))
    }

    /// Sources that are no replay.
    pub(super) fn own(&self) -> usize {
        self.sources.len() - usize::from(self.replay.is_some())
    }

    /// The share of each source among those that are not used up; they add up to 1. `None` once only replay is left.
    pub(super) fn shares_of(&self, is_active: impl Fn(usize) -> bool) -> Option<Vec<f64>> {
        let own = self.own();
        let size = |source: &MixSource| match self.shares {
            MixShares::Weights => source.weight,
            MixShares::Temperature(t) => source.weight * (source.records as f64).powf(1.0 / t),
        };
        let mut shares: Vec<f64> = self
            .sources
            .iter()
            .enumerate()
            .map(|(at, source)| if at < own && is_active(at) { size(source) } else { 0.0 })
            .collect();
        let sum: f64 = shares.iter().sum();
        if sum == 0.0 {
            return None;
        }
        let replay = self.replay.filter(|_| is_active(own)).unwrap_or(0.0);
        shares.iter_mut().for_each(|share| *share *= (1.0 - replay) / sum);
        if replay > 0.0 {
            shares[own] = replay;
        }
        Some(shares)
    }
}
