//! A share with its interval.

use std::collections::BTreeMap;

use burnisher_eval::{BootstrapConfig, Resample, bootstrap};
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::ReviewError;

/// How the interval of a share was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IntervalKind {
    /// Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference": every vote is independent
    /// of the others. Where no item has more than one vote.
    Wilson,
    /// Items are drawn with all their votes, and the bounds are quantiles of the shares (Davison and Hinkley 1997,
    /// "Bootstrap Methods and their Application", section 3.8; Field and Welsh 2007, "Bootstrapping clustered data").
    /// Where an item has several votes, of several judges or about several pairs: they judge the same outputs, and
    /// counting them as independent would make the interval too narrow. Too narrow itself below about 30 items.
    ItemBootstrap,
    /// Wilson's with items in place of votes, as if all votes on an item were one. Where items have several votes and
    /// all the same share, so that drawing items shows no uncertainty.
    WilsonItems,
}

impl IntervalKind {
    /// A few words for a table.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Wilson => "Wilson, votes",
            Self::ItemBootstrap => "bootstrap, items",
            Self::WilsonItems => "Wilson, items",
        }
    }
}

/// A share of comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rate {
    /// The share, 0..1; `None` of nothing.
    pub value: Option<f64>,
    /// Lower and upper bound.
    pub interval: Option<[f64; 2]>,
    /// How the bounds were found.
    pub method: Option<IntervalKind>,
    /// What it is a share of.
    pub of: usize,
}

/// What an item adds to a share.
#[derive(Debug, Clone, Copy, Default)]
struct Votes {
    successes: f64,
    of: usize,
}

/// The votes that a share is of, by item.
#[derive(Debug, Default)]
pub(super) struct ItemVotes(BTreeMap<usize, Votes>);

impl ItemVotes {
    /// Adds a vote; half a success is a tie.
    pub(super) fn add(&mut self, item: usize, success: f64) {
        let votes = self.0.entry(item).or_default();
        votes.successes += success;
        votes.of += 1;
    }

    /// The share of successes with the interval that fits: see [`IntervalKind`].
    pub(super) fn rate(&self, config: &BootstrapConfig) -> Result<Rate, ReviewError> {
        let items: Vec<Votes> = self.0.values().copied().collect();
        let total = |items: &mut dyn Iterator<Item = &Votes>| {
            items.fold(Votes::default(), |sum, item| Votes {
                successes: sum.successes + item.successes,
                of: sum.of + item.of,
            })
        };
        let Votes { successes, of } = total(&mut items.iter());
        if items.iter().all(|item| item.of == 1) {
            return Ok(Rate::new(successes, of, config.confidence));
        }
        let share = successes / of as f64;
        // Without a division, so that equal shares are equal.
        let same = items.iter().all(|item| item.successes * of as f64 == successes * item.of as f64);
        let (interval, method) = if same {
            (wilson(share, items.len(), config.confidence), IntervalKind::WilsonItems)
        } else {
            let drawn = bootstrap(&items, config, |mut sample: Resample<'_, Votes>| {
                let drawn = total(&mut sample);
                drawn.successes / drawn.of as f64
            })?;
            (drawn.interval, IntervalKind::ItemBootstrap)
        };
        Ok(Rate { value: Some(share), interval: Some(interval), method: Some(method), of })
    }
}

impl Rate {
    /// `successes` of `of` independent votes, where halves are allowed, with Wilson's interval: it stays within 0..1;
    /// for half successes it is an approximation.
    pub(super) fn new(successes: f64, of: usize, confidence: f64) -> Self {
        if of == 0 {
            return Self { value: None, interval: None, method: None, of };
        }
        let share = successes / of as f64;
        let interval = Some(wilson(share, of, confidence));
        Self { value: Some(share), interval, method: Some(IntervalKind::Wilson), of }
    }
}

fn wilson(share: f64, of: usize, confidence: f64) -> [f64; 2] {
    let n = of as f64;
    // Infinite for a confidence of 1, where the interval is everything.
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    if !z.is_finite() {
        return [0.0, 1.0];
    }
    let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// statsmodels 0.14 `proportion_confint(k, n, 0.05, "wilson")`, which is the closed formula.
    #[test]
    fn wilson_stays_within_zero_and_one() {
        let rows = [
            (0.0, 10, [0.0, 0.277_532_799_862_889_3]),
            (10.0, 10, [0.722_467_200_137_110_8, 1.0]),
            (5.0, 10, [0.236_593_090_512_564_2, 0.763_406_909_487_435_8]),
        ];
        for (successes, of, wanted) in rows {
            let rate = Rate::new(successes, of, 0.95);
            let found = rate.interval.expect("not of nothing");
            for (found, wanted) in found.into_iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-9, "{successes} of {of}: {found} instead of {wanted}");
            }
        }
        assert_eq!(Rate::new(0.0, 0, 0.95).interval, None);
    }

    #[test]
    fn the_kind_of_interval_follows_from_the_votes_of_the_items() {
        let rate = |votes: &[(usize, f64)]| {
            let mut items = ItemVotes::default();
            votes.iter().for_each(|(item, success)| items.add(*item, *success));
            items.rate(&BootstrapConfig::new()).expect("counts")
        };
        assert_eq!(rate(&[]), Rate::new(0.0, 0, 0.95));
        assert_eq!(rate(&[(3, 1.0), (5, 0.5), (9, 0.0)]), Rate::new(1.5, 3, 0.95));
        let mixed = rate(&[(0, 1.0), (0, 1.0), (1, 0.0), (2, 1.0)]);
        assert_eq!((mixed.method, mixed.value), (Some(IntervalKind::ItemBootstrap), Some(0.75)));
        // Every item has the same share: nothing to draw, and one vote an item to be sure of.
        let same = rate(&[(0, 1.0), (0, 1.0), (1, 1.0), (1, 1.0), (1, 1.0)]);
        assert_eq!((same.method, same.of), (Some(IntervalKind::WilsonItems), 5));
        assert_eq!(same.interval, Rate::new(2.0, 2, 0.95).interval);
    }
}
