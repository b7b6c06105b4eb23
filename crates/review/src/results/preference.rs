//! Who won: by pair, by system, and as ratings.

use std::{cell::RefCell, collections::BTreeMap};

use burnisher_eval::{
    Battle, BattleOutcome, BootstrapConfig, BradleyTerryConfig, EloConfig, Regularized, Resample, bootstrap,
};
use serde::Serialize;

use super::{ItemVotes, Outcome, Rate, Vote};
use crate::{ReviewError, Study};

/// Two systems against each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PairResult {
    /// The system whose name comes first.
    pub first: String,
    /// The other.
    pub second: String,
    /// Comparisons that the first won.
    pub first_wins: usize,
    /// Comparisons that the second won.
    pub second_wins: usize,
    /// Equally good.
    pub ties: usize,
    /// Equally bad.
    pub both_bad: usize,
    /// Share that the first won; ties and two bad outputs are half a win.
    pub win_rate: Rate,
}

/// A rating with the interval of its values on resampled items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rating {
    /// The rating; the mean of all systems is 1000, and 400 more are odds of 10 to 1.
    pub value: f64,
    /// Lower and upper bound.
    pub interval: [f64; 2],
}

/// A system against all others.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SystemResult {
    /// Its name.
    pub system: String,
    /// Comparisons won.
    pub wins: usize,
    /// Comparisons lost.
    pub losses: usize,
    /// Equally good.
    pub ties: usize,
    /// Equally bad.
    pub both_bad: usize,
    /// Share won; ties and two bad outputs are half a win.
    pub win_rate: Rate,
    /// By the model of Bradley and Terry; `None` where it was never compared.
    pub bradley_terry: Option<Rating>,
    /// By Elo with K = 4, in the order of judges and tasks.
    pub elo: Option<Rating>,
    /// 1 + the systems whose lower bound by Bradley-Terry lies above the upper bound of this one.
    pub rank: Option<usize>,
    /// Why the Bradley-Terry ratings of all systems were held back from infinity, where they were.
    pub regularized: Option<Regularized>,
}

#[derive(Default)]
struct Tally {
    wins: usize,
    losses: usize,
    ties: usize,
    both_bad: usize,
    points: ItemVotes,
}

impl Tally {
    fn add(&mut self, item: usize, outcome: Outcome) {
        self.points.add(item, outcome.points());
        *match outcome {
            Outcome::First => &mut self.wins,
            Outcome::Second => &mut self.losses,
            Outcome::Tie => &mut self.ties,
            Outcome::BothBad => &mut self.both_bad,
        } += 1;
    }
}

pub(super) fn pairs(votes: &[Vote<'_>], config: &BootstrapConfig) -> Result<Vec<PairResult>, ReviewError> {
    let mut tallies: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
    for vote in votes {
        tallies.entry((vote.first, vote.second)).or_default().add(vote.item, vote.outcome);
    }
    let result = |((first, second), tally): ((&str, &str), Tally)| {
        Ok(PairResult {
            first: first.to_owned(),
            second: second.to_owned(),
            first_wins: tally.wins,
            second_wins: tally.losses,
            ties: tally.ties,
            both_bad: tally.both_bad,
            win_rate: tally.points.rate(config)?,
        })
    };
    tallies.into_iter().map(result).collect()
}

pub(super) fn systems(
    study: &Study,
    votes: &[Vote<'_>],
    config: &BootstrapConfig,
) -> Result<Vec<SystemResult>, ReviewError> {
    let mut tallies: BTreeMap<&str, Tally> =
        study.systems().into_iter().map(|system| (system, Tally::default())).collect();
    for vote in votes {
        tallies.entry(vote.first).or_default().add(vote.item, vote.outcome);
        tallies.entry(vote.second).or_default().add(vote.item, vote.outcome.reversed());
    }
    let Ratings { bradley_terry, elo, regularized } = ratings(votes, config)?;
    let result = |(system, tally): (&str, Tally)| {
        let rating: Option<&Rating> = bradley_terry.get(system);
        let above = |rating: &Rating| {
            bradley_terry.values().filter(|other| other.interval[0] > rating.interval[1]).count()
        };
        Ok::<_, ReviewError>(SystemResult {
            system: system.to_owned(),
            wins: tally.wins,
            losses: tally.losses,
            ties: tally.ties,
            both_bad: tally.both_bad,
            win_rate: tally.points.rate(config)?,
            bradley_terry: rating.copied(),
            elo: elo.get(system).copied(),
            rank: rating.map(|rating| 1 + above(rating)),
            regularized,
        })
    };
    let mut results: Vec<SystemResult> = tallies.into_iter().map(result).collect::<Result<_, _>>()?;
    let key = |result: &SystemResult| result.bradley_terry.map_or(f64::NEG_INFINITY, |rating| rating.value);
    results.sort_by(|one, other| key(other).total_cmp(&key(one)));
    Ok(results)
}

#[derive(Default)]
struct Ratings {
    bradley_terry: BTreeMap<String, Rating>,
    elo: BTreeMap<String, Rating>,
    regularized: Option<Regularized>,
}

/// Ratings, and their intervals by drawing items with all their votes: votes on one item hang together, and drawing
/// them one by one would make the intervals too narrow.
fn ratings(votes: &[Vote<'_>], config: &BootstrapConfig) -> Result<Ratings, ReviewError> {
    if votes.is_empty() {
        return Ok(Ratings::default());
    }
    let model = BradleyTerryConfig::new().with_resamples(0);
    let all: Vec<Battle> = votes.iter().map(battle).collect();
    let fitted = model.rate(&all)?;
    let mut items: BTreeMap<usize, Vec<Battle>> = BTreeMap::new();
    for (vote, battle) in votes.iter().zip(&all) {
        items.entry(vote.item).or_default().push(battle.clone());
    }
    let items: Vec<Vec<Battle>> = items.into_values().collect();
    let drawn = RefCell::new((Drawn::new(), Drawn::new()));
    bootstrap(&items, config, |sample: Resample<'_, Vec<Battle>>| {
        let battles: Vec<Battle> = sample.flatten().cloned().collect();
        let mut drawn = drawn.borrow_mut();
        let Ok(fitted) = model.rate(&battles) else { return f64::NAN };
        for system in fitted.systems {
            drawn.0.entry(system.name).or_default().push(system.rating);
        }
        for (system, rating) in EloConfig::new().rate(&battles) {
            drawn.1.entry(system).or_default().push(rating);
        }
        0.0
    })?;
    let (mut bradley_terry, mut elo) = drawn.into_inner();
    let own = fitted.systems.into_iter().map(|system| (system.name, system.rating)).collect();
    Ok(Ratings {
        bradley_terry: with_intervals(own, &mut bradley_terry, config.confidence),
        elo: with_intervals(EloConfig::new().rate(&all), &mut elo, config.confidence),
        regularized: fitted.regularized,
    })
}

/// Ratings by system. The first is that of the votes themselves, then one for each resample that has the system.
type Drawn = BTreeMap<String, Vec<f64>>;

fn with_intervals(
    own: BTreeMap<String, f64>,
    drawn: &mut Drawn,
    confidence: f64,
) -> BTreeMap<String, Rating> {
    let rating = |(system, value): (String, f64)| {
        let values = drawn.entry(system.clone()).or_default();
        let resampled = values.get_mut(1..).unwrap_or_default();
        resampled.sort_by(f64::total_cmp);
        let tail = (1.0 - confidence) / 2.0;
        let interval = [tail, 1.0 - tail].map(|q| quantile(resampled, q).unwrap_or(value));
        (system, Rating { value, interval })
    };
    own.into_iter().map(rating).collect()
}

/// Linear interpolation between the two nearest ranks.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let position = q * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    Some(low + (high - low) * position.fract())
}

fn battle(vote: &Vote<'_>) -> Battle {
    let outcome = match vote.outcome {
        Outcome::First => BattleOutcome::First,
        Outcome::Second => BattleOutcome::Second,
        Outcome::Tie => BattleOutcome::Tie,
        Outcome::BothBad => BattleOutcome::BothBad,
    };
    Battle::new(vote.first, vote.second, outcome)
}
